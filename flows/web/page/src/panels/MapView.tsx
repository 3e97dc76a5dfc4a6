// The map itself: it follows the state, and the state follows clicks and moves.
import { useEffect, useRef, useState } from "preact/hooks";
import { askWhy } from "./WhyNot";
import { openObject, setStage } from "../choosing";
import type { View } from "../address";
import { askFirst } from "../map/ahead";
import { boxOfPixels } from "../map/camera";
import { makeOverlay } from "../map/overlay";
import { type Drawing, firstAddress, type Pane, tileZoom } from "../map/pane";
import { type Drawings, fitIn, Stage } from "../map/stage";
import type { Theme } from "../palette";
import { currentWatch, earlierIndex, ready, sceneIndex, type State, store, useStore } from "../store";
import { boxOf } from "../words";

const HALF = 50;
/** What is missing when a source of the map fails, and what that means; any other source has objects. */
const MISSING: Record<string, [string, string]> = {
  imagery: ["The imagery of this scene", "the objects are shown without it"],
  base: ["The base map", "the objects are shown without it"],
  ground: ["The ground of another host", "the objects are shown without it"],
};
/** The map asks for more than it shows once it was at rest for so long. */
const REST_MS = 400;

export function MapView({ theme }: { theme: Theme }) {
  const state = useStore();
  const front = useRef<HTMLDivElement>(null);
  const back = useRef<HTMLDivElement>(null);
  const stage = useRef<Stage | null>(null);
  const fitted = useRef("");
  const [share, setShare] = useState(HALF);

  // the map takes a while to begin, and the page with it: only once it is known what to ask the server for meanwhile
  const known = isKnown(state);
  useEffect(() => {
    if (!known || !front.current || !back.current) return;
    const drawings = describeDrawings(state, theme);
    if (drawings) askForDrawing(front.current, drawings.now);
    // until the watch of the address is in view, moves are those of a page that takes shape
    stage.current = openStage(front.current, back.current, theme, () => fitted.current !== "" && fitted.current === store.state.address.watch);
  }, [known]);

  useEffect(() => {
    const made = stage.current;
    const drawings = describeDrawings(state, theme);
    if (!made || !drawings) return;
    const { watch } = drawings.now;
    if (fitted.current !== watch.watch) {
      fitted.current = watch.watch;
      const view = front.current && startView(front.current, drawings.now);
      if (view) made.show(view);
    }
    made.draw(drawings);
    if (drawings.mode === "swipe") made.swipe(share / 100);
  });

  // without any watch, its panel stands in the first steps
  const draft = state.address.tab === "new" || ready(state.watches)?.length === 0 ? state.draft : null;
  useEffect(() => stage.current?.main.lay(makeOverlay(state.area, draft)), [known, state.area, draft?.area, draft?.trial]);
  useEffect(() => stage.current?.showBackground(state.background), [known, state.background]);

  const swiping = state.address.mode === "swipe";
  return (
    <div class="maps">
      <div id="before" ref={back} hidden aria-label="Map of the earlier date" />
      <div id="map" ref={front} aria-label="Map of tracked objects" role="region" />
      {swiping && (
        <>
          <span class="divider" style={{ left: `${share}%` }} aria-hidden="true" />
          <input class="swipe" type="range" min="0" max="100" value={share} aria-label="Border between the two dates" onInput={(event) => setShare(Number(event.currentTarget.value))} />
        </>
      )}
    </div>
  );
}

/** Whether it is known which scenes there are, or that there are none. */
function isKnown({ watches, scenes }: State): boolean {
  return watches.is === "failed" || ready(watches)?.length === 0 || (watches.is === "ready" && scenes.is !== "loading");
}

/** The view that the address names, else the whole watch. */
function startView(map: HTMLElement, { watch }: Drawing): View | null {
  const box = boxOf(watch);
  return store.state.address.view ?? (box && fitIn(map, box));
}

function askForDrawing(map: HTMLElement, drawing: Drawing): void {
  const view = startView(map, drawing);
  if (view) askFirst(firstAddress(drawing), boxOfPixels(view, map.clientWidth, map.clientHeight), tileZoom(view.zoom));
}

function openStage(front: HTMLElement, back: HTMLElement, theme: Theme, isReady: () => boolean): Stage {
  const stage = new Stage(front, back, theme);
  setStage(stage);
  // also where no watch has a scene yet, and a new one is thought out
  if (store.state.address.view) stage.show(store.state.address.view);
  const { map } = stage.main;
  let rest = 0;
  const atRest = (pane: Pane) => {
    if (document.hidden) return;
    pane.widen();
    if (!pane.isWidening()) rest = window.setTimeout(() => pane.askAhead(), REST_MS * 3);
  };
  map.on("click", (event) => {
    if (store.state.asking === "nothing") return;
    if (store.state.asking === "why") void askWhy(event.lngLat.lng, event.lngLat.lat);
    else {
      const found = stage.main.findObject(event.point);
      if (found) openObject(found.track_id);
    }
  });
  map.on("mousemove", (event) => {
    if (store.state.asking === "nothing") return;
    map.getCanvas().style.cursor = store.state.asking === "why" ? "help" : stage.main.findObject(event.point) ? "pointer" : "";
  });
  map.on("moveend", () => { if (isReady()) store.go({ view: stage.view() }); });
  map.on("dataloading", () => {
    window.clearTimeout(rest);
    if (!stage.main.isWidening()) markBusy(true);
  });
  map.on("idle", () => {
    store.set({ inView: stage.main.listObjects(), inViewAt: stage.main.drawnAt(), counts: stage.main.countObjects() });
    markBusy(false);
    stage.main.finish();
    window.clearTimeout(rest);
    rest = window.setTimeout(() => atRest(stage.main), REST_MS);
  });
  map.on("error", (event) => reportProblem(event.error, (event as { sourceId?: string }).sourceId));
  return stage;
}

function markBusy(busy: boolean): void {
  document.body.dataset.drawn = String(!busy);
  if (store.state.busy !== busy) store.set({ busy });
}

/** Say that a part of the map is missing; requests that the map itself dropped are no problem. */
function reportProblem(error: object, source?: string): void {
  if ("name" in error && error.name === "AbortError") return;
  const status = (error as { status?: number }).status;
  const [what, then] = MISSING[source ?? ""] ?? ["A part of the objects", "what is missing is not “unchanged”"];
  const problem = `${what} could not be loaded${status ? ` (status ${status})` : ""}; ${then}.`;
  if (store.state.problem !== problem) store.set({ problem });
}

function describeDrawings(state: State, theme: Theme): Drawings | null {
  const scenes = ready(state.scenes) ?? [];
  const watch = currentWatch(state);
  const scene = scenes[sceneIndex(state)];
  if (!watch || !scene) return null;
  const { statuses, targets, imagery, object, mode } = state.address;
  const earlier = scenes[earlierIndex(state)] ?? null;
  const now: Drawing = { watch, scene, scenes, statuses, targets, imagery, object, theme, since: mode === "changes" ? earlier : null };
  return { mode, now, before: earlier && mode !== "one" ? { ...now, scene: earlier } : null };
}
