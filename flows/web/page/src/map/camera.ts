// Which view shows a box, and what a view shows, in web mercator. Pure functions: they are needed before there is a map.
import type { View } from "../address";
import type { Box } from "../words";

/** Pixels of the whole world at zoom 0. */
const WORLD = 512;
const MAX_LATITUDE = 85.05;
const MAX_ZOOM = 20;

const toY = (latitude: number) => {
  const bounded = (Math.max(-MAX_LATITUDE, Math.min(MAX_LATITUDE, latitude)) * Math.PI) / 180;
  return (1 - Math.asinh(Math.tan(bounded)) / Math.PI) / 2;
};
const toLatitude = (y: number) => (Math.atan(Math.sinh(Math.PI * (1 - 2 * y))) * 180) / Math.PI;

/** The view in which a box fills a map of so many pixels, but for a margin, pixels. */
export function viewOf([west, south, east, north]: Box, width: number, height: number, margin: number, maxZoom = MAX_ZOOM): View {
  const [top, bottom] = [toY(north), toY(south)];
  const across = Math.log2(Math.max(1, width - 2 * margin) / (WORLD * ((east - west) / 360)));
  const down = Math.log2(Math.max(1, height - 2 * margin) / (WORLD * (bottom - top)));
  return { zoom: Math.max(0, Math.min(across, down, maxZoom)), lat: toLatitude((top + bottom) / 2), lon: (west + east) / 2 };
}

/** The box that a view shows on a map of so many pixels. */
export function boxOfPixels({ zoom, lat, lon }: View, width: number, height: number): Box {
  const pixel = 1 / (WORLD * 2 ** zoom);
  const [x, y] = [(width / 2) * pixel * 360, (height / 2) * pixel];
  return [lon - x, toLatitude(Math.min(1, toY(lat) + y)), lon + x, toLatitude(Math.max(0, toY(lat) - y))];
}
