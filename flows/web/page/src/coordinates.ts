// Coordinates as people write them. Pure functions.

export interface LonLat {
  lon: number;
  lat: number;
}

const NUMBER = String.raw`(\d+(?:\.\d+)?)`;
const ANGLE = new RegExp(String.raw`^\s*([-+−]?)\s*${NUMBER}\s*°?\s*(?:${NUMBER}\s*['′’]\s*)?(?:${NUMBER}\s*(?:"|″|”|'')\s*)?([NSEWO]?)\s*$`, "i");

/** Read latitude and longitude, in this order unless letters say otherwise; null if the text is something else. */
export function parseCoordinates(text: string): LonLat | null {
  const parts = splitPair(text);
  if (!parts) return null;
  const [first, second] = parts.map(parseAngle);
  if (!first || !second) return null;
  const turned = /[EWO]/.test(first.letter) || /[NS]/.test(second.letter);
  const [lat, lon] = turned ? [second.degrees, first.degrees] : [first.degrees, second.degrees];
  return Math.abs(lat) <= 90 && Math.abs(lon) <= 180 ? { lat, lon } : null;
}

function splitPair(text: string): [string, string] | null {
  const given = text.trim();
  const lettered = /^(.*?[NS])[\s,;]*(.*[EWO])$/i.exec(given) ?? /^(.*?[EWO])[\s,;]*(.*[NS])$/i.exec(given);
  const parts = lettered ? [lettered[1], lettered[2]] : given.split(/\s*[,;]\s*|\s+(?=[-+−\d])/);
  return parts.length === 2 && parts[0] && parts[1] ? [parts[0], parts[1]] : null;
}

function parseAngle(text: string): { degrees: number; letter: string } | null {
  const match = ANGLE.exec(text);
  if (!match) return null;
  const [, sign, degrees, minutes, seconds, letter = ""] = match;
  const size = Number(degrees) + Number(minutes ?? 0) / 60 + Number(seconds ?? 0) / 3600;
  const negative = /[-−]/.test(sign ?? "") || /[SW]/i.test(letter);
  return { degrees: negative ? -size : size, letter: letter.toUpperCase() };
}
