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
