// Ask for the tiles beside the view while the map is at rest: the server makes them, the browser keeps them.
import type { LngLatBounds } from "maplibre-gl";
import type { Box } from "../words";

/** Web mercator stops there, degrees. */
const MAX_LATITUDE = 85.05;
/** A view of 512 pixel tiles has at most about this many around it; more are not asked for ahead. */
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
/** Addresses that the browser keeps: they are not asked for ahead again. */
const kept = new Set<string>();

/** Stop asking: what the map needs now comes first. */
export function stopAhead(): void {
  asked.abort();
}

/** Tiles around those that cover a view, as z/x/y: where people move next. */
export function surround(west: number, south: number, east: number, north: number, zoom: number): string[] {
  const width = 360 / 2 ** zoom;
  // rows are lower away from the equator
  const height = width * Math.cos((Math.max(Math.abs(south), Math.abs(north)) * Math.PI) / 180);
  const inView = new Set(coverView(west, south, east, north, zoom));
  return coverView(west - width, south - height, east + width, north + height, zoom).filter((one) => !inView.has(one));
}

/** Ask for the tiles of a view before the map does, which takes its time to begin: the server works meanwhile. */
export function askFirst(template: string, [west, south, east, north]: Box, zoom: number): void {
  // what fails here is asked again by the map, and then said
  for (const tile of coverView(west, south, east, north, zoom)) void fetch(template.replace("{z}/{x}/{y}", tile)).catch(() => undefined);
}

/** Ask for the tiles of an address (a template with {z}/{x}/{y}) around a view, one after another, until `stopAhead`. */
export async function askAhead(template: string, view: LngLatBounds, zoom: number): Promise<void> {
  stopAhead();
  asked = new AbortController();
  const { signal } = asked;
  const tiles = surround(view.getWest(), view.getSouth(), view.getEast(), view.getNorth(), zoom);
  if (tiles.length > MAX_TILES) return;
  for (const tile of tiles) {
    const address = template.replace("{z}/{x}/{y}", tile);
    if (signal.aborted) return;
    if (kept.has(address)) continue;
    // what fails here is asked again when it is needed, and then said
    await fetch(address, { signal, priority: "low" }).then((answer) => answer.arrayBuffer()).then(() => kept.add(address)).catch(() => undefined);
  }
}
