// Outlines over the objects: the area of the watch on show, and a draft with what its trial found.
import type { FilterSpecification, LayerSpecification } from "maplibre-gl";
import type { Draft } from "../drafts/types";
import type { Theme } from "../palette";
import { GROUND } from "../palette";
import { UNSEEN } from "./style";

export const OVERLAY = "overlay";

export type Role = "watch" | "draft" | "unseen" | "found";

const outline = (role: Role, geometry: GeoJSON.Geometry): GeoJSON.Feature => ({ type: "Feature", properties: { role }, geometry });

/** What lies over the map; a draft only while its panel is open. */
export function makeOverlay(watchArea: GeoJSON.Geometry | null, draft: Draft | null): GeoJSON.FeatureCollection {
  const features = watchArea ? [outline("watch", watchArea)] : [];
  if (draft?.area) features.push(outline("draft", draft.area));
  if (draft?.trial?.unseen) features.push(outline("unseen", draft.trial.unseen));
  for (const one of draft?.trial?.polygons?.features ?? []) features.push(outline("found", one.geometry));
  return { type: "FeatureCollection", features };
}

export function makeOverlayLayers(theme: Theme): LayerSpecification[] {
  const is = (role: Role): FilterSpecification => ["==", ["get", "role"], role];
  const line = (role: Role, colour: string, width: number, dash?: number[]): LayerSpecification => ({
    id: `overlay-${role}`, type: "line", source: OVERLAY, filter: is(role),
    paint: { "line-color": colour, "line-width": width, ...(dash ? { "line-dasharray": dash } : {}) },
  });
  return [
    line("watch", GROUND[theme].text, 1.6, [5, 3]),
    { id: "overlay-unseen", type: "fill", source: OVERLAY, filter: is("unseen"), paint: { "fill-pattern": UNSEEN } },
    { id: "overlay-fill", type: "fill", source: OVERLAY, filter: is("found"), paint: { "fill-color": "#cc79a7", "fill-opacity": 0.35 } },
    line("found", "#cc79a7", 2),
    line("draft", "#d55e00", 2.5),
  ];
}
