// Tools: share, print, download, ask why.
import { useState } from "preact/hooks";
import { getFile } from "../api";
import { boxOfView } from "../choosing";
import { ready, sceneIndex, useStore } from "../store";
import { addressTime } from "../times";
import { Answer, type Said, SILENT } from "../ui/parts";
import { count, day, NOT_JUDGED } from "../words";
import { WhyNot } from "./WhyNot";

export function Tools() {
  return (
    <>
      <h2 tabIndex={-1}>Tools</h2>
      <WhyNot />
      <Share />
      <Download />
    </>
  );
}

function Share() {
  const [said, say] = useState("");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      say("The link is copied. It restores watch, dates, view, filters and the chosen object.");
    } catch {
      say("The browser does not let this page copy. Copy the address of the page instead: it holds the same view.");
    }
  };
  return (
    <section aria-label="Share and print">
      <h3>Share and print</h3>
      <div class="row">
        <button type="button" onClick={copy}>Copy a link to this view</button>
        <button type="button" onClick={() => window.print()}>Print this map</button>
      </div>
      <p role="status" class="quiet">{said}</p>
    </section>
  );
}

const FORMATS = [["gpkg", "GeoPackage"], ["geojson", "GeoJSON"], ["csv", "CSV"]] as const;

/** The objects that the map shows, as a file. */
function Download() {
  const state = useStore();
  const { watch, statuses, targets } = state.address;
  const scene = (ready(state.scenes) ?? [])[sceneIndex(state)];
  const [busy, setBusy] = useState(false);
  const [said, say] = useState<Said>(SILENT);
  if (!scene) return null;

  async function save(format: string, at: string) {
    setBusy(true);
    say({ words: "Writing the file …", good: true });
    // objects that nobody judged have no status to ask for
    const status: Record<string, string[]> = statuses.includes(NOT_JUDGED) ? {} : { status: statuses };
    try {
      const file = await getFile(`/api/watches/${encodeURIComponent(watch)}/download`, { format, at: addressTime(at), bbox: boxOfView(), target: targets, ...status });
      saveFile(file.content, file.name);
      say({ words: `${file.name}: ${count(Number(file.headers.get("X-Total-Count") ?? 0), "object")}.`, good: true });
    } catch (error) {
      say({ words: `No file was written: ${(error as Error).message}`, good: false });
    }
    setBusy(false);
  }

  return (
    <section aria-label="Download">
      <h3>Download</h3>
      <p class="quiet">The objects in view on {day(scene.acquired_at)}. For everything: <code>segwatch export {watch}</code>.</p>
      <div class="row">{FORMATS.map(([format, label]) => <button key={format} type="button" disabled={busy} onClick={() => void save(format, scene.acquired_at)}>{label}</button>)}</div>
      <Answer said={said} />
    </section>
  );
}

function saveFile(content: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  // the browser reads it after this step
  window.setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
