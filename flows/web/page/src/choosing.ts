// Choose an object or an alert: date, place and panel follow, and the focus goes to the panel.
import { ready, store } from "./store";
import { addressTime, instant } from "./times";
import type { Stage } from "./map/stage";
import type { Alert } from "./types";
import { type Box, boxOf } from "./words";

const CLOSE_ZOOM = 16;
let stage: Stage | null = null;

/** The stage registers itself, so that panels can move the map. */
export function setStage(made: Stage): void {
  stage = made;
}

export function showBox(box: Box): void {
  stage?.fit(box, CLOSE_ZOOM);
}

export const getStage = (): Stage | null => stage;

export function openObject(track: string): void {
  store.go({ object: track, alert: "", tab: "object" });
  focusPanel();
}

export function openAlert(alert: Alert): void {
  const at = instant(alert.valid_at);
  const scene = (ready(store.state.scenes) ?? []).find((one) => instant(one.acquired_at) === at);
  store.go({ ...(scene ? { at: addressTime(scene.acquired_at) } : {}), object: alert.track_id, alert: alert.alert_id, tab: "object" });
  const box = boxOf(alert);
  if (box) showBox(box);
  focusPanel();
}

export function closeObject(): void {
  store.go({ object: "", alert: "", tab: "alerts" });
  focusPanel();
}

/** Move the focus to the heading of the panel, where a screen reader goes on reading; on a phone the sheet opens. */
export function focusPanel(): void {
  store.set({ sheet: true });
  requestAnimationFrame(() => requestAnimationFrame(() => document.querySelector<HTMLElement>("[role=tabpanel] h2")?.focus({ preventScroll: false })));
}
