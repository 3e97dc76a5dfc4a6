// The state of the page: what the address says, and what the server said. Components redraw on each change.
import { useEffect, useState } from "preact/hooks";
import { type Address, readAddress, writeAddress } from "./address";
import { type Draft, NO_DRAFT } from "./drafts/types";
import { findScene, instant } from "./times";
import type { Why } from "./panels/WhyNot";
import type { Alert, Alerts, Background, DrawnObject, Scene, UnusedScene, Watch } from "./types";

export type Loaded<T> = { is: "loading" } | { is: "failed"; why: string } | { is: "ready"; value: T };

export interface State {
  address: Address;
  watches: Loaded<Watch[]>;
  scenes: Loaded<Scene[]>;
  alerts: Loaded<Alerts>;
  unused: UnusedScene[];
  /** Objects drawn as outlines in the view, for choosing by keyboard. */
  inView: DrawnObject[];
  /** Date at which they were drawn: the map follows a new date after a while. */
  inViewAt: string;
  counts: { objects: number; outlined: number; refuted: number };
  /** The alert in the panel; the filters may leave it out of the list. */
  opened: Alert | null;
  /** Alerts that are selected for a mark together. */
  picked: string[];
  /** Requests of the map that are running; the page says that it is loading. */
  busy: boolean;
  problem: string;
  playing: boolean;
  /** Whether the bottom sheet of a narrow screen is open. */
  sheet: boolean;
  /** What a click on the map asks. */
  asking: "object" | "why" | "nothing";
  /** Answer to "why is there no alert here?"; null before the first question. */
  why: Loaded<Why> | null;
  /** The watch that is being thought out. */
  draft: Draft;
  /** Area of the watch on show; null until it is there. */
  area: GeoJSON.Geometry | null;
  /** Null until the server said which; the map need not wait for it. */
  background: Background | null;
}

export const LOADING = { is: "loading" } as const;

class Store {
  state: State = {
    // earlier briefings, which may be printed, name the watch in the query
    address: readAddress(location.hash || location.search), watches: LOADING, scenes: LOADING, alerts: LOADING, unused: [], inView: [], inViewAt: "",
    counts: { objects: 0, outlined: 0, refuted: 0 }, picked: [], opened: null, busy: false, problem: "", playing: false, sheet: false, asking: "object", why: null,
    draft: NO_DRAFT, area: null, background: null,
  };

  private readonly listeners = new Set<() => void>();

  set(patch: Partial<State>): void {
    this.state = { ...this.state, ...patch };
    for (const one of [...this.listeners]) one();
  }

  /** Change the address; the browser's history gets no entry for each step. */
  go(patch: Partial<Address>): void {
    this.set({ address: { ...this.state.address, ...patch } });
    history.replaceState(null, "", `#${writeAddress(this.state.address)}`);
  }

  listen(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}

export const store = new Store();

/** Redraw a component when the state changes. */
export function useStore(): State {
  const [, redraw] = useState({});
  useEffect(() => store.listen(() => redraw({})), []);
  return store.state;
}

export const ready = <T>(loaded: Loaded<T>): T | null => (loaded.is === "ready" ? loaded.value : null);

export const currentWatch = (state: State): Watch | null =>
  ready(state.watches)?.find((one) => one.watch === state.address.watch) ?? null;

/** Index of the scene on show; -1 without scenes. */
export const sceneIndex = (state: State): number => findScene(ready(state.scenes) ?? [], state.address.at);

/** Index of the earlier scene of a comparison. */
export function earlierIndex(state: State): number {
  const scenes = ready(state.scenes) ?? [];
  const from = instant(state.address.from);
  const found = scenes.findIndex((one) => instant(one.acquired_at) === from);
  return found >= 0 ? found : Math.max(0, sceneIndex(state) - 1);
}

export const currentAlert = (state: State): Alert | null =>
  state.opened?.alert_id === state.address.alert ? state.opened : ready(state.alerts)?.rows.find((one) => one.alert_id === state.address.alert) ?? null;
