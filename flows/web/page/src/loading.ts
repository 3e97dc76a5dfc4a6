// Load what the page shows, when the watch or the choice changes. Every failure is kept, with its reason.
import { get, Refused } from "./api";
import { LOADING, type Loaded, ready, store } from "./store";
import { addressTime, instant } from "./times";
import type { Alert, Alerts, Background, CoverageRow, Scene, UnusedScene, Watch } from "./types";

/** Alerts of a page. */
const PAGE = "500";

const failed = (error: unknown): Loaded<never> => ({ is: "failed", why: error instanceof Refused ? error.message : String(error) });

/** Load the watches, and show the one of the address, else the first. */
export async function loadWatches(): Promise<void> {
  store.set({ watches: LOADING });
  const { watch: wanted } = store.state.address;
  // the watch of the address is opened at once, without waiting for the others
  const opening = wanted ? openWatch(wanted, true) : null;
  try {
    // the map does not wait until all objects are counted: the panel of the watch asks for that
    const { value } = await get<Watch[]>("/api/watches", { counts: "false" });
    store.set({ watches: { is: "ready", value } });
    const [first] = value;
    if (!first || value.some((one) => one.watch === wanted)) {
      await opening;
      return;
    }
    if (wanted) store.set({ problem: `There is no watch named ${wanted}, or you may not see it; the first one is shown.` });
    await openWatch(first.watch);
  } catch (error) {
    store.set({ watches: failed(error) });
  }
}

/** Ask which ground of another host the map shows; without an answer it shows its own. */
export async function loadBackground(): Promise<void> {
  const found = await get<Background>("/api/background").catch(() => null);
  store.set({ background: found?.value ?? null });
}

/** Count the objects of the watches, which takes seconds where there are many. */
export async function countObjects(): Promise<void> {
  const { value } = await get<Watch[]>("/api/watches");
  store.set({ watches: { is: "ready", value } });
}

/** Open a watch; `keep` what the address says about dates and choices, else start anew. */
export async function openWatch(name: string, keep = false): Promise<void> {
  const fresh = keep ? {} : { at: "", from: "", mode: "one" as const, view: null, targets: [], object: "", alert: "", kinds: [] };
  store.set({ scenes: LOADING, alerts: LOADING, unused: [], picked: [], opened: null, playing: false, area: null });
  store.go({ watch: name, ...fresh });
  await Promise.all([loadScenes(name), loadAlerts(), loadUnused(name), loadArea(name)]);
  await loadOpened().catch(() => undefined);
}

const isCurrent = (name: string) => store.state.address.watch === name;

/** Load the scenes, then how clear they were: the map need not wait for that. */
async function loadScenes(watch: string): Promise<void> {
  try {
    const { value: scenes } = await get<Scene[]>("/api/scenes", { watch });
    if (!isCurrent(watch)) return;
    store.set({ scenes: { is: "ready", value: addObservations(scenes, []) } });
    const { value } = await get<{ coverage: CoverageRow[] }>("/api/coverage", { watch, state: "observed", limit: "1000" });
    if (isCurrent(watch)) store.set({ scenes: { is: "ready", value: addObservations(scenes, value.coverage) } });
  } catch (error) {
    if (!isCurrent(watch)) return;
    if (ready(store.state.scenes)) store.set({ problem: "How clear the scenes were could not be loaded." });
    else store.set({ scenes: failed(error) });
  }
}

/** Add to each scene what its observation in force says of it. */
function addObservations(scenes: Scene[], coverage: CoverageRow[]): Scene[] {
  const current = coverage.filter((one) => one.superseded_at === null && one.acquired_at !== null);
  const rows = new Map(current.map((one) => [Date.parse(one.acquired_at ?? ""), one]));
  return scenes.map((one) => {
    const row = rows.get(instant(one.acquired_at));
    const moved = row?.shift_east_m == null || row.shift_north_m == null ? null : Math.hypot(row.shift_east_m, row.shift_north_m);
    return { ...one, clear_share: row?.clear_share ?? null, displaced_m: moved };
  });
}

async function loadUnused(watch: string): Promise<void> {
  const { value } = await get<UnusedScene[]>("/api/unused", { watch }).catch(() => ({ value: [] as UnusedScene[] }));
  if (isCurrent(watch)) store.set({ unused: value });
}

/** Load the outline of the watch's area; the map is complete without it. */
async function loadArea(watch: string): Promise<void> {
  const found = await get<GeoJSON.FeatureCollection>("/ogc/collections/watch.watches/items", { watch, limit: "1" }).catch(() => null);
  if (isCurrent(watch)) store.set({ area: found?.value.features[0]?.geometry ?? null });
}

const NO_ALERTS: Alerts = { rows: [], count: 0, next: "", ofAll: 0, refuted: 0, open: 0, kinds: [], targets: [] };

/** Load the alerts that match the filters, or the next page of them after those that are there. */
export async function loadAlerts(more = false): Promise<void> {
  const { watch, statuses, marks, kinds, targets, sort } = store.state.address;
  const before = more ? ready(store.state.alerts) : null;
  const query = { watch, change_status: statuses, mark: marks, kind: kinds, target: targets, sort, limit: PAGE, ...(before ? { after: before.next } : {}) };
  // the server takes an empty list for no filter
  const nothing = !statuses.length || !marks.length;
  try {
    const { value, headers } = await get<Alert[]>("/api/alerts", nothing ? { watch, limit: "1" } : query);
    if (!isCurrent(watch)) return;
    const found = { ...readCounts(headers), rows: [...(before?.rows ?? []), ...value] };
    store.set({ alerts: { is: "ready", value: nothing ? { ...found, rows: [], count: 0, next: "" } : found } });
  } catch (error) {
    if (isCurrent(watch)) store.set({ alerts: failed(error) });
  }
}

/** Numbers and the next page, which the headers have. */
function readCounts(headers: Headers): Alerts {
  const read = (name: string) => JSON.parse(headers.get(`X-${name}-Counts`) ?? "{}") as Record<string, number>;
  const [statuses, marks, kinds, targets] = [read("Status"), read("Mark"), read("Kind"), read("Target")];
  const next = /[?&]after=([^&>]*)/.exec(headers.get("Link") ?? "")?.[1] ?? "";
  return {
    ...NO_ALERTS, count: Number(headers.get("X-Total-Count") ?? 0), next: decodeURIComponent(next),
    ofAll: Object.values(kinds).reduce((sum, one) => sum + one, 0), refuted: statuses.refuted ?? 0, open: marks.open ?? 0,
    kinds: Object.keys(kinds).sort(), targets: Object.keys(targets).sort(),
  };
}

/** Load the alert that is open anew: the filters may leave it out of the list. */
export async function loadOpened(): Promise<void> {
  const { opened, address } = store.state;
  const at = instant(opened?.valid_at ?? address.at);
  if (!address.alert || Number.isNaN(at)) return;
  const [since, until] = [at, at + 1000].map((one) => new Date(one).toISOString());
  const { value } = await get<Alert[]>("/api/alerts", { watch: address.watch, since: since ?? "", until: until ?? "", limit: "1000" });
  store.set({ opened: value.find((one) => one.alert_id === address.alert) ?? opened });
}

/** Show the scene at an index. */
export function goToScene(index: number): void {
  const scene = (ready(store.state.scenes) ?? [])[index];
  if (scene) store.go({ at: addressTime(scene.acquired_at) });
}
