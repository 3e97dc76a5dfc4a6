// Alerts by place: those that lie near each other, in the order in which the list has them. Pure functions.
import { boxOf } from "./words";
import type { Alert } from "./types";

/** Alerts whose middles lie within this distance of the first one of a place belong to it, metres. */
export const NEAR_M = 2000;
const METRES_PER_DEGREE = 111_320;

export interface Place {
  /** Middle of its first alert, degrees; null for alerts without a place. */
  middle: [lon: number, lat: number] | null;
  alerts: Alert[];
}

export function groupByPlace(alerts: Alert[]): Place[] {
  const places: Place[] = [];
  for (const alert of alerts) {
    const middle = findMiddle(alert);
    const near = places.find((one) => (middle && one.middle ? measure(middle, one.middle) <= NEAR_M : middle === one.middle));
    if (near) near.alerts.push(alert);
    else places.push({ middle, alerts: [alert] });
  }
  return places;
}

function findMiddle(alert: Alert): [number, number] | null {
  const box = boxOf(alert);
  return box && [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
}

/** Distance on the sphere, flat enough for neighbours, metres. */
function measure([lon, lat]: [number, number], [otherLon, otherLat]: [number, number]): number {
  const turn = Math.abs(lon - otherLon) % 360;
  const east = Math.min(turn, 360 - turn) * Math.cos((lat * Math.PI) / 180);
  return Math.hypot(east, lat - otherLat) * METRES_PER_DEGREE;
}

/** Coordinates as people write them, such as "46.05° N, 15.10° E". */
export function describePlace({ middle }: Place): string {
  if (!middle) return "Without a place";
  const [lon, lat] = [((((middle[0] + 180) % 360) + 360) % 360) - 180, middle[1]];
  return `${Math.abs(lat).toFixed(2)}° ${lat < 0 ? "S" : "N"}, ${Math.abs(lon).toFixed(2)}° ${lon < 0 ? "W" : "E"}`;
}
