// Build ../static/basemap/basemap-DIGEST.pmtiles: land, borders and place names for the whole world, zoom levels 0 to 6.
//
// Land and borders: Natural Earth 1:10m through the npm package world-atlas (public domain).
// Places: basemap/places.json, which basemap/write_places.py writes from GeoNames (CC BY 4.0); it is not tracked.
// The file follows the PMTiles specification, version 3: https://github.com/protomaps/PMTiles/blob/main/spec/v3/spec.md
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { gzipSync } from "node:zlib";
import GeoJSONVT from "geojson-vt";
import { geoArea, geoEquirectangular } from "d3-geo";
import { geoProject } from "d3-geo-projection";
import { zxyToTileId } from "pmtiles";
import { feature, mesh } from "topojson-client";

const require = createRequire(import.meta.url);
const vtpbf = require("vt-pbf");
const here = (name) => new URL(name, import.meta.url);
const MAX_ZOOM = 6;
const MAX_BYTES = 3_000_000;
const HEADER_BYTES = 127;
/** Smallest population of a place that a zoom level shows. */
const MIN_POPULATION = [5e6, 5e6, 3e6, 2e6, 5e5, 1.5e5, 0];
const ATTRIBUTION = "Base map: Natural Earth (public domain), places: GeoNames (CC BY 4.0)";

const atlas = (name) => JSON.parse(readFileSync(require.resolve(`world-atlas/${name}.json`), "utf8"));

/** Centroid of the largest ring of a country, where its name is written. */
function nameCountry(country) {
  const { type, coordinates } = country.geometry;
  const rings = (type === "Polygon" ? [coordinates] : coordinates).map((polygon) => polygon[0]);
  const [best] = rings.map(measureRing).sort((a, b) => b.area - a.area);
  return point(best.centre, { name: country.properties.name, kind: "country", size: Math.round(best.area) });
}

function measureRing(ring) {
  let [area, x, y] = [0, 0, 0];
  for (let i = 1; i < ring.length; i += 1) {
    const cross = ring[i - 1][0] * ring[i][1] - ring[i][0] * ring[i - 1][1];
    area += cross;
    x += (ring[i - 1][0] + ring[i][0]) * cross;
    y += (ring[i - 1][1] + ring[i][1]) * cross;
  }
  return { area: Math.abs(area / 2), centre: [x / (3 * area), y / (3 * area)] };
}

const point = (coordinates, properties) => ({ type: "Feature", properties, geometry: { type: "Point", coordinates } });
const collect = (features) => ({ type: "FeatureCollection", features });

// x is the longitude, and y the latitude with the other sign
const ON_THE_SPHERE = geoEquirectangular().scale(180 / Math.PI).translate([0, 0]).precision(0);

/** Cut shapes at 180 degrees: world-atlas has them whole, on the sphere, and its rings run across that line. */
function cut(shapes) {
  (shapes.features ?? []).forEach(({ geometry }) => geometry.coordinates.forEach(turn));
  const made = geoProject(shapes, ON_THE_SPHERE);
  const flip = (part) => (typeof part[0] === "number" ? part.splice(0, 2, part[0], -part[1]) : part.forEach(flip));
  (made.features ?? [made]).forEach((one) => flip((one.geometry ?? one).coordinates));
  return made;
}

/** Turn the rings of a polygon that would otherwise hold all of the earth but itself. */
function turn(coordinates) {
  if (geoArea({ type: "Polygon", coordinates }) > 2 * Math.PI) coordinates.forEach((ring) => ring.reverse());
}

function indexLayers() {
  const [land, countries] = [atlas("land-10m"), atlas("countries-10m")];
  const borders = cut(mesh(countries, countries.objects.countries, (a, b) => a !== b));
  const names = feature(countries, countries.objects.countries).features.filter((one) => one.geometry).map(nameCountry);
  const places = JSON.parse(readFileSync(here("places.json"), "utf8"));
  const options = { maxZoom: MAX_ZOOM, indexMaxZoom: MAX_ZOOM, indexMaxPoints: 0, tolerance: 4, buffer: 64 };
  const towns = (zoom) => collect([...names, ...places.filter((one) => one[3] >= MIN_POPULATION[zoom])
    .map(([name, lon, lat, population]) => point([lon, lat], { name, kind: "town", size: population }))]);
  return {
    land: new GeoJSONVT(cut(feature(land, land.objects.land)), options),
    borders: new GeoJSONVT({ type: "Feature", properties: {}, geometry: borders }, options),
    places: MIN_POPULATION.map((_, zoom) => new GeoJSONVT(towns(zoom), { ...options, tolerance: 0, buffer: 0 })),
  };
}

function* makeTiles({ land, borders, places }) {
  for (let z = 0; z <= MAX_ZOOM; z += 1) {
    for (let x = 0; x < 2 ** z; x += 1) {
      for (let y = 0; y < 2 ** z; y += 1) {
        const layers = { land: land.getTile(z, x, y), borders: borders.getTile(z, x, y), places: places[z].getTile(z, x, y) };
        const filled = Object.fromEntries(Object.entries(layers).filter(([, tile]) => tile?.features.length));
        if (Object.keys(filled).length === 0) continue;
        yield { id: zxyToTileId(z, x, y), data: gzipSync(vtpbf.fromGeojsonVt(filled, { version: 2 }), { level: 9 }) };
      }
    }
  }
}

/** Store equal tiles once, and neighbours in the order of the ids as one run. */
function arrange(tiles) {
  const entries = [], parts = [], known = new Map();
  let length = 0;
  for (const { id, data } of [...tiles].sort((a, b) => a.id - b.id)) {
    const key = data.toString("base64");
    if (!known.has(key)) {
      known.set(key, length);
      parts.push(data);
      length += data.length;
    }
    const last = entries.at(-1);
    if (last && last.offset === known.get(key) && last.id + last.run === id) last.run += 1;
    else entries.push({ id, run: 1, offset: known.get(key), length: data.length });
  }
  return { entries, data: Buffer.concat(parts), addressed: entries.reduce((sum, one) => sum + one.run, 0), contents: known.size };
}

function varint(value) {
  const bytes = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return bytes.concat(rest);
    bytes.push((rest % 128) | 128);
  }
}

function encodeDirectory(entries) {
  const bytes = varint(entries.length);
  entries.forEach((one, i) => bytes.push(...varint(one.id - (entries[i - 1]?.id ?? 0))));
  entries.forEach((one) => bytes.push(...varint(one.run)));
  entries.forEach((one) => bytes.push(...varint(one.length)));
  entries.forEach((one, i) => {
    const before = entries[i - 1];
    bytes.push(...varint(before && one.offset === before.offset + before.length ? 0 : one.offset + 1));
  });
  return gzipSync(Buffer.from(bytes), { level: 9 });
}

/** Split the directory into a root, which must fit the first 16 KiB of the file, and leaves. */
function encodeDirectories(entries) {
  const leaves = [], roots = [];
  let offset = 0;
  for (let at = 0; at < entries.length; at += 1024) {
    const leaf = encodeDirectory(entries.slice(at, at + 1024));
    roots.push({ id: entries[at].id, run: 0, offset, length: leaf.length });
    leaves.push(leaf);
    offset += leaf.length;
  }
  return { root: encodeDirectory(roots), leaves: Buffer.concat(leaves) };
}

function encodeArchive({ entries, data, addressed, contents }) {
  const { root, leaves } = encodeDirectories(entries);
  const metadata = gzipSync(JSON.stringify({
    name: "segwatch base map", attribution: ATTRIBUTION, type: "baselayer",
    vector_layers: ["land", "borders", "places"].map((id) => ({ id, fields: {}, minzoom: 0, maxzoom: MAX_ZOOM })),
  }));
  const header = Buffer.alloc(HEADER_BYTES);
  header.write("PMTiles", 0);
  header[7] = 3;
  let at = HEADER_BYTES;
  [root, metadata, leaves, data].forEach((part, i) => {
    header.writeBigUInt64LE(BigInt(at), 8 + 16 * i);
    header.writeBigUInt64LE(BigInt(part.length), 16 + 16 * i);
    at += part.length;
  });
  [addressed, entries.length, contents].forEach((count, i) => header.writeBigUInt64LE(BigInt(count), 72 + 8 * i));
  // clustered; directories and tiles in gzip; tiles are MVT; zoom levels
  header.set([1, 2, 2, 1, 0, MAX_ZOOM], 96);
  [-180, -85, 180, 85].forEach((degrees, i) => header.writeInt32LE(degrees * 1e7, 102 + 4 * i));
  return Buffer.concat([header, root, metadata, leaves, data]);
}

const archive = encodeArchive(arrange(makeTiles(indexLayers())));
if (archive.length > MAX_BYTES) throw new Error(`the base map has ${archive.length} bytes; at most ${MAX_BYTES} are shipped`);
// browsers keep the file for good, so its name changes with its content
const name = `basemap-${createHash("sha256").update(archive).digest("hex").slice(0, 8)}.pmtiles`;
const folder = here("../../static/basemap/");
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder);
writeFileSync(new URL(name, folder), archive);
console.log(`flows/web/static/basemap/${name}: ${archive.length} bytes`);
