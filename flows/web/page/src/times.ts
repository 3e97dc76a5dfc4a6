// Times of the server. Pure functions.

/** The time as ISO 8601: PostgreSQL writes a blank for the T, and two digits of the offset. */
export const isoTime = (time: string): string => time.replace(" ", "T").replace(/([+-]\d\d)$/, "$1:00");
