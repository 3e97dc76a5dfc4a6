// The map page: objects as they were on the slider's date, coloured by the change that made them so.
import * as maplibregl from "/static/vendor/maplibre-gl.mjs";
import { hideMarks, showMarks, status } from "/static/marks.js";
import { showUnused } from "/static/unused.js";

maplibregl.setWorkerUrl("/static/vendor/maplibre-gl-worker.mjs");

const COLOURS = {
  appeared: "#e8590c", grew: "#d6336c", reappeared: "#f08c00", merged: "#9c36b5",
  split: "#6741d9", moved: "#0c8599", shrank: "#1971c2", "as before": "#ffd43b",
};
const LAYER = "objects";
const FIELDS = "track_id,target,area_m2,score,valid_from,valid_to,recorded_to,change,alive,model,observation_id";
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

async function get(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

const day = (time) => time.slice(0, 10);
const hectares = (squareMetres) => `${(squareMetres / 1e4).toLocaleString("en", { maximumFractionDigits: 1 })} ha`;

/** Rows whose valid time holds the date and that are what is known now. Times are texts as PostgreSQL writes them, in UTC: order is time. */
function validAt(time) {
  return ["all",
    ["==", ["get", "alive"], true],
    ["!", ["has", "recorded_to"]],
    ["<=", ["get", "valid_from"], time],
    ["any", ["!", ["has", "valid_to"]], [">", ["get", "valid_to"], time]],
  ];
}

/** A state that began at the date shows its change; one that began before is as it was. */
function colourAt(time) {
  const kinds = Object.entries(COLOURS).filter(([kind]) => kind !== "as before").flat();
  return ["case", ["==", ["get", "valid_from"], time],
    ["match", ["coalesce", ["get", "change"], ""], ...kinds, COLOURS["as before"]],
    COLOURS["as before"]];
}

function showDate(index) {
  state.index = index;
  document.body.dataset.drawn = "false";
  const scene = state.scenes[index];
  if (!scene) return;
  element("slider").value = String(index);
  element("date").textContent = day(scene.acquired_at);
  element("state").textContent = `scene ${index + 1} of ${state.scenes.length}: ${scene.state}`;
  element("attribution").textContent = scene.attribution ?? "";
  const time = scene.acquired_at;
  map.setFilter(LAYER, validAt(time));
  map.setFilter(`${LAYER}-outline`, validAt(time));
  map.setPaintProperty(LAYER, "fill-color", colourAt(time));
  map.setPaintProperty(`${LAYER}-outline`, "line-color", colourAt(time));
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

/** Only what the model in force says: an earlier model's objects would lie over it. */
function showObjects(watch) {
  for (const layer of [LAYER, `${LAYER}-outline`]) if (map.getLayer(layer)) map.removeLayer(layer);
  if (map.getSource(LAYER)) map.removeSource(LAYER);
  const query = new URLSearchParams({ watch: watch.watch, model: watch.model, properties: FIELDS });
  map.addSource(LAYER, {
    type: "vector", maxzoom: 16,
    tiles: [`${origin}/ogc/collections/watch.object_history/tiles/WebMercatorQuad/{z}/{x}/{y}?${query}`],
  });
  const shared = { source: LAYER, "source-layer": "default", filter: ["boolean", false] };
  map.addLayer({ id: LAYER, type: "fill", paint: { "fill-opacity": 0.35 }, ...shared });
  map.addLayer({ id: `${LAYER}-outline`, type: "line", paint: { "line-width": 2 }, ...shared });
}

async function showWatch(watch) {
  state.watch = watch;
  // nothing of the watch before can be pressed meanwhile
  delete document.body.dataset.watch;
  hideMarks();
  element("alerts").replaceChildren();
  const query = new URLSearchParams({ watch: watch.watch });
  const [scenes, alerts, unused] = await Promise.all([
    get(`/api/scenes?${query}`), get(`/api/alerts?${query}`), get(`/api/unused?${query}`),
  ]);
  if (state.watch !== watch) return; // another one was chosen meanwhile
  state.scenes = scenes;
  element("summary").textContent = `“${watch.instruction}”: ${watch.objects} objects, `
    + `${watch.hectares.toFixed(1)} ha; ${watch.observed} scenes observed, ${watch.skipped} skipped, ${watch.failed} failed; `
    + `${watch.rejected} items rejected`;
  element("sizes").textContent = sizes(watch);
  showUnused(unused);
  element("slider").max = String(Math.max(0, state.scenes.length - 1));
  showObjects(watch);
  if (watch.west !== null) map.fitBounds(bounds(watch), { padding: 30, animate: false });
  showDate(state.scenes.length - 1);
  showAlerts(alerts);
  document.body.dataset.watch = watch.watch;
}

/** Read the alerts again, and show what is known now of one of them. */
async function refreshAlerts(alertId) {
  const watch = state.watch;
  const alerts = await get(`/api/alerts?${new URLSearchParams({ watch: watch.watch })}`);
  if (state.watch !== watch) return;
  showAlerts(alerts);
  const alert = alerts.find((one) => one.alert_id === alertId);
  if (alert) showMarks(alert, refreshAlerts);
}

function showAlerts(alerts) {
  element("count").textContent = `(${alerts.length})`;
  element("alerts").replaceChildren(...alerts.map((alert) => {
    const button = document.createElement("button");
    const title = document.createElement("strong");
    title.textContent = `${alert.target} ${alert.kind}`;
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
    ["change", properties.change ?? "none"],
    ["area", hectares(properties.area_m2)],
    ["score", properties.score.toFixed(2)],
    ["since", day(properties.valid_from)],
    ["model", properties.model],
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

element("legend").replaceChildren(...Object.entries(COLOURS).map(([kind, colour]) => {
  const line = document.createElement("li");
  const swatch = document.createElement("i");
  swatch.style.background = colour;
  line.append(swatch, kind);
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
  map.on("click", LAYER, (event) => showObject(event.features[0].properties));
  map.on("mouseenter", LAYER, () => { map.getCanvas().style.cursor = "pointer"; });
  map.on("mouseleave", LAYER, () => { map.getCanvas().style.cursor = ""; });
  map.on("idle", () => { document.body.dataset.drawn = "true"; });
});
