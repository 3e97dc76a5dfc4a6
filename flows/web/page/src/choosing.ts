// Choose an object or an alert: date, place and panel follow, and the focus goes to the panel.
import { get } from "./api";
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

/** Bounding box of the view as west,south,east,north, degrees; empty before the map is there. */
export function boxOfView(): string {
  const bounds = stage?.main.map.getBounds();
  if (!bounds) return "";
  const [west, east] = [wrap(bounds.getWest()), wrap(bounds.getEast())];
  // the server takes no box across 180 degrees: then all longitudes
  const [left, right] = bounds.getEast() - bounds.getWest() >= 360 || west >= east ? [-180, 180] : [west, east];
  return [left, Math.max(-90, bounds.getSouth()), right, Math.min(90, bounds.getNorth())].map((one) => one.toFixed(5)).join(",");
}

const wrap = (longitude: number) => ((((longitude + 180) % 360) + 360) % 360) - 180;

export const getStage = (): Stage | null => stage;

export function openObject(track: string): void {
  store.go({ object: track, alert: "", tab: "object" });
  focusPanel();
}

/** Open an alert that only its id is known of: the link of a message, or a hit of the search. */
export async function openAlertById(id: string): Promise<void> {
  const { value } = await get<Alert[]>("/api/alerts", { watch: store.state.address.watch, limit: "1000" });
  const found = value.find((one) => one.alert_id === id);
  if (found) openAlert(found);
  else store.set({ problem: `The alert ${id} is not among the newest 1000; choose it in the list under Alerts.` });
}

export function openAlert(alert: Alert): void {
  store.set({ opened: alert });
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
