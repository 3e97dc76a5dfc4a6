// Times of the server. Pure functions.

/** The time as ISO 8601: PostgreSQL writes a blank for the T, and two digits of the offset. */
export const isoTime = (time: string): string => time.replace(" ", "T").replace(/([+-]\d\d)$/, "$1:00");

/** Milliseconds since 1970 of a time of the server; NaN if it is none. */
export const instant = (time: string): number => Date.parse(isoTime(time));

/** The time as it stands in an address: UTC, without an offset that would need escapes. */
export function addressTime(time: string): string {
  const at = instant(time);
  return Number.isNaN(at) ? "" : new Date(at).toISOString().replace(".000Z", "Z");
}

/** Index of the scene of a time; else of the newest observed one, since a scene that waits or failed shows nothing new. */
export function findScene(scenes: readonly { acquired_at: string; state: string }[], at: string): number {
  const found = scenes.findIndex((one) => instant(one.acquired_at) === instant(at));
  if (found >= 0) return found;
  const observed = scenes.map((one) => one.state).lastIndexOf("observed");
  return observed >= 0 ? observed : scenes.length - 1;
}
