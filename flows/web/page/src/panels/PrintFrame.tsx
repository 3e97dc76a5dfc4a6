// What a printed map needs beside the map: title, dates, north, sources. Hidden on the screen.
import { currentWatch, earlierIndex, ready, sceneIndex, useStore } from "../store";
import { day } from "../words";

export function PrintFrame() {
  const state = useStore();
  const watch = currentWatch(state);
  const scenes = ready(state.scenes) ?? [];
  const scene = scenes[sceneIndex(state)];
  if (!watch || !scene) return null;
  const before = state.address.mode === "one" ? "" : ` compared with ${day(scenes[earlierIndex(state)]?.acquired_at)}`;
  return (
    <div class="print">
      <h1>{watch.watch}: {day(scene.acquired_at)}{before}</h1>
      <p>“{watch.instruction}” · model {watch.model ?? "unknown"} · {watch.accuracy.join("; ") || "accuracy not assessed"}</p>
      <p class="north" aria-hidden="true">▲<br />N</p>
      <p>Printed {new Date().toISOString().slice(0, 16).replace("T", " ")} UTC from {location.origin}. Imagery: {scene.attribution ?? "see the catalog"}. Base map: Natural Earth, GeoNames.</p>
    </div>
  );
}
