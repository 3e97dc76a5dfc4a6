// Answers of the server, as its OpenAPI document (/openapi.json) describes them.

export interface Bounds {
  west: number | null;
  south: number | null;
  east: number | null;
  north: number | null;
}

export interface Watch extends Bounds {
  watch: string;
  state: string;
  instruction: string;
  model: string | null;
  observed: number;
  skipped: number;
  failed: number;
  pending: number;
  rejected: number;
  /** Null until they are counted: that reads all objects. */
  objects: number | null;
  hectares: number | null;
  accuracy: string[];
  min_polygon_m2: number | null;
  min_change_m2: number | null;
}

/** Raster tiles of another host, below the imagery; `tiles` is null where the server sets none. */
export interface Background {
  tiles: string | null;
  attribution: string;
}

export interface Scene {
  scene_id: string;
  acquired_at: string;
  state: string;
  attribution: string | null;
  /** Share of the area that was clear, 0 to 1; null where unknown. */
  clear_share: number | null;
  /** By how much its outlines were moved, metres: the picture is displaced by that; null where unknown. */
  displaced_m: number | null;
}

export interface CoverageRow {
  acquired_at: string | null;
  clear_share: number | null;
  shift_east_m: number | null;
  shift_north_m: number | null;
  superseded_at: string | null;
}

export interface UnusedScene {
  acquired_at: string | null;
  state: string;
  reason: string | null;
  item_hrefs: string[] | null;
  of_all: number;
}

export interface Alert extends Bounds {
  alert_id: string;
  track_id: string;
  rule: string;
  kind: string;
  target: string;
  valid_at: string;
  before_m2: number;
  after_m2: number;
  delivered_at: string | null;
  status: "open" | "acknowledged" | "snoozed" | "resolved";
  status_by: string | null;
  status_note: string | null;
  snoozed_until: string | null;
  retracted_at: string | null;
  retracted_because: string | null;
  change_status: string | null;
  confidence: number | null;
  confidence_calibrated: number | null;
  observations_for: number | null;
  observations_against: number | null;
}

export interface Alerts {
  rows: Alert[];
  /** Number of all that match the filters. */
  count: number;
  /** Place of the next page; empty: these are all. */
  next: string;
  /** Number of all alerts of the watch, whatever the filters. */
  ofAll: number;
  refuted: number;
  open: number;
  kinds: string[];
  targets: string[];
}

export interface Change {
  kind: string;
  valid_at: string;
  status: string | null;
  confidence: number | null;
  confidence_calibrated?: number | null;
}

export interface ObjectState {
  track_id: string;
  watch: string;
  target: string;
  status: string | null;
  confidence: number | null;
  confidence_calibrated: number | null;
  last_change: Change | null;
  words: Record<string, string>;
}

export interface Review {
  review_id: string;
  track_id: string;
  verdict: "confirmed" | "rejected" | "edited";
  reviewer: string | null;
  reason: string;
  decided_at: string;
  holds: boolean;
}

export interface HistoryEntry {
  at: string;
  /** False: it was gone, and its area is 0. */
  alive: boolean;
  scene: string | null;
  item_href: string | null;
  area_m2: number;
  area_low_m2: number | null;
  area_high_m2: number | null;
  visible_share: number | null;
  confidence: number | null;
  status: string | null;
  score: number | null;
  model: string | null;
  instruction: string | null;
  evidence: Record<string, unknown> | null;
  change: string | null;
  /** Whether it was there when its ground was first observed. */
  baseline: boolean;
}

/** An object that another one came out of, or the other way round. */
export interface Relative {
  track_id: string;
  kind: string;
  at: string;
}

export interface History {
  track_id: string;
  target: string;
  observations: HistoryEntry[];
  parents: Relative[];
  children: Relative[];
}

export interface ComparisonRow {
  target: string;
  change: string;
  status: string | null;
  objects: number;
  area_m2: number;
  difference_m2: number;
}

/** What became of the objects between two times. */
export interface Comparison {
  totals: ComparisonRow[];
  /** Ground that the scenes of the two times did not see; null without a scene up to that time. */
  not_seen_m2: { from: number | null; to: number | null };
  area_m2: number;
}

/** Properties of a feature of the layer `objects`. */
export interface ObjectFeature {
  track_id: string;
  target: string;
  area_m2: number;
  score: number;
  since: string;
  shows: string;
  status?: string;
  confidence?: number;
  change_status?: string;
  change_confidence?: number;
  review?: string;
  /** It is like this from then, inclusive, until then, exclusive; milliseconds since 1970. */
  begin?: number;
  end?: number;
}

/** An object as drawn, with the middle of what is drawn of it, degrees. */
export interface DrawnObject extends ObjectFeature {
  lon: number;
  lat: number;
}
