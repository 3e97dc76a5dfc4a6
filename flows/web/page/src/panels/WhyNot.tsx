// "Why is there no alert here?": the answer for each scene at a place.
import { get } from "../api";
import { addressTime } from "../times";
import { ready, type State, store, useStore } from "../store";
import { day } from "../words";

export interface WhyRow {
  scene: string | null;
  acquired_at: string | null;
  reason: string;
  explanation: string;
}

export interface Why {
  lon: number;
  lat: number;
  sentence: string;
  rows: WhyRow[];
}

/** Ask why there is no alert at a place, for all scenes of the watch. */
export async function askWhy(lon: number, lat: number): Promise<void> {
  const { watch } = store.state.address;
  const scenes = ready(store.state.scenes) ?? [];
  const [first, last] = [scenes[0], scenes.at(-1)];
  if (!first || !last) return;
  store.go({ tab: "tools" });
  store.set({ why: { is: "loading" }, sheet: true });
  try {
    const { value } = await get<{ sentence: string; scenes: WhyRow[] }>("/api/why-not", { watch, lon: lon.toFixed(6), lat: lat.toFixed(6), from: addressTime(first.acquired_at), to: addressTime(last.acquired_at) });
    store.set({ why: { is: "ready", value: { lon, lat, sentence: value.sentence, rows: value.scenes } } });
  } catch (error) {
    store.set({ why: { is: "failed", why: (error as Error).message } });
  }
}

export function WhyNot() {
  const { asking, why }: State = useStore();
  return (
    <section aria-label="Why is there no alert here?">
      <h3>Why is there no alert here?</h3>
      <p class="quiet">For each scene: was the place seen, was something found, and which rule held it back?</p>
      <button type="button" aria-pressed={asking === "why"} onClick={() => store.set({ asking: asking === "why" ? "object" : "why" })}>
        {asking === "why" ? "Stop asking" : "Ask by a click on the map"}
      </button>
      {why?.is === "loading" && <p role="status">Looking …</p>}
      {why?.is === "failed" && <p role="alert" class="problem">No answer: {why.why}</p>}
      {why?.is === "ready" && (
        <div role="status">
          <p>At {why.value.lat.toFixed(5)}, {why.value.lon.toFixed(5)}: {why.value.sentence}</p>
          <ul class="plain">{why.value.rows.map((one, index) => <li key={index}><strong>{day(one.acquired_at)}</strong> {one.explanation}</li>)}</ul>
        </div>
      )}
    </section>
  );
}
