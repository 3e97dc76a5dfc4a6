// Search: coordinates, and what the server finds: places, objects, alerts, watches.
import { useState } from "preact/hooks";
import { get } from "../api";
import { getStage, openAlertById, openObject, showBox } from "../choosing";
import { openWatch } from "../loading";
import { store } from "../store";
import type { Box } from "../words";

interface Hit {
  kind: "place" | "coordinates" | "object" | "alert" | "watch";
  label: string;
  bbox?: Box | null;
  lon?: number | null;
  lat?: number | null;
  id?: string | null;
  watch?: string | null;
}

const PLACE_ZOOM = 12;

export function Search() {
  const [text, setText] = useState("");
  const [hits, setHits] = useState<Hit[]>([]);
  const [said, say] = useState("");

  async function search(event: Event) {
    event.preventDefault();
    const wanted = text.trim();
    setHits([]);
    say("");
    if (!wanted) return undefined;
    say("Searching …");
    try {
      const { value } = await get<Hit[]>("/api/search", { q: wanted, watch: store.state.address.watch });
      const [only] = value;
      if (only && value.length === 1) return open(only);
      setHits(value);
      say(value.length ? "" : `Nothing is called “${wanted}”. Try a town, coordinates such as 47.37, 8.54, or the start of an id.`);
    } catch (error) {
      say(`The search failed: ${(error as Error).message}`);
    }
    return undefined;
  }

  function open(hit: Hit) {
    setHits([]);
    say(`${hit.label} is shown.`);
    void showHit(hit);
  }

  return (
    <form class="search" role="search" onSubmit={search}>
      <input type="search" aria-label="Search a place, coordinates or an id" placeholder="Place, coordinates or id" value={text} maxLength={200} onInput={(event) => setText(event.currentTarget.value)} />
      <button type="submit">Search</button>
      {(hits.length > 0 || said) && (
        <div class="hits">
          <p role="status">{said}</p>
          <ul class="plain">{hits.map((hit) => <li key={`${hit.kind} ${hit.id ?? hit.label}`}><button type="button" class="link" onClick={() => open(hit)}>{hit.label} <small>{hit.kind}</small></button></li>)}</ul>
          <button type="button" class="link close" onClick={() => { setHits([]); say(""); }}>Close</button>
        </div>
      )}
    </form>
  );
}

/** Box for the map: beyond 180 degrees where its west is east of its east. */
const unwrap = ([west, south, east, north]: Box): Box => [west, south, west > east ? east + 360 : east, north];

async function showHit(hit: Hit): Promise<void> {
  const { watch } = store.state.address;
  if (hit.watch && hit.watch !== watch) await openWatch(hit.watch);
  if (hit.bbox) showBox(unwrap(hit.bbox));
  else if (hit.lon != null && hit.lat != null) getStage()?.show({ lon: hit.lon, lat: hit.lat, zoom: PLACE_ZOOM });
  if (hit.kind === "object" && hit.id) openObject(hit.id);
  if (hit.kind === "alert" && hit.id) await openAlertById(hit.id);
}
