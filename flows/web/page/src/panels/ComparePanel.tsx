// What changed between two dates, in the view: totals by change, and how much of the ground was not seen.
import { useEffect, useState } from "preact/hooks";
import { get } from "../api";
import { boxOfView } from "../choosing";
import { COMPARED } from "../palette";
import { earlierIndex, LOADING, type Loaded, ready, sceneIndex, store, useStore } from "../store";
import { addressTime } from "../times";
import type { Comparison, ComparisonRow, Scene } from "../types";
import { Await } from "../ui/parts";
import { area, count, day, NOT_JUDGED } from "../words";

export function ComparePanel() {
  const state = useStore();
  const scenes = ready(state.scenes) ?? [];
  const [from, to] = [scenes[earlierIndex(state)], scenes[sceneIndex(state)]];
  if (!from || !to || from === to) {
    return (
      <>
        <h2 tabIndex={-1}>Compare two dates</h2>
        <p>{scenes.length < 2 ? "This watch has one scene so far; a comparison needs two." : "Choose a later date on the time axis: the first scene has none before it."}</p>
      </>
    );
  }
  return (
    <>
      <h2 tabIndex={-1}>What changed from {day(from.acquired_at)} to {day(to.acquired_at)}</h2>
      <label>From <select value={from.acquired_at} onChange={(event) => store.go({ from: addressTime(event.currentTarget.value) })}>
        {scenes.filter((one) => one !== to).map((one) => <option key={one.scene_id} value={one.acquired_at}>{day(one.acquired_at)}</option>)}
      </select></label>
      {state.address.mode !== "changes" && <button type="button" onClick={() => store.go({ mode: "changes", from: addressTime(from.acquired_at) })}>Show the changes on the map</button>}
      <Totals from={from} to={to} />
    </>
  );
}

function Totals({ from, to }: { from: Scene; to: Scene }) {
  const { address } = useStore();
  const [whole, setWhole] = useState(false);
  const [again, retry] = useState(0);
  const [found, setFound] = useState<Loaded<Comparison>>(LOADING);
  const box = whole ? "" : boxOfView();
  useEffect(() => {
    let current = true;
    setFound(LOADING);
    get<Comparison>("/api/compare", { watch: address.watch, from: addressTime(from.acquired_at), to: addressTime(to.acquired_at), ...(box ? { bbox: box } : {}) })
      .then(({ value }) => current && setFound({ is: "ready", value }))
      .catch((error: Error) => current && setFound({ is: "failed", why: error.message }));
    return () => { current = false; };
  }, [address.watch, from.acquired_at, to.acquired_at, box, again]);
  return (
    <>
      <label><input type="checkbox" checked={whole} onChange={(event) => setWhole(event.currentTarget.checked)} /> the whole area, not only the view</label>
      <Await of={found} what="comparison" retry={() => retry(again + 1)}>{(value) => <Table found={value} />}</Await>
    </>
  );
}

const order = (row: ComparisonRow) => COMPARED.findIndex((one) => one.shows.includes(row.change));
const share = (part: number | null, whole: number) => (part === null ? "no scene" : `${Math.round((100 * part) / whole)} %`);
const signed = (squareMetres: number) => `${squareMetres > 0 ? "+" : ""}${area(squareMetres)}`;

function Table({ found }: { found: Comparison }) {
  const { statuses, targets } = useStore().address;
  const shown = found.totals.filter((one) => statuses.includes(one.status ?? NOT_JUDGED) && (!targets.length || targets.includes(one.target)));
  const rows = [...shown].sort((a, b) => order(a) - order(b));
  const hidden = found.totals.reduce((sum, one) => sum + one.objects, 0) - rows.reduce((sum, one) => sum + one.objects, 0);
  const total = rows.reduce((sum, one) => sum + one.difference_m2, 0);
  return (
    <>
      {rows.length === 0 ? <p>No object is known here on either date.</p> : (
        <table class="totals">
          <thead><tr><th scope="col">change</th><th scope="col">objects</th><th scope="col">area</th><th scope="col">change of area</th></tr></thead>
          <tbody>
            {rows.map((one) => (
              <tr key={`${one.target} ${one.change} ${one.status}`}>
                <th scope="row"><i class="swatch" style={{ background: COMPARED[order(one)]?.colour }} />{one.target} {one.change} <small>{one.status ?? "not judged"}</small></th>
                <td>{one.objects.toLocaleString("en")}</td>
                <td class="number">{area(one.area_m2)}</td>
                <td class="number">{signed(one.difference_m2)}</td>
              </tr>
            ))}
          </tbody>
          <tfoot><tr><th scope="row">all</th><td>{rows.reduce((sum, one) => sum + one.objects, 0).toLocaleString("en")}</td><td /><td>{signed(total)}</td></tr></tfoot>
        </table>
      )}
      {hidden > 0 && <p class="quiet">{count(hidden, "object")} are left out by the choice under Watch.</p>}
      <p class="quiet">Of {area(found.area_m2)} of ground, {share(found.not_seen_m2.from, found.area_m2)} was not seen on the earlier date and {share(found.not_seen_m2.to, found.area_m2)} on the later one. What was not seen may have changed.</p>
    </>
  );
}
