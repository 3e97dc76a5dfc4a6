// Load what the page shows, when the watch or the choice changes. Every failure is kept, with its reason.
import { get, Refused } from "./api";
import { LOADING, type Loaded, ready, store } from "./store";
import { addressTime, instant } from "./times";
import type { Alert, Alerts, CoverageRow, Scene, UnusedScene, Watch } from "./types";

const MAX_ALERTS = 1000;

const failed = (error: unknown): Loaded<never> => ({ is: "failed", why: error instanceof Refused ? error.message : String(error) });

/** Load the watches, and show the one of the address, else the first. */
export async function loadWatches(): Promise<void> {
  store.set({ watches: LOADING });
  try {
    const { value } = await get<Watch[]>("/api/watches");
    store.set({ watches: { is: "ready", value } });
    const named = value.some((one) => one.watch === store.state.address.watch);
    if (!named && store.state.address.watch) {
      store.set({ problem: `There is no watch named ${store.state.address.watch}, or you may not see it; the first one is shown.` });
    }
    const [first] = value;
    if (first) await openWatch(named ? store.state.address.watch : first.watch, named);
  } catch (error) {
    store.set({ watches: failed(error) });
  }
}

/** Open a watch; `keep` what the address says about dates and choices, else start anew. */
export async function openWatch(name: string, keep = false): Promise<void> {
  const fresh = keep ? {} : { at: "", from: "", mode: "one" as const, view: null, targets: [], object: "", alert: "", kinds: [] };
  store.set({ scenes: LOADING, alerts: LOADING, unused: [], picked: [], playing: false });
  store.go({ watch: name, ...fresh });
  await Promise.all([loadScenes(name), loadAlerts(), loadUnused(name)]);
}

const isCurrent = (name: string) => store.state.address.watch === name;

async function loadScenes(watch: string): Promise<void> {
  try {
    const [scenes, coverage] = await Promise.all([
      get<Scene[]>("/api/scenes", { watch }),
      get<{ coverage: CoverageRow[] }>("/api/coverage", { watch, state: "observed", limit: "1000" }),
    ]);
    if (isCurrent(watch)) store.set({ scenes: { is: "ready", value: addClearShares(scenes.value, coverage.value.coverage) } });
  } catch (error) {
    if (isCurrent(watch)) store.set({ scenes: failed(error) });
  }
}

/** Add to each scene the clear share of its observation in force. */
function addClearShares(scenes: Scene[], coverage: CoverageRow[]): Scene[] {
  const current = coverage.filter((one) => one.superseded_at === null && one.acquired_at !== null);
  const shares = new Map(current.map((one) => [Date.parse(one.acquired_at ?? ""), one.clear_share]));
  return scenes.map((one) => ({ ...one, clear_share: shares.get(instant(one.acquired_at)) ?? null }));
}

async function loadUnused(watch: string): Promise<void> {
  const { value } = await get<UnusedScene[]>("/api/unused", { watch }).catch(() => ({ value: [] as UnusedScene[] }));
  if (isCurrent(watch)) store.set({ unused: value });
}

/** Load the alerts of the chosen statuses; none if no status is chosen. */
export async function loadAlerts(): Promise<void> {
  const { watch, statuses } = store.state.address;
  try {
    const { value, headers } = await get<Alert[]>("/api/alerts", { watch, change_status: statuses, limit: String(MAX_ALERTS) });
    if (!isCurrent(watch)) return;
    const counts = JSON.parse(headers.get("X-Status-Counts") ?? "{}") as Record<string, number>;
    const found: Alerts = { rows: value, count: Number(headers.get("X-Total-Count") ?? value.length), refuted: counts.refuted ?? 0 };
    store.set({ alerts: { is: "ready", value: statuses.length ? found : { ...found, rows: [], count: 0 } } });
  } catch (error) {
    if (isCurrent(watch)) store.set({ alerts: failed(error) });
  }
}

/** Show the scene at an index. */
export function goToScene(index: number): void {
  const scene = (ready(store.state.scenes) ?? [])[index];
  if (scene) store.go({ at: addressTime(scene.acquired_at) });
}
