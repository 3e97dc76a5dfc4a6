// Words for what the map shows. Pure functions.
import type { Alert, Bounds, Watch } from "./types";

export const NOT_JUDGED = "not judged";
export const STATUSES = ["confirmed", "provisional", "refuted", NOT_JUDGED];

const observations = (count: number | null) => (count === 1 ? "one observation" : `${count ?? 0} observations`);

/** Confidence in per cent; neither 0 % nor 100 %, because observations do not make it certain. */
export function percent(confidence: number | null | undefined): string {
  if (confidence == null) return "unknown";
  if (confidence >= 0.995) return "over 99 %";
  return confidence < 0.005 ? "under 1 %" : `${Math.round(confidence * 100)} %`;
}

const calibrated = (confidence: number | null | undefined) => (confidence == null ? "" : ` (calibrated: ${percent(confidence)})`);

/** A status with its confidence, such as "provisional, 62 % sure (calibrated: 40 %)". */
export function describeStatus(status?: string | null, confidence?: number | null, corrected?: number | null): string {
  if (!status) return NOT_JUDGED;
  return `${status}, ${percent(confidence)} ${status === "refuted" ? "likely" : "sure"}${calibrated(corrected)}`;
}

/** How sure the change of an alert is, such as "confirmed by 3 observations, 97 % sure". */
export function describeBelief(alert: Alert): string {
  const { change_status: status, observations_for: agree, observations_against: disagree } = alert;
  if (!status) return NOT_JUDGED;
  const corrected = calibrated(alert.confidence_calibrated);
  // another change may explain it, although no observation contradicts it
  if (status === "refuted") return `refuted${disagree ? ` by ${observations(disagree)}` : ""}, ${percent(alert.confidence)} likely${corrected}${agree ? `; ${observations(agree)} for it` : ""}`;
  const words = status === "confirmed" ? `confirmed by ${observations(agree)}` : `provisional: ${observations(agree)} so far`;
  return `${words}, ${percent(alert.confidence)} sure${corrected}${disagree ? `; ${observations(disagree)} against it` : ""}`;
}

/** That a picture is displaced, and its outlines are not. */
export const describeDisplacement = (metres: number | null | undefined): string =>
  metres == null || metres < 0.5 ? "" : `, displaced by ${metres.toFixed(metres < 10 ? 1 : 0)} m; outlines are moved back`;

/** Who takes care of an alert. */
export function describeMark(alert: Alert): string {
  if (alert.status === "open") return "open";
  const until = alert.status === "snoozed" && alert.snoozed_until ? ` until ${minute(alert.snoozed_until)} UTC` : "";
  return `${alert.status}${until}${alert.status_by ? ` by ${alert.status_by}` : ""}`;
}

/** A share from 0 to 1 with two decimals; "1.00" is 1 alone, as in the server's messages. */
export function share(value: number | null | undefined): string {
  if (value == null) return "unknown";
  return value < 1 && value >= 0.995 ? "0.99" : value.toFixed(2);
}

export const day = (time: string | null | undefined) => (time ? time.slice(0, 10) : "unknown date");
export const minute = (time: string) => new Date(time).toISOString().slice(0, 16).replace("T", " ");

/** An area in the unit that people read with ease. */
export function area(squareMetres: number | null | undefined): string {
  if (squareMetres == null) return "unknown";
  const [value, unit] = Math.abs(squareMetres) < 10_000 ? [squareMetres, "m²"]
    : Math.abs(squareMetres) < 10_000_000 ? [squareMetres / 1e4, "ha"] : [squareMetres / 1e6, "km²"];
  const digits = Math.abs(value) < 100 ? 1 : 0;
  return `${value.toLocaleString("en", { maximumFractionDigits: digits })} ${unit}`;
}

/** Sizes below which nothing is reported; empty if the watch has none. */
export const describeSizes = (watch: Watch) =>
  watch.min_polygon_m2 == null ? "" : `Not reported: objects under ${area(watch.min_polygon_m2)}, changes under ${area(watch.min_change_m2)}`;

export type Box = [number, number, number, number];

/** Box for the map; beyond 180 degrees if it crosses the antimeridian, where west is east of east. */
export function boxOf(row: Bounds): Box | null {
  const { west, south, east, north } = row;
  if (west === null || south === null || east === null || north === null) return null;
  return [west, south, west > east ? east + 360 : east, north];
}

/** Box for the tiles of a source; all longitudes if it crosses the antimeridian. */
export function tileBoxOf(row: Bounds): Box | null {
  const box = boxOf(row);
  return box && box[2] > 180 ? [-180, box[1], 180, box[3]] : box;
}

/** "1 object", "2 objects". */
export const count = (number: number, noun: string) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
