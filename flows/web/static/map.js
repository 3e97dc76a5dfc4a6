// Map page: objects as they were on the date of the slider, coloured by their last change.
import * as maplibregl from "/static/vendor/maplibre-gl.mjs";
import {
  chosenObjects, describeAlert, describeStatus, listStatuses, onStatuses, showHidden, shownChange,
} from "/static/beliefs.js";
import { hideMarks, showMarks, status } from "/static/marks.js";
import { showUnused } from "/static/unused.js";

maplibregl.setWorkerUrl("/static/vendor/maplibre-gl-worker.mjs");

// Colour by change; the last two are for objects that are no longer there.
const COLOURS = {
  baseline: "#5c940d", appeared: "#e8590c", grew: "#d6336c", reappeared: "#f08c00", merged: "#9c36b5",
  split: "#6741d9", moved: "#0c8599", shrank: "#1971c2", "as before": "#ffd43b", disappeared: "#c92a2a", gone: "#868e96",
};
const WORDS = {
  baseline: "baseline: there when first observed", "as before": "changed earlier", disappeared: "disappeared on this date",
  gone: "disappeared earlier",
};
const GONE = ["disappeared", "gone"];
const LAYER = "objects";
const element = (id) => document.getElementById(id);
const origin = window.location.origin;
const state = { watch: null, scenes: [], index: 0, refutedAlerts: 0 };

const map = new maplibregl.Map({
  container: "map",
  style: { version: 8, sources: {}, layers: [{ id: "ground", type: "background", paint: { "background-color": "#dfe5ea" } }] },
  center: [0, 20],
  zoom: 1,
  attributionControl: false,
});
map.addControl(new maplibregl.NavigationControl({ showCompass: false }), "top-left");
map.addControl(new maplibregl.ScaleControl(), "bottom-left");

/** Fetch a path with the token of this tab, which also shows who reviewed; redirect to the login if it is invalid. */
async function fetchWithToken(path) {
  const token = sessionStorage.getItem("segwatch.token");
  const response = await fetch(path, token ? { headers: { "Authorization": `Bearer ${token}` } } : {});
  if (response.status === 401) location.assign("/login");
  return response;
}

async function get(path) {
  const response = await fetchWithToken(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

/** Get rows, and their number without the limit. */
async function getWithCount(path) {
  const response = await fetchWithToken(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  const statuses = JSON.parse(response.headers.get("X-Status-Counts") ?? "{}");
  return { rows: await response.json(), count: Number(response.headers.get("X-Total-Count")), statuses };
}

/** Path of the alerts of a watch, of the chosen statuses. */
function alertsPath(watch) {
  const statuses = listStatuses().map((status) => ["change_status", status]);
  return `/api/alerts?${new URLSearchParams([["watch", watch.watch], ...statuses])}`;
}

/** Get the alerts of the chosen statuses; none if no status is chosen. */
async function getAlerts(watch) {
  const found = await getWithCount(alertsPath(watch));
  return listStatuses().length ? found : { ...found, rows: [], count: 0 };
}

const day = (time) => time.slice(0, 10);
const hectares = (squareMetres) => `${(squareMetres / 1e4).toLocaleString("en", { maximumFractionDigits: 1 })} ha`;

const colour = () => ["match", shownChange(listStatuses()), ...Object.entries(COLOURS).flat(), COLOURS["as before"]];
const isGone = () => ["in", shownChange(listStatuses()), ["literal", GONE]];

function showDate(index) {
  state.index = index;
  document.body.dataset.drawn = "false";
  const scene = state.scenes[index];
  if (!scene) {
    map.getSource(LAYER)?.setTiles([]);
    return;
  }
  element("slider").value = String(index);
  element("date").textContent = day(scene.acquired_at);
  element("state").textContent = `scene ${index + 1} of ${state.scenes.length}: ${scene.state}`;
  element("attribution").textContent = scene.attribution ?? "";
  showObjects(scene.acquired_at);
  showImagery(scene);
}

function showImagery(scene) {
  if (map.getLayer("imagery")) map.removeLayer("imagery");
  if (map.getSource("imagery")) map.removeSource("imagery");
  if (!element("imagery").checked) return;
  const query = new URLSearchParams({ watch: state.watch.watch, scene: scene.scene_id });
  map.addSource("imagery", {
    type: "raster", tileSize: 256, maxzoom: 18, bounds: tileBounds(state.watch),
    tiles: [`${origin}/imagery/tiles/WebMercatorQuad/{z}/{x}/{y}.png?${query}`],
  });
  map.addLayer({ id: "imagery", type: "raster", source: "imagery" }, LAYER);
}

const squareMetres = (value) => `${Number(value).toLocaleString("en", { maximumFractionDigits: 1 })} m²`;

/** Sizes below which nothing is reported; empty if the watch has none. */
const sizes = (watch) => watch.min_polygon_m2 === null ? "" : `Not reported: objects under ${squareMetres(watch.min_polygon_m2)}, `
  + `changes under ${squareMetres(watch.min_change_m2)}`;

/** Bounds for the map; beyond 180 degrees if they cross the antimeridian, where west is east of east. */
const bounds = (row) => [row.west, row.south, row.west > row.east ? row.east + 360 : row.east, row.north];

/** Bounds for tiles; all longitudes if they cross the antimeridian. */
const tileBounds = (row) => row.west > row.east ? [-180, row.south, 180, row.north] : bounds(row);

/** Show the objects as they were at a time; the server simplifies them and draws the largest as polygons. */
function showObjects(time) {
  const query = new URLSearchParams({ watch: state.watch.watch, at: time });
  const tiles = [`${origin}/api/tiles/{z}/{x}/{y}.mvt?${query}`];
  const source = map.getSource(LAYER);
  if (source) return source.setTiles(tiles);
  map.addSource(LAYER, { type: "vector", maxzoom: 16, tiles });
  const outlines = { source: LAYER, "source-layer": "objects" };
  map.addLayer({ id: LAYER, type: "fill", ...outlines, paint: { "fill-opacity": 0.35 } });
  map.addLayer({ id: `${LAYER}-outline`, type: "line", ...outlines, paint: { "line-width": 2 } });
  map.addLayer({
    id: `${LAYER}-gone`, type: "line", ...outlines, paint: { "line-width": 1.5, "line-dasharray": [2, 2] },
  });
  map.addLayer({
    id: `${LAYER}-dots`, type: "circle", source: LAYER, "source-layer": "dots",
    paint: { "circle-radius": ["interpolate", ["linear"], ["ln", ["get", "objects"]], 0, 2, 7, 6] },
  });
  return styleObjects();
}

/** Draw the objects of the chosen statuses, coloured by what they show. */
function styleObjects() {
  if (!map.getSource(LAYER)) return;
  const chosen = chosenObjects(listStatuses());
  for (const layer of [LAYER, `${LAYER}-outline`]) map.setFilter(layer, ["all", chosen, ["!", isGone()]]);
  map.setFilter(`${LAYER}-gone`, ["all", chosen, isGone()]);
  map.setFilter(`${LAYER}-dots`, chosen);
  map.setPaintProperty(LAYER, "fill-color", colour());
  for (const layer of [`${LAYER}-outline`, `${LAYER}-gone`]) map.setPaintProperty(layer, "line-color", colour());
  map.setPaintProperty(`${LAYER}-dots`, "circle-color", colour());
  map.setPaintProperty(`${LAYER}-dots`, "circle-opacity", ["case", isGone(), 0.3, 0.8]);
}

/** Show how many objects in view are drawn as polygons; the others are dots until the user zooms in. */
function showCounts() {
  if (!map.getSource(LAYER)) return;
  const tiles = new Map();
  for (const { id, properties } of map.querySourceFeatures(LAYER, { sourceLayer: "summary" })) {
    tiles.set(properties.tile ?? id, properties);
  }
  const sum = (name) => [...tiles.values()].reduce((total, one) => total + one[name], 0);
  const [outlined, objects] = [sum("outlined"), sum("objects")];
  showHidden(sum("refuted"), state.refutedAlerts);
  element("drawn").textContent = outlined === objects ? ""
    : `${outlined} of ${objects} objects in view are drawn as polygons; the smaller ones are dots: zoom in.`;
}

async function showWatch(watch) {
  state.watch = watch;
  // clear the alerts of the previous watch, so that they cannot be clicked meanwhile
  delete document.body.dataset.watch;
  hideMarks();
  element("alerts").replaceChildren();
  const query = new URLSearchParams({ watch: watch.watch });
  const [scenes, alerts, unused] = await Promise.all([
    get(`/api/scenes?${query}`), getAlerts(watch), get(`/api/unused?${query}`),
  ]);
  if (state.watch !== watch) return; // the user has chosen another watch meanwhile
  state.scenes = scenes;
  element("summary").textContent = `“${watch.instruction}”: ${watch.objects} objects, `
    + `${watch.hectares.toFixed(1)} ha; ${watch.observed} scenes observed, ${watch.skipped} skipped, ${watch.failed} failed; `
    + `${watch.rejected} items rejected`;
  element("sizes").textContent = sizes(watch);
  element("accuracy").textContent = `Accuracy: ${watch.accuracy.join("; ")}`;
  showUnused(unused);
  element("slider").max = String(Math.max(0, state.scenes.length - 1));
  if (watch.west !== null) map.fitBounds(bounds(watch), { padding: 30, animate: false });
  showDate(state.scenes.length - 1);
  showAlerts(alerts);
  document.body.dataset.watch = watch.watch;
}

/** Reload the alerts and show the current state of one of them. */
async function refreshAlerts(alertId) {
  const watch = state.watch;
  const alerts = await getAlerts(watch);
  if (state.watch !== watch) return;
  showAlerts(alerts);
  const alert = alerts.rows.find((one) => one.alert_id === alertId);
  if (alert) showMarks(alert, refreshAlerts);
}

function showAlerts({ rows, count, statuses }) {
  state.refutedAlerts = statuses.refuted ?? 0;
  showCounts();
  element("count").textContent = rows.length < count ? `(${rows.length} of ${count})` : `(${count})`;
  element("alerts").replaceChildren(...rows.map((alert) => {
    const button = document.createElement("button");
    const title = document.createElement("strong");
    title.textContent = `${alert.target} ${alert.kind}`;
    if (alert.retracted_at) button.title = alert.retracted_because;
    button.classList.toggle("retracted", Boolean(alert.retracted_at));
    if (alert.change_status) button.classList.add(alert.change_status);
    const detail = document.createElement("small");
    const sent = alert.delivered_at ? "delivered" : "not delivered yet";
    detail.textContent = ` ${day(alert.valid_at)}, ${hectares(alert.before_m2)} → ${hectares(alert.after_m2)}, ${describeAlert(alert)}, rule ${alert.rule}, ${sent}${alert.status === "open" ? "" : `, ${status(alert)}`}`;
    button.append(title, detail);
    button.addEventListener("click", () => {
      const index = state.scenes.findIndex((scene) => scene.acquired_at === alert.valid_at);
      if (index >= 0) showDate(index);
      map.fitBounds(bounds(alert), { padding: 120, maxZoom: 16 });
      showMarks(alert, refreshAlerts);
    });
    const line = document.createElement("li");
    line.append(button);
    return line;
  }));
}

/** Write rows of names and values. */
function listRows(rows) {
  return rows.flatMap(([name, value]) => {
    const term = document.createElement("dt");
    term.textContent = name;
    const detail = document.createElement("dd");
    detail.textContent = value;
    return [term, detail];
  });
}

function showObject(properties) {
  const rows = [
    ["target", properties.target],
    ["change", WORDS[properties.shows] ?? properties.shows],
    ...(properties.change_status === "refuted"
      ? [["the change", describeStatus(properties.change_status, properties.change_confidence)]] : []),
    ["area", hectares(properties.area_m2)],
    ["score", properties.score.toFixed(2)],
    ["state since", day(properties.since)],
    ["review", properties.review ?? "none"],
    ["model", state.watch.model],
    ["track", properties.track_id],
  ];
  const list = document.createElement("dl");
  list.append(...listRows(rows));
  element("object").replaceChildren(list);
  element("object").hidden = false;
  showBelief(properties, list);
}

/** Add the last change, the calibrated confidence and what does not depend on the model, as the views say them. */
async function showBelief(properties, list) {
  const query = new URLSearchParams({ at: state.scenes[state.index].acquired_at });
  const rows = [];
  try {
    const found = await get(`/api/objects/${properties.track_id}?${query}`);
    const last = found.last_change;
    rows.push(["object", describeStatus(found.status, found.confidence, found.confidence_calibrated)]);
    rows.push(["last change", last ? `${last.kind} ${day(last.valid_at)}` : "none"]);
    if (last) rows.push(["how sure", describeStatus(last.status, last.confidence, last.confidence_calibrated)]);
    rows.push(...Object.entries(found.words));
  } catch (error) {
    rows.push(["object", describeStatus(properties.status, properties.confidence)]);
    rows.push(["last change", `could not be loaded (${error.message})`]);
  }
  list.append(...listRows(rows));
}

element("legend").replaceChildren(...Object.entries(COLOURS).map(([kind, shade]) => {
  const line = document.createElement("li");
  const swatch = document.createElement("i");
  if (GONE.includes(kind)) swatch.style.border = `2px dashed ${shade}`;
  else swatch.style.background = shade;
  line.append(swatch, WORDS[kind] ?? kind);
  return line;
}));
element("slider").addEventListener("input", (event) => showDate(Number(event.target.value)));
onStatuses(async () => {
  document.body.dataset.drawn = "false";
  styleObjects();
  if (state.watch) await refreshAlerts();
  map.triggerRepaint();
});
element("imagery").addEventListener("change", () => showDate(state.index));

map.on("load", async () => {
  const watches = await get("/api/watches");
  element("watch").replaceChildren(...watches.map((row) => new Option(row.state === "active" ? row.watch : `${row.watch} (${row.state})`, row.watch)));
  element("watch").addEventListener("change", (event) =>
    showWatch(watches.find((row) => row.watch === event.target.value)));
  if (watches.length) await showWatch(watches[0]);
  else element("summary").textContent = "No watch has found a scene yet. Apply a watch and run it: segwatch apply FILE; segwatch run WATCH";
  for (const layer of [LAYER, `${LAYER}-gone`]) {
    map.on("click", layer, (event) => showObject(event.features[0].properties));
  }
  map.on("mouseenter", LAYER, () => { map.getCanvas().style.cursor = "pointer"; });
  map.on("mouseleave", LAYER, () => { map.getCanvas().style.cursor = ""; });
  map.on("idle", () => {
    showCounts();
    document.body.dataset.drawn = "true";
  });
});
