// The area of a new watch: from a file, or from the view. Pure functions.

export type Area = GeoJSON.Polygon | GeoJSON.MultiPolygon;

const MAX_VERTICES = 10_000;

/** Read the area of a GeoJSON text; throws an Error that says what is wrong, for people. */
export function readArea(text: string): Area {
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch {
    throw new Error("The file is not GeoJSON: it cannot be read as JSON.");
  }
  const area = findGeometry(given as GeoJSON.GeoJSON | null);
  const vertices = listPositions(area);
  if (!vertices.length) throw new Error("The area has no corners.");
  if (vertices.length > MAX_VERTICES) throw new Error(`The area has ${vertices.length} corners; at most ${MAX_VERTICES} are taken. Simplify it first.`);
  const outside = vertices.find(([lon, lat]) => !(Math.abs(lon ?? NaN) <= 180 && Math.abs(lat ?? NaN) <= 90));
  if (outside) throw new Error(`The corner ${outside.slice(0, 2).join(", ")} is no longitude and latitude in degrees (EPSG:4326).`);
  return area;
}

function findGeometry(given: GeoJSON.GeoJSON | null): Area {
  if (given?.type === "FeatureCollection") {
    const [first, ...others] = given.features;
    if (!first || others.length) throw new Error(`The file has ${given.features.length} features; it must have one polygon.`);
    return findGeometry(first);
  }
  if (given?.type === "Feature") return findGeometry(given.geometry);
  if (given?.type === "Polygon" || given?.type === "MultiPolygon") return { type: given.type, coordinates: given.coordinates } as Area;
  throw new Error(`The file holds ${given?.type ?? "no geometry"}; an area is a Polygon or a MultiPolygon.`);
}

const listPositions = (area: Area): GeoJSON.Position[] => (area.type === "Polygon" ? area.coordinates.flat() : area.coordinates.flat(2));

/** The area of a box west, south, east, north, degrees. */
export const areaOfBox = ([west, south, east, north]: [number, number, number, number]): Area => ({
  type: "Polygon",
  coordinates: [[[west, south], [east, south], [east, north], [west, north], [west, south]]],
});

/** Bounding box of an area: west, south, east, north, degrees. */
export function boxOfArea(area: Area): [number, number, number, number] {
  const positions = listPositions(area);
  const [lons, lats] = [positions.map((one) => one[0] ?? 0), positions.map((one) => one[1] ?? 0)];
  const least = (values: number[]) => values.reduce((a, b) => Math.min(a, b), Infinity);
  const most = (values: number[]) => values.reduce((a, b) => Math.max(a, b), -Infinity);
  return [least(lons), least(lats), most(lons), most(lats)];
}
