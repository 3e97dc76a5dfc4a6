// One map: the objects of a watch at one date over the imagery of that scene and the base map.
import * as maplibregl from "maplibre-gl";
import "maplibre-gl/dist/maplibre-gl.css";
import workerUrl from "maplibre-gl/dist/maplibre-gl-worker.mjs?worker&url";
import { Protocol } from "pmtiles";
import { askAhead, stopAhead } from "./ahead";
import { makeHatches } from "./hatch";
import { colour, comparedFilter, dotOpacity, holdsAt, makeFilters } from "./expressions";
import { makeOverlayLayers, OVERLAY } from "./overlay";
import { hasRoom, holds, REACH, type Span, spanAround } from "./span";
import { CLICKABLE, makeChangeLayers, makeObjectLayers, makeStyle, OBJECTS } from "./style";
import type { Theme } from "../palette";
import { instant } from "../times";
import type { Background, DrawnObject, ObjectFeature, Scene, Watch } from "../types";
import { type Box, tileBoxOf } from "../words";

maplibregl.setWorkerUrl(workerUrl);
// a browser opens six connections to a server: pictures, which are slow, leave some to the objects
maplibregl.setMaxParallelImageRequests(3);
maplibregl.addProtocol("pmtiles", new Protocol().tile);

/** What a pane draws. */
export interface Drawing {
  watch: Watch;
  scene: Scene;
  /** All scenes of the watch, by time. */
  scenes: Scene[];
  statuses: string[];
  targets: string[];
  imagery: boolean;
  object: string;
  theme: Theme;
  /** Earlier scene, to draw what became of the objects since; null: the objects at one date. */
  since: Scene | null;
}

export interface Counts {
  objects: number;
  outlined: number;
  refuted: number;
}

const LABELS = "countries";
const GROUND_LAYER = "ground";
const FIRST_OVERLAY = "overlay-watch";
/** Largest zoom of tiles of objects; closer, they are drawn larger. */
const MAX_TILE_ZOOM = 16;

/** Outlines in the tiles of the view from which on the tiles hold fewer scenes. */
const MAX_OUTLINES = 30_000;

/** Address of the tiles of a span; the server simplifies the objects and draws the largest as polygons. */
function tileAddress({ watch }: Drawing, { since, until }: Span): string {
  const query = new URLSearchParams({ watch: watch.watch, since: since.acquired_at, at: until.acquired_at });
  return `${location.origin}/api/tiles/{z}/{x}/{y}.mvt?${query}`;
}

/** Address of the tiles of what became of the objects since an earlier scene. */
function comparisonAddress({ watch, scene }: Drawing, since: Scene): string {
  const query = new URLSearchParams({ watch: watch.watch, from: since.acquired_at, to: scene.acquired_at });
  return `${location.origin}/api/compare/{z}/{x}/{y}.mvt?${query}`;
}

/** Address of the tiles that a pane asks for first: of a single scene, which is drawn soonest. */
export const firstAddress = (drawing: Drawing): string =>
  drawing.since ? comparisonAddress(drawing, drawing.since) : tileAddress(drawing, spanAround(drawing.scenes, drawing.scene, 0));

/** Zoom of the tiles that a view shows. */
export const tileZoom = (zoom: number): number => Math.min(MAX_TILE_ZOOM, Math.floor(zoom));

export class Pane {
  readonly map: maplibregl.Map;
  private drawn: Drawing | null = null;
  private wanted: Drawing | null = null;
  private theme: Theme;
  private loaded = false;
  private comparing = false;
  /** Scenes that the tiles hold; null while they compare two dates, or there are none. */
  private span: Span | null = null;
  private reach = REACH;
  /** The last span whose outlines were counted. */
  private measured: Span | null = null;
  /** Whether the tiles are being exchanged for those of more scenes, while those of the scene on show are there. */
  private widening = false;
  private background: Background | null = null;
  private overlay: GeoJSON.FeatureCollection = { type: "FeatureCollection", features: [] };

  constructor(container: HTMLElement, theme: Theme) {
    this.theme = theme;
    this.map = new maplibregl.Map({
      container, style: makeStyle(theme), center: [0, 20], zoom: 1, attributionControl: false, dragRotate: false, pitchWithRotate: false,
      // names of places are there at once, instead of fading in: the map has drawn a third of a second earlier
      canvasContextAttributes: { preserveDrawingBuffer: true }, fadeDuration: 0,
    });
    this.map.on("movestart", stopAhead);
    this.map.touchZoomRotate.disableRotation();
    this.map.on("style.load", () => {
      for (const [name, image] of makeHatches(this.theme)) this.map.addImage(name, image, { pixelRatio: 2 });
      this.map.addSource(OVERLAY, { type: "geojson", data: this.overlay });
      for (const layer of makeOverlayLayers(this.theme)) this.map.addLayer(layer, LABELS);
      if (this.background) this.addBackground(this.background);
      this.loaded = true;
      this.drawn = null;
      if (this.wanted) this.draw(this.wanted);
    });
  }

  /** Draw; until the style is loaded, the last drawing waits. */
  draw(next: Drawing): void {
    this.wanted = next;
    if (!this.loaded) return;
    if (next.theme !== this.theme) {
      this.theme = next.theme;
      this.loaded = false;
      this.map.setStyle(makeStyle(next.theme), { diff: false });
      return;
    }
    const before = this.drawn;
    this.drawn = next;
    const moved = !before || before.watch.watch !== next.watch.watch || before.scene.scene_id !== next.scene.scene_id || before.since?.scene_id !== next.since?.scene_id;
    if (moved) stopAhead();
    if (before?.watch.watch !== next.watch.watch) this.reach = REACH;
    const rebuilt = moved && this.showObjects(next, before?.watch.watch === next.watch.watch);
    if (moved || before.imagery !== next.imagery) this.showImagery(next);
    if (moved || rebuilt || before.statuses !== next.statuses || before.targets !== next.targets) this.styleObjects(next);
    if (moved || rebuilt || before.object !== next.object) this.highlight(next);
  }

  /** Whether all of the scene on show is there, and more scenes are being loaded. */
  isWidening(): boolean {
    return this.widening;
  }

  /** The map has drawn all that it was to draw. */
  finish(): void {
    this.widening = false;
  }

  /** The map is at rest: exchange the tiles for those of more scenes, if few are left on either side. */
  widen(): void {
    const { drawn, span } = this;
    if (!drawn || !span) return;
    if (span !== this.measured) {
      this.measured = span;
      // the tiles at hand serve; the next ones hold fewer scenes
      if (this.countOutlines() > MAX_OUTLINES) this.reach = Math.floor(this.reach / 2);
    }
    if (hasRoom(span, drawn.scenes, drawn.scene, this.reach)) return;
    this.widening = true;
    this.showSpan(drawn, spanAround(drawn.scenes, drawn.scene, this.reach));
  }

  /** Ask for the tiles beside the view. */
  askAhead(): void {
    if (this.drawn && this.span) void askAhead(tileAddress(this.drawn, this.span), this.map.getBounds(), tileZoom(this.map.getZoom()));
  }

  /** Acquisition time of the scene that is drawn. */
  drawnAt(): string {
    return this.drawn?.scene.acquired_at ?? "";
  }

  /** Show the ground of another host below imagery and objects. */
  showBackground(background: Background | null): void {
    if (background?.tiles === this.background?.tiles) return;
    this.background = background;
    if (!this.loaded) return;
    if (this.map.getLayer(GROUND_LAYER)) this.map.removeLayer(GROUND_LAYER);
    if (this.map.getSource(GROUND_LAYER)) this.map.removeSource(GROUND_LAYER);
    if (background) this.addBackground(background);
  }

  private addBackground({ tiles }: Background): void {
    if (!tiles) return;
    this.map.addSource(GROUND_LAYER, { type: "raster", tileSize: 256, tiles: [tiles] });
    const above = ["imagery", "unseen", FIRST_OVERLAY].find((one) => this.map.getLayer(one));
    this.map.addLayer({ id: GROUND_LAYER, type: "raster", source: GROUND_LAYER, paint: { "raster-fade-duration": 0 } }, above);
  }

  /** Show outlines over the objects. */
  lay(overlay: GeoJSON.FeatureCollection): void {
    this.overlay = overlay;
    if (this.loaded) this.map.getSource<maplibregl.GeoJSONSource>(OVERLAY)?.setData(overlay);
  }

  /** Ask anew for everything that is drawn. */
  refresh(): void {
    this.drawn = null;
    this.span = null;
    if (this.wanted) this.draw(this.wanted);
  }

  /** Show the objects as they were at a time, or what became of them; whether the layers were built anew. */
  private showObjects(drawing: Drawing, sameWatch: boolean): boolean {
    const source = this.map.getSource<maplibregl.VectorTileSource>(OBJECTS);
    const comparing = drawing.since !== null;
    if (source && comparing === this.comparing) {
      if (sameWatch && this.span && holds(this.span, drawing.scene)) return false;
      this.widening = false;
      if (drawing.since) source.setTiles([comparisonAddress(drawing, drawing.since)]);
      else this.showSpan(drawing, spanAround(drawing.scenes, drawing.scene, 0));
      return false;
    }
    this.widening = false;
    this.span = drawing.since ? null : spanAround(drawing.scenes, drawing.scene, 0);
    const tiles = [firstAddress(drawing)];
    if (source) {
      const old = this.map.getStyle().layers.filter((one) => "source" in one && one.source === OBJECTS);
      for (const { id } of old) this.map.removeLayer(id);
      this.map.removeSource(OBJECTS);
    }
    this.comparing = comparing;
    this.map.addSource(OBJECTS, { type: "vector", maxzoom: MAX_TILE_ZOOM, tiles });
    const layers = comparing ? makeChangeLayers(drawing.theme) : makeObjectLayers(drawing.theme);
    for (const layer of layers) this.map.addLayer(layer, FIRST_OVERLAY);
    return true;
  }

  private showSpan(drawing: Drawing, span: Span): void {
    this.span = span;
    this.map.getSource<maplibregl.VectorTileSource>(OBJECTS)?.setTiles([tileAddress(drawing, span)]);
  }

  private showImagery({ watch, scene, imagery }: Drawing): void {
    if (this.map.getLayer("imagery")) this.map.removeLayer("imagery");
    if (this.map.getSource("imagery")) this.map.removeSource("imagery");
    const bounds = tileBoxOf(watch);
    if (!imagery || !bounds) return;
    const query = new URLSearchParams({ watch: watch.watch, scene: scene.scene_id });
    this.map.addSource("imagery", {
      type: "raster", tileSize: 256, maxzoom: 18, bounds,
      tiles: [`${location.origin}/imagery/tiles/WebMercatorQuad/{z}/{x}/{y}.png?${query}`],
    });
    this.map.addLayer({ id: "imagery", type: "raster", source: "imagery", paint: { "raster-fade-duration": 0 } }, "unseen");
  }

  private styleObjects({ statuses, targets, since, scene }: Drawing): void {
    if (since) {
      const chosen = comparedFilter(statuses, targets);
      for (const layer of ["changes-fill", "changes-casing", "changes-line", "changes-dots"]) this.map.setFilter(layer, chosen);
      return;
    }
    const filters = makeFilters(statuses, targets, instant(scene.acquired_at));
    const shade = colour(statuses);
    this.map.setFilter("objects-fill", filters.fill);
    this.map.setFilter("objects-casing", filters.fill);
    this.map.setFilter("objects-confirmed", filters.confirmed);
    this.map.setFilter("objects-provisional", filters.provisional);
    this.map.setFilter("objects-gone", filters.gone);
    this.map.setFilter("objects-gone-fill", filters.gone);
    this.map.setFilter("objects-dots", filters.dots);
    this.map.setFilter("unseen", filters.unseen);
    this.map.setPaintProperty("objects-fill", "fill-color", shade);
    for (const layer of ["objects-confirmed", "objects-provisional", "objects-gone"]) this.map.setPaintProperty(layer, "line-color", shade);
    this.map.setPaintProperty("objects-dots", "circle-color", shade);
    this.map.setPaintProperty("objects-dots", "circle-opacity", dotOpacity(statuses));
  }

  private highlight({ object, since, scene }: Drawing): void {
    const chosen: maplibregl.ExpressionSpecification = ["==", ["get", "track_id"], object];
    const filter = since ? chosen : ["all", chosen, holdsAt(instant(scene.acquired_at))] as maplibregl.ExpressionSpecification;
    for (const layer of ["objects-chosen", "objects-chosen-core"]) this.map.setFilter(layer, filter);
  }

  /** Object at a point of the screen; those that are there before those that are gone. */
  findObject(point: maplibregl.PointLike): ObjectFeature | null {
    const layers = CLICKABLE.filter((one) => this.map.getLayer(one));
    return (this.map.queryRenderedFeatures(point, { layers })[0]?.properties as ObjectFeature | undefined) ?? null;
  }

  /** Objects drawn as outlines in the view, the largest first, each once. */
  listObjects(): DrawnObject[] {
    const layers = CLICKABLE.filter((one) => this.map.getLayer(one));
    if (!layers.length) return [];
    const found = new Map<string, { properties: ObjectFeature; box: Box }>();
    for (const { properties, geometry } of this.map.queryRenderedFeatures({ layers })) {
      const { track_id: track } = properties as ObjectFeature;
      const box = measureBox(geometry);
      found.set(track, { properties: properties as ObjectFeature, box: joinBoxes(found.get(track)?.box ?? box, box) });
    }
    const drawn = [...found.values()].map(({ properties, box }) => ({ ...properties, lon: (box[0] + box[2]) / 2, lat: (box[1] + box[3]) / 2 }));
    return drawn.sort((a, b) => b.area_m2 - a.area_m2);
  }

  /** How many outlines the loaded tiles have, of all of their scenes. */
  private countOutlines(): number {
    const tiles = new Map<string, number>();
    for (const { properties } of this.map.querySourceFeatures(OBJECTS, { sourceLayer: "summary" })) {
      tiles.set(String(properties.tile), Number(properties.features));
    }
    return [...tiles.values()].reduce((sum, one) => sum + one, 0);
  }

  /** How many objects of the loaded tiles there are, and how many are drawn as outlines. */
  countObjects(): Counts {
    const tiles = new Map<string, Counts>();
    if (this.map.getSource(OBJECTS)) {
      const at = instant(this.drawnAt());
      for (const { properties } of this.map.querySourceFeatures(OBJECTS, { sourceLayer: "summary", filter: holdsAt(at) })) {
        tiles.set(String(properties.tile), properties as Counts);
      }
    }
    if (this.comparing && this.map.getSource(OBJECTS)) {
      // counted only where not all are outlines
      for (const { properties } of this.map.querySourceFeatures(OBJECTS, { sourceLayer: "cut" })) {
        tiles.set(String(properties.tile), { objects: Number(properties.of), outlined: Number(properties.shown), refuted: 0 });
      }
    }
    const sum = (name: keyof Counts) => [...tiles.values()].reduce((total, one) => total + one[name], 0);
    return { objects: sum("objects"), outlined: sum("outlined"), refuted: sum("refuted") };
  }
}

function measureBox(geometry: GeoJSON.Geometry): Box {
  const box: Box = [Infinity, Infinity, -Infinity, -Infinity];
  const rings = geometry.type === "Polygon" ? geometry.coordinates : geometry.type === "MultiPolygon" ? geometry.coordinates.flat() : [];
  for (const [x = 0, y = 0] of rings.flat()) {
    box[0] = Math.min(box[0], x);
    box[1] = Math.min(box[1], y);
    box[2] = Math.max(box[2], x);
    box[3] = Math.max(box[3], y);
  }
  return box;
}

const joinBoxes = (a: Box, b: Box): Box => [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[2], b[2]), Math.max(a[3], b[3])];
