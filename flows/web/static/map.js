// The map page: objects as they were on the slider's date, coloured by the change that made them so.
import * as maplibregl from "/static/vendor/maplibre-gl.mjs";
import { hideMarks, showMarks, status } from "/static/marks.js";
import { showUnused } from "/static/unused.js";

maplibregl.setWorkerUrl("/static/vendor/maplibre-gl-worker.mjs");

// What an outline tells by its colour; the last two are of objects that are not there any more.
const COLOURS = {
  baseline: "#5c940d", appeared: "#e8590c", grew: "#d6336c", reappeared: "#f08c00", merged: "#9c36b5",
  split: "#6741d9", moved: "#0c8599", shrank: "#1971c2", "as before": "#ffd43b", disappeared: "#c92a2a", gone: "#868e96",
};
const WORDS = {
  baseline: "there since first observed", "as before": "changed earlier", disappeared: "disappeared now",
  gone: "disappeared earlier",
};
const GONE = ["disappeared", "gone"];
const LAYER = "objects";
const element = (id) => document.getElementById(id);
const origin = window.location.origin;
const state = { watch: null, scenes: [], index: 0 };

const map = new maplibregl.Map({
  container: "map",
  style: { version: 8, sources: {}, layers: [{ id: "ground", type: "background", paint: { "background-color": "#dfe5ea" } }] },
  center: [0, 20],
  zoom: 1,
  attributionControl: false,
});
map.addControl(new maplibregl.NavigationControl({ showCompass: false }), "top-left");
map.addControl(new maplibregl.ScaleControl(), "bottom-left");

/** With the token of this tab, who reviewed is shown, too. Whoever is not known (any more) logs in. */
async function fetched(path) {
  const token = sessionStorage.getItem("segwatch.token");
  const answer = await fetch(path, token ? { headers: { "Authorization": `Bearer ${token}` } } : {});
  if (answer.status === 401) location.assign("/login");
  return answer;
}

async function get(path) {
  const answer = await fetched(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

/** Rows, and how many there would be without a limit. */
async function getSome(path) {
  const answer = await fetched(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return { rows: await answer.json(), count: Number(answer.headers.get("X-Total-Count")) };
}

const day = (time) => time.slice(0, 10);
const hectares = (squareMetres) => `${(squareMetres / 1e4).toLocaleString("en", { maximumFractionDigits: 1 })} ha`;

const colour = ["match", ["get", "shows"], ...Object.entries(COLOURS).flat(), COLOURS["as before"]];
const isGone = ["in", ["get", "shows"], ["literal", GONE]];

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

/** What is too small to be reported; empty where the watch does not tell. */
const sizes = (watch) => watch.min_polygon_m2 === null ? "" : `Not reported: objects under ${squareMetres(watch.min_polygon_m2)}, `
  + `changes under ${squareMetres(watch.min_change_m2)}`;

/** West is east of east where the antimeridian is crossed: the map goes on beyond 180 degrees, */
const bounds = (row) => [row.west, row.south, row.west > row.east ? row.east + 360 : row.east, row.north];

/** and tiles lie on either side of it. */
const tileBounds = (row) => row.west > row.east ? [-180, row.south, 180, row.north] : bounds(row);

/** The objects as they were at a time, as is known now; the server generalises and keeps the largest outlines. */
function showObjects(time) {
  const query = new URLSearchParams({ watch: state.watch.watch, at: time });
  const tiles = [`${origin}/api/tiles/{z}/{x}/{y}.mvt?${query}`];
  const source = map.getSource(LAYER);
  if (source) return source.setTiles(tiles);
  map.addSource(LAYER, { type: "vector", maxzoom: 16, tiles });
  const outlines = { source: LAYER, "source-layer": "objects" };
  map.addLayer({
    id: LAYER, type: "fill", ...outlines, filter: ["!", isGone],
    paint: { "fill-color": colour, "fill-opacity": 0.35 },
  });
  map.addLayer({
    id: `${LAYER}-outline`, type: "line", ...outlines, filter: ["!", isGone],
    paint: { "line-color": colour, "line-width": 2 },
  });
  map.addLayer({
    id: `${LAYER}-gone`, type: "line", ...outlines, filter: isGone,
    paint: { "line-color": colour, "line-width": 1.5, "line-dasharray": [2, 2] },
  });
  return map.addLayer({
    id: `${LAYER}-dots`, type: "circle", source: LAYER, "source-layer": "dots",
    paint: {
      "circle-color": colour, "circle-opacity": ["case", isGone, 0.3, 0.8],
      "circle-radius": ["interpolate", ["linear"], ["ln", ["get", "objects"]], 0, 2, 7, 6],
    },
  });
}

/** Say how many of the objects in view have an outline; the others are dots until one zooms in. */
function showCounts() {
  if (!map.getSource(LAYER)) return;
  const tiles = new Map();
  for (const { id, properties } of map.querySourceFeatures(LAYER, { sourceLayer: "summary" })) {
    tiles.set(properties.tile ?? id, properties);
  }
  const sum = (name) => [...tiles.values()].reduce((total, one) => total + one[name], 0);
  const [outlined, objects] = [sum("outlined"), sum("objects")];
  element("drawn").textContent = outlined === objects ? ""
    : `${outlined} of ${objects} objects in view have an outline; the smaller ones are dots: zoom in.`;
}

async function showWatch(watch) {
  state.watch = watch;
  // nothing of the watch before can be pressed meanwhile
  delete document.body.dataset.watch;
  hideMarks();
  element("alerts").replaceChildren();
  const query = new URLSearchParams({ watch: watch.watch });
  const [scenes, alerts, unused] = await Promise.all([
    get(`/api/scenes?${query}`), getSome(`/api/alerts?${query}`), get(`/api/unused?${query}`),
  ]);
  if (state.watch !== watch) return; // another one was chosen meanwhile
  state.scenes = scenes;
  element("summary").textContent = `“${watch.instruction}”: ${watch.objects} objects, `
    + `${watch.hectares.toFixed(1)} ha; ${watch.observed} scenes observed, ${watch.skipped} skipped, ${watch.failed} failed; `
    + `${watch.rejected} items rejected`;
  element("sizes").textContent = sizes(watch);
  showUnused(unused);
  element("slider").max = String(Math.max(0, state.scenes.length - 1));
  if (watch.west !== null) map.fitBounds(bounds(watch), { padding: 30, animate: false });
  showDate(state.scenes.length - 1);
  showAlerts(alerts);
  document.body.dataset.watch = watch.watch;
}

/** Read the alerts again, and show what is known now of one of them. */
async function refreshAlerts(alertId) {
  const watch = state.watch;
  const alerts = await getSome(`/api/alerts?${new URLSearchParams({ watch: watch.watch })}`);
  if (state.watch !== watch) return;
  showAlerts(alerts);
  const alert = alerts.rows.find((one) => one.alert_id === alertId);
  if (alert) showMarks(alert, refreshAlerts);
}

function showAlerts({ rows, count }) {
  element("count").textContent = rows.length < count ? `(${rows.length} of ${count})` : `(${count})`;
  element("alerts").replaceChildren(...rows.map((alert) => {
    const button = document.createElement("button");
    const title = document.createElement("strong");
    title.textContent = `${alert.target} ${alert.kind}`;
    if (alert.retracted_at) button.title = alert.retracted_because;
    button.classList.toggle("retracted", Boolean(alert.retracted_at));
    const detail = document.createElement("small");
    const sent = alert.delivered_at ? "delivered" : "not delivered yet";
    detail.textContent = ` ${day(alert.valid_at)}, ${hectares(alert.before_m2)} → ${hectares(alert.after_m2)}, ${sent}${alert.status === "open" ? "" : `, ${status(alert)}`}`;
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

function showObject(properties) {
  const rows = [
    ["target", properties.target],
    ["change", WORDS[properties.shows] ?? properties.shows],
    ["area", hectares(properties.area_m2)],
    ["score", properties.score.toFixed(2)],
    ["since", day(properties.since)],
    ["review", properties.review ?? "none"],
    ["model", state.watch.model],
    ["track", properties.track_id],
  ];
  const list = document.createElement("dl");
  for (const [name, value] of rows) {
    const term = document.createElement("dt");
    term.textContent = name;
    const detail = document.createElement("dd");
    detail.textContent = value;
    list.append(term, detail);
  }
  element("object").replaceChildren(list);
  element("object").hidden = false;
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
element("imagery").addEventListener("change", () => showDate(state.index));

map.on("load", async () => {
  const watches = await get("/api/watches");
  element("watch").replaceChildren(...watches.map((row) => new Option(row.watch, row.watch)));
  element("watch").addEventListener("change", (event) =>
    showWatch(watches.find((row) => row.watch === event.target.value)));
  if (watches.length) await showWatch(watches[0]);
  else element("summary").textContent = "No watch has looked at anything yet.";
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
