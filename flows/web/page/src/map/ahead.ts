// Ask for the tiles of the dates before and after while the map is at rest: the server makes them, the browser keeps them.
import type { LngLatBounds } from "maplibre-gl";

/** Web mercator stops there, degrees. */
const MAX_LATITUDE = 85.05;
/** A view of 512 pixel tiles has at most about this many; more are not asked for ahead. */
const MAX_TILES = 24;

/** Tiles that cover a view, as z/x/y. */
export function coverView(west: number, south: number, east: number, north: number, zoom: number): string[] {
  const across = 2 ** zoom;
  const column = (lon: number) => Math.floor(((lon + 180) / 360) * across);
  const row = (lat: number) => {
    const bounded = (Math.max(-MAX_LATITUDE, Math.min(MAX_LATITUDE, lat)) * Math.PI) / 180;
    return Math.floor(((1 - Math.asinh(Math.tan(bounded)) / Math.PI) / 2) * across);
  };
  const tiles = new Set<string>();
  for (let x = column(west); x <= column(east); x += 1) {
    for (let y = row(north); y <= row(south); y += 1) tiles.add(`${zoom}/${((x % across) + across) % across}/${y}`);
  }
  return [...tiles];
}

let asked = new AbortController();

/** Stop asking: what the map needs now comes first. */
export function stopAhead(): void {
  asked.abort();
}

/** Ask for the tiles of some addresses (templates with {z}/{x}/{y}) in a view, one after another, until `stopAhead`. */
export async function askAhead(templates: string[], view: LngLatBounds, zoom: number): Promise<void> {
  stopAhead();
  asked = new AbortController();
  const { signal } = asked;
  const tiles = coverView(view.getWest(), view.getSouth(), view.getEast(), view.getNorth(), zoom);
  if (tiles.length > MAX_TILES) return;
  for (const template of templates) {
    for (const tile of tiles) {
      if (signal.aborted) return;
      // what fails here is asked again when it is needed, and then said
      await fetch(template.replace("{z}/{x}/{y}", tile), { signal, priority: "low" }).then((answer) => answer.arrayBuffer()).catch(() => undefined);
    }
  }
}
