// About the watch: what it asks, what was seen, what is shown, how accurate that is.
import { useEffect, useState } from "preact/hooks";
import type { Address } from "../address";
import { countObjects, loadAlerts } from "../loading";
import { currentWatch, ready, store, useStore } from "../store";
import type { Watch } from "../types";
import { Facts } from "../ui/parts";
import { count, day, describeSizes, STATUSES } from "../words";

export function WatchPanel() {
  const state = useStore();
  const watch = currentWatch(state);
  const [uncounted, setUncounted] = useState("");
  const waiting = watch !== null && watch.objects === null;
  useEffect(() => {
    if (waiting) countObjects().catch((error: Error) => setUncounted(error.message));
  }, [waiting]);
  if (!watch) return <h2 tabIndex={-1}>No watch</h2>;
  return (
    <>
      <h2 tabIndex={-1}>{watch.watch}</h2>
      <p id="summary">
        “{watch.instruction}”: {describeCount(watch, uncounted)}; {watch.observed} scenes observed, {watch.skipped} skipped,{" "}
        {watch.failed} failed; {watch.rejected} items rejected
      </p>
      <Facts rows={[["state", watch.state], ["model", watch.model ?? "none yet"], ["accuracy", watch.accuracy.join("; ") || "not assessed"], ...(describeSizes(watch) ? [["sizes", describeSizes(watch)] as [string, string]] : [])]} />
      <Shown />
      <Unused />
      <p><a href="/assess">Label samples to assess the accuracy</a> · <a href="/operations">How the watches are doing</a></p>
    </>
  );
}

function describeCount({ objects, hectares }: Watch, problem: string): string {
  if (objects !== null && hectares !== null) return `${objects} objects, ${hectares.toFixed(1)} ha`;
  return problem ? `objects could not be counted (${problem})` : "counting the objects …";
}

/** Which objects and alerts the map shows, by how sure they are. */
function Shown() {
  const { address, counts, alerts, inView } = useStore();
  const names = [...new Set([...(ready(alerts)?.targets ?? []), ...inView.map((one) => one.target), ...address.targets])].sort();
  const choose = (change: Partial<Address>) => {
    store.go(change);
    void loadAlerts();
  };
  return (
    <>
      <fieldset id="statuses">
        <legend>Show</legend>
        {STATUSES.map((one) => (
          <label key={one}>
            <input
              type="checkbox" value={one} checked={address.statuses.includes(one)}
              onChange={(event) => choose({ statuses: STATUSES.filter((each) => (each === one ? event.currentTarget.checked : address.statuses.includes(each))) })}
            /> {one}
          </label>
        ))}
      </fieldset>
      <p id="hidden" role="status" class="quiet">{describeHidden(address.statuses, counts.refuted, ready(alerts)?.refuted ?? 0)}</p>
      {names.length > 1 && (
        <label>Target <select value={address.targets[0] ?? ""} onChange={(event) => choose({ targets: event.currentTarget.value ? [event.currentTarget.value] : [] })}>
          <option value="">all</option>
          {names.map((one) => <option key={one} value={one}>{one}</option>)}
        </select></label>
      )}
    </>
  );
}

/** How many refuted objects and alerts the choice hides. */
function describeHidden(statuses: string[], objects: number, alerts: number): string {
  if (statuses.includes("refuted")) return "";
  const parts: [number, string][] = [[objects, "on the map"], [alerts, "in the list of alerts"]];
  return parts.filter(([number]) => number > 0).map(([number, where]) => `${number} refuted hidden ${where}`).join(", ");
}

function Unused() {
  const { unused } = useStore();
  const all = unused[0]?.of_all ?? 0;
  if (!all) return null;
  return (
    <details id="unused">
      <summary>{count(all, "scene")} or items not observed{unused.length < all ? ` (newest ${unused.length} shown)` : ""}</summary>
      <ul>
        {unused.map((row, index) => (
          <li key={index}><strong>{day(row.acquired_at)} {row.state}</strong> {row.reason} <small>{lastPart(row.item_hrefs?.[0])}</small></li>
        ))}
      </ul>
    </details>
  );
}

const lastPart = (href?: string) => href?.split("/").filter(Boolean).at(-1) ?? "";
