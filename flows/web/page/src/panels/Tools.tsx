// Tools: share, print, download, ask why.
import { useState } from "preact/hooks";
import { address } from "../api";
import { getStage } from "../choosing";
import { ready, sceneIndex, useStore } from "../store";
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

/** Links to the objects in view, as the OGC API serves them. */
function Download() {
  const state = useStore();
  const { watch, view } = state.address;
  const scene = (ready(state.scenes) ?? [])[sceneIndex(state)];
  const bounds = view && getStage()?.main.map.getBounds();
  if (!scene || !bounds) return null;
  const box = [bounds.getWest(), bounds.getSouth(), bounds.getEast(), bounds.getNorth()].map((one) => one.toFixed(6)).join(",");
  const query = { watch, bbox: box, limit: "10000" };
  const formats = [["geojson", "GeoJSON"], ["csv", "CSV"]] as const;
  return (
    <section aria-label="Download">
      <h3>Download</h3>
      <p class="quiet">The objects in view as they are now, at most 10 000; for everything: <code>segwatch export {watch}</code>.</p>
      <ul class="row plain">
        {formats.map(([format, label]) => (
          <li key={format}><a download={`${watch}.${format}`} href={address("/ogc/collections/watch.objects_now/items", { ...query, f: format })}>{label}</a></li>
        ))}
      </ul>
    </section>
  );
}
