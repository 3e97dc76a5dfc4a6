// The style of the map: base map, imagery, ground that was not seen, objects.
import type { ExpressionSpecification, LayerSpecification, StyleSpecification } from "maplibre-gl";
import { comparedColour } from "./expressions";
import { GROUND, type Theme } from "../palette";

/** Set by the build. */
declare const BASEMAP_ADDRESS: string;

export const OBJECTS = "objects";
export const UNSEEN = "unseen-hatch";
export const GONE_PATTERN = "gone-hatch";
/** Layers of objects that a click can choose, the topmost first. */
export const CLICKABLE = ["objects-fill", "objects-gone-fill", "changes-fill"];
const FONT = ["sans-serif"];

const casing = (theme: Theme) => ({ "line-color": GROUND[theme].casing, "line-width": 3.6, "line-opacity": 0.75 });

export function makeStyle(theme: Theme): StyleSpecification {
  return {
    version: 8,
    sources: { base: { type: "vector", url: `pmtiles://${new URL(BASEMAP_ADDRESS, location.href).href}` } },
    layers: makeBaseLayers(theme),
  };
}

function makeBaseLayers(theme: Theme): LayerSpecification[] {
  const ground = GROUND[theme];
  const text = { "text-color": ground.text, "text-halo-color": ground.halo, "text-halo-width": 1.4 };
  return [
    { id: "sea", type: "background", paint: { "background-color": ground.sea } },
    { id: "land", type: "fill", source: "base", "source-layer": "land", paint: { "fill-color": ground.land } },
    {
      id: "borders", type: "line", source: "base", "source-layer": "borders",
      paint: { "line-color": ground.border, "line-width": 1, "line-dasharray": [3, 2] },
    },
    {
      id: "countries", type: "symbol", source: "base", "source-layer": "places", maxzoom: 6, filter: ["==", ["get", "kind"], "country"],
      layout: {
        "text-field": ["get", "name"], "text-font": FONT, "text-size": 12, "text-transform": "uppercase", "text-letter-spacing": 0.08,
        "symbol-sort-key": ["-", 0, ["get", "size"]],
      },
      paint: text,
    },
    {
      id: "towns", type: "symbol", source: "base", "source-layer": "places", minzoom: 3, filter: ["==", ["get", "kind"], "town"],
      layout: {
        "text-field": ["get", "name"], "text-font": FONT, "text-size": ["interpolate", ["linear"], ["get", "size"], 5e4, 11, 5e6, 15],
        "symbol-sort-key": ["-", 0, ["get", "size"]],
      },
      paint: text,
    },
  ];
}

/** Layers of the objects at one date, below the names of places. */
export function makeObjectLayers(theme: Theme): LayerSpecification[] {
  const outlines = { source: OBJECTS, "source-layer": "objects" };
  return [
    { id: "unseen", type: "fill", source: OBJECTS, "source-layer": "unseen", paint: { "fill-pattern": UNSEEN } },
    { id: "objects-fill", type: "fill", ...outlines, paint: { "fill-opacity": ["case", ["==", ["get", "status"], "provisional"], 0.15, 0.4] } },
    { id: "objects-gone-fill", type: "fill", ...outlines, paint: { "fill-pattern": GONE_PATTERN, "fill-opacity": 0.5 } },
    { id: "objects-casing", type: "line", ...outlines, paint: casing(theme) },
    { id: "objects-confirmed", type: "line", ...outlines, paint: { "line-width": 2 } },
    { id: "objects-provisional", type: "line", ...outlines, paint: { "line-width": 2, "line-dasharray": [2.5, 1.5] } },
    { id: "objects-gone", type: "line", ...outlines, paint: { "line-width": 2, "line-dasharray": [0.6, 1.4] } },
    {
      id: "objects-dots", type: "circle", source: OBJECTS, "source-layer": "dots",
      paint: { "circle-radius": ["interpolate", ["linear"], ["ln", ["get", "objects"]], 0, 2.5, 7, 7] },
    },
    ...highlights(outlines),
  ];
}

const changeIs = (...kinds: string[]): ExpressionSpecification => ["in", ["get", "change"], ["literal", kinds]];

/** Layers of what became of the objects between two dates; the ids of those that are chosen are as for one date. */
export function makeChangeLayers(theme: Theme): LayerSpecification[] {
  const outlines = { source: OBJECTS, "source-layer": "changes" };
  const still: ExpressionSpecification = ["!", changeIs("disappeared", "not seen")];
  return [
    { id: "unseen", type: "fill", source: OBJECTS, "source-layer": "unseen", paint: { "fill-pattern": UNSEEN } },
    {
      id: "changes-fill", type: "fill", ...outlines,
      paint: { "fill-color": comparedColour, "fill-opacity": ["case", changeIs("unchanged"), 0.12, still, 0.5, 0.08] },
    },
    { id: "changes-gone", type: "fill", ...outlines, filter: changeIs("disappeared"), paint: { "fill-pattern": GONE_PATTERN } },
    { id: "changes-unseen", type: "fill", ...outlines, filter: changeIs("not seen"), paint: { "fill-pattern": UNSEEN } },
    { id: "changes-casing", type: "line", ...outlines, paint: casing(theme) },
    {
      id: "changes-line", type: "line", ...outlines,
      paint: { "line-color": comparedColour, "line-width": ["case", changeIs("unchanged", "not seen"), 1, 2.2] },
    },
    {
      id: "changes-dots", type: "circle", source: OBJECTS, "source-layer": "dots",
      paint: { "circle-color": comparedColour, "circle-radius": ["interpolate", ["linear"], ["ln", ["get", "objects"]], 0, 2.5, 7, 7] },
    },
    ...highlights(outlines),
  ];
}

const highlights = (outlines: { source: string; "source-layer": string }): LayerSpecification[] => [
  {
    id: "objects-chosen", type: "line", ...outlines, filter: ["==", ["get", "track_id"], ""],
    paint: { "line-width": 5, "line-color": "#ffffff", "line-blur": 0.5 },
  },
  {
    id: "objects-chosen-core", type: "line", ...outlines, filter: ["==", ["get", "track_id"], ""],
    paint: { "line-width": 2.4, "line-color": "#000000" },
  },
];
