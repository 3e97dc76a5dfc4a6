// Which scenes the tiles of the map hold. The map steps among them by a filter, without asking the server. Pure functions.
import { instant } from "../times";
import type { Scene } from "../types";

/** Scenes of the tiles, the first and the last one. */
export interface Span {
  since: Scene;
  until: Scene;
}

/** Scenes before and after the one on show, at least; neighbours share their spans, so that caches hold them. */
export const REACH = 12;

/** Whether the tiles hold a scene. */
export function holds({ since, until }: Span, scene: Scene): boolean {
  const at = instant(scene.acquired_at);
  return instant(since.acquired_at) <= at && at <= instant(until.acquired_at);
}

/** Whether a span leaves half its reach on either side of a scene, or reaches the first and the last one. */
export function hasRoom(span: Span, scenes: Scene[], scene: Scene, reach: number): boolean {
  const index = scenes.findIndex((one) => one.scene_id === scene.scene_id);
  const room = Math.ceil(reach / 2);
  const [earlier, later] = [scenes[Math.max(0, index - room)], scenes[Math.min(scenes.length - 1, index + room)]];
  return earlier !== undefined && later !== undefined && holds(span, earlier) && holds(span, later);
}

/** The span for a scene that leaves room for steps either way; with a reach of 0 this scene alone. */
export function spanAround(scenes: Scene[], scene: Scene, reach: number): Span {
  const index = scenes.findIndex((one) => one.scene_id === scene.scene_id);
  if (index < 0 || reach < 1) return { since: scene, until: scene };
  const block = Math.floor(index / reach) * reach;
  return { since: scenes[Math.max(0, block - reach)] ?? scene, until: scenes[Math.min(scenes.length - 1, block + 2 * reach - 1)] ?? scene };
}
