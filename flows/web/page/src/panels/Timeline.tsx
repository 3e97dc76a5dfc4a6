// The scenes of the watch as ticks of a time axis, as tall as they were clear; step, play, compare two dates.
import { useEffect } from "preact/hooks";
import type { Mode } from "../address";
import { goToScene, openWatch } from "../loading";
import { earlierIndex, sceneIndex, store, useStore } from "../store";
import { addressTime, instant } from "../times";
import type { Scene } from "../types";
import { Await } from "../ui/parts";
import { day, describeDisplacement } from "../words";

const STEP_MS = 1400;
const MODES: [Mode, string][] = [["one", "One date"], ["swipe", "Swipe"], ["blink", "Blink"], ["changes", "Changes"]];

export function Timeline() {
  const { scenes, address } = useStore();
  return (
    <section class="timeline" aria-label="Date">
      <Await of={scenes} what="scenes" retry={() => openWatch(address.watch, true)}>
        {(value) => (value.length ? <Axis scenes={value} /> : <p>No scene of this watch was observed yet. Run it with <code>segwatch run {address.watch}</code>; scenes that were skipped are listed under Watch.</p>)}
      </Await>
    </section>
  );
}

function Axis({ scenes }: { scenes: Scene[] }) {
  const state = useStore();
  const index = sceneIndex(state);
  const scene = scenes[index];
  usePlaying(index, scenes.length);
  if (!scene) return null;
  const { mode } = state.address;
  return (
    <>
      <div class="row">
        <button type="button" aria-label="Previous scene" disabled={index === 0} onClick={() => goToScene(index - 1)}>‹</button>
        <button type="button" aria-label={state.playing ? "Stop" : "Play the scenes"} disabled={scenes.length < 2} onClick={() => play(index, scenes.length)}>{state.playing ? "❚❚" : "▶︎"}</button>
        <button type="button" aria-label="Next scene" disabled={index === scenes.length - 1} onClick={() => goToScene(index + 1)}>›</button>
        <output id="date" for="slider">{day(scene.acquired_at)}</output>
        <span id="state" class="quiet">scene {index + 1} of {scenes.length}: {scene.state}{scene.clear_share === null ? "" : `, ${Math.round(scene.clear_share * 100)} % clear`}{describeDisplacement(scene.displaced_m)}</span>
        <span class="modes" role="group" aria-label="Comparison">
          {MODES.map(([one, label]) => (
            <button key={one} type="button" aria-pressed={mode === one} disabled={one !== "one" && scenes.length < 2} onClick={() => compare(one, scenes)}>{label}</button>
          ))}
          {mode !== "one" && (
            <label>with <select id="from" value={scenes[earlierIndex(state)]?.acquired_at} onChange={(event) => store.go({ from: addressTime(event.currentTarget.value) })}>
              {scenes.map((one) => <option key={one.scene_id} value={one.acquired_at}>{day(one.acquired_at)}</option>)}
            </select></label>
          )}
        </span>
      </div>
      <Ticks scenes={scenes} index={index} />
    </>
  );
}

/** Enter a comparison, with the scene before unless an earlier date was chosen. */
function compare(mode: Mode, scenes: Scene[]): void {
  const from = mode === "one" ? "" : addressTime(scenes[earlierIndex(store.state)]?.acquired_at ?? "");
  store.set({ playing: false });
  store.go({ mode, from, ...(mode === "changes" ? { tab: "compare" as const } : {}) });
}

function play(index: number, length: number): void {
  const { playing } = store.state;
  if (!playing && index === length - 1) goToScene(0);
  store.set({ playing: !playing });
}

/** Step to the next scene once the map has drawn this one; stop at the last. */
function usePlaying(index: number, length: number): void {
  const { playing, busy } = useStore();
  useEffect(() => {
    if (!playing || busy) return undefined;
    if (index >= length - 1) {
      store.set({ playing: false });
      return undefined;
    }
    const timer = window.setTimeout(() => goToScene(index + 1), STEP_MS);
    return () => window.clearTimeout(timer);
  }, [playing, busy, index, length]);
}

function Ticks({ scenes, index }: { scenes: Scene[]; index: number }) {
  const state = useStore();
  const times = scenes.map((one) => instant(one.acquired_at));
  const [first, last] = [times[0] ?? 0, times.at(-1) ?? 0];
  const place = (at: number) => (last === first ? 50 : 1 + (98 * (at - first)) / (last - first));
  const from = state.address.mode === "one" ? -1 : earlierIndex(state);
  const nearest = (event: PointerEvent) => {
    const { left, width } = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const distances = times.map((one) => Math.abs(place(one) - (100 * (event.clientX - left)) / width));
    goToScene(distances.indexOf(Math.min(...distances)));
  };
  return (
    <div class="axis">
      <div class="ticks" aria-hidden="true" onPointerDown={nearest} onPointerMove={(event) => event.buttons === 1 && nearest(event)}>
        {scenes.map((one, at) => (
          <span
            key={one.scene_id} class={`tick ${at === index ? "now" : ""} ${at === from ? "from" : ""}`} title={`${day(one.acquired_at)}${one.clear_share === null ? "" : `: ${Math.round(one.clear_share * 100)} % clear`}`}
            style={{ left: `${place(times[at] ?? first)}%` }}
          >
            <i style={{ height: `${20 + 80 * (one.clear_share ?? 1)}%` }} class={one.clear_share === null ? "unknown" : ""} />
          </span>
        ))}
      </div>
      <input
        id="slider" type="range" min="0" max={scenes.length - 1} step="1" value={index} aria-label="Date of the scene" aria-valuetext={`${day(scenes[index]?.acquired_at)}, scene ${index + 1} of ${scenes.length}`}
        onInput={(event) => goToScene(Number(event.currentTarget.value))}
      />
      <div class="ends" aria-hidden="true"><span>{day(scenes[0]?.acquired_at)}</span><span>{day(scenes.at(-1)?.acquired_at)}</span></div>
    </div>
  );
}
