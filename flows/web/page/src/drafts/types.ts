// A watch that is being thought out: what the person entered, and what the server said about it (see /openapi.json).
import type { Area } from "./area";

export interface Draft {
  source: string;
  instruction: string;
  area: Area | null;
  /** The last trial of this tab; null before the first. */
  trial: Trial | null;
}

export const NO_DRAFT: Draft = { source: "", instruction: "", area: null, trial: null };

export interface Source {
  id: string;
  title: string;
  collection: string;
  gsd_m: number;
  attribution: string | null;
  license: string | null;
  /** Watches that use it; empty for the profiles that ship. */
  watches: string[];
  scenes: number | null;
  first_at: string | null;
  last_at: string | null;
}

export interface Sources {
  may_try: boolean;
  /** Why not, as a sentence. */
  why_not: string | null;
  limits: { area_km2: number; tiles: number; pending: number; hours: number };
  sources: Source[];
}

export interface CatalogCheck {
  answers: boolean;
  has_collection: boolean | null;
  scenes: number | null;
  complete: boolean;
  first_at: string | null;
  last_at: string | null;
  rejected: number;
  problem: string | null;
}

export interface Preview {
  area_km2: number;
  scenes: number | null;
  scenes_are_all: boolean;
  catalog_note: string;
  tiles_per_scene: number | null;
  seconds_per_scene: number | null;
  bytes_per_scene: number;
  is_measured: boolean;
  targets: string[];
  model: string;
  demonstration: boolean;
  warnings: string[];
}

export interface Saved {
  watch: string;
  created: boolean;
  scheduled: boolean;
  note: string | null;
  warnings: string[];
}

export interface Trial {
  id: string;
  state: "queued" | "running" | "done" | "failed";
  instruction: string;
  area: Area;
  stage: string | null;
  progress: { done: number; total: number } | null;
  /** Why it failed, with advice, or why it waits. */
  reason: string | null;
  scene: { acquired_at: string; clear_share: number; attribution: string | null } | null;
  model: string | null;
  demonstration: boolean | null;
  totals: { target: string; polygons: number; area_m2: number; presence: number | null }[] | null;
  cost: { seconds: number; bytes_read: number; km2: number; tiles: number; tiles_failed: number } | null;
  /** Clear ground that was looked at. */
  observed: GeoJSON.Geometry | null;
  /** The rest of the area; null: all was seen, or this is unknown. */
  unseen: GeoJSON.Geometry | null;
  polygons: GeoJSON.FeatureCollection | null;
  polygons_of_all: number | null;
  picture: string | null;
}
