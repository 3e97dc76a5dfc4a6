import { describe, expect, it } from "vitest";
import { areaOfBox, boxOfArea, readArea } from "./area";
import type { CatalogCheck, Preview, Trial } from "./types";
import { describeCheck, describeCost, describePreview, describeTrial } from "./words";

const SQUARE = areaOfBox([10, 40, 11, 41]);

describe("the area of a new watch", () => {
  it("is a polygon of GeoJSON, by itself or in one feature", () => {
    const feature = { type: "Feature", properties: { name: "x" }, geometry: SQUARE };
    for (const given of [SQUARE, feature, { type: "FeatureCollection", features: [feature] }]) {
      expect(readArea(JSON.stringify(given))).toEqual(SQUARE);
    }
    expect(boxOfArea(SQUARE)).toEqual([10, 40, 11, 41]);
  });
  it("is refused with what is wrong", () => {
    const refuse = (given: unknown) => () => readArea(typeof given === "string" ? given : JSON.stringify(given));
    expect(refuse("no json")).toThrow("cannot be read as JSON");
    expect(refuse(null)).toThrow("no geometry");
    expect(refuse({ type: "Point", coordinates: [0, 0] })).toThrow("holds Point");
    expect(refuse({ type: "FeatureCollection", features: [] })).toThrow("0 features");
    expect(refuse(areaOfBox([500_000, 0, 600_000, 9]))).toThrow("no longitude and latitude");
    expect(refuse({ type: "Polygon", coordinates: [] })).toThrow("no corners");
  });
});

const TRIAL: Trial = {
  id: "t", state: "done", instruction: "segment the water", area: SQUARE, stage: null, progress: null, reason: null,
  scene: { acquired_at: "2024-05-01T10:00:00Z", clear_share: 0.95, attribution: "ESA" }, model: "tiny", demonstration: true,
  totals: [{ target: "water", polygons: 3, area_m2: 12_000, presence: 0.9 }], cost: { seconds: 4.2, bytes_read: 2_500_000, km2: 8, tiles: 2, tiles_failed: 0 },
  observed: SQUARE, unseen: null, polygons: { type: "FeatureCollection", features: [] }, polygons_of_all: 3, picture: "/api/trials/t/picture",
};

describe("what the server says about a draft", () => {
  it("tells what a trial found, and how many of its polygons are not drawn", () => {
    expect(describeTrial(TRIAL)).toBe("3 polygons of water, 1.2 ha on the scene of 2024-05-01, 95 % clear. 0 of 3 polygons are drawn, the largest.");
    expect(describeTrial({ ...TRIAL, totals: [{ target: "water", polygons: 0, area_m2: 0, presence: 0 }] })).toBe("Nothing found on the scene of 2024-05-01, 95 % clear.");
    expect(describeCost(TRIAL)).toEqual([["model", "tiny: demonstration model, no basis for decisions"], ["cost", "4.2 s, 2.5 MB read, 2 tiles, 8 km²"]]);
  });
  it("tells how far a trial is, and why it failed", () => {
    const running = { ...TRIAL, state: "running" as const, stage: "reading and segmenting", progress: { done: 1, total: 2 } };
    expect(describeTrial(running)).toBe("Trial running: reading and segmenting, 1 of 2 tiles …");
    expect(describeTrial({ ...TRIAL, state: "failed", reason: "no clear scene; widen the dates" })).toBe("The trial failed: no clear scene; widen the dates");
  });
  it("tells size and cost, and what is only estimated", () => {
    const preview: Preview = {
      area_km2: 15.8, scenes: 12, scenes_are_all: false, catalog_note: "", tiles_per_scene: 4, seconds_per_scene: 8, bytes_per_scene: 3e6,
      is_measured: false, targets: ["water"], model: "tiny", demonstration: false, warnings: [],
    };
    expect(describePreview(preview).map(([, words]) => words)).toEqual(["16 km²", "12 scenes or more", "4 tiles, 3 MB to read, 8 s of computing (estimated)", "water", "tiny"]);
    expect(describePreview({ ...preview, scenes: null, catalog_note: "the catalog does not answer" })[1]).toEqual(["scenes", "unknown: the catalog does not answer"]);
  });
  it("tells what a catalog has", () => {
    const check: CatalogCheck = { answers: true, has_collection: true, scenes: 5, complete: true, first_at: "2024-01-01T00:00:00Z", last_at: "2024-05-01T00:00:00Z", rejected: 1, problem: null };
    expect(describeCheck(check)).toBe("The catalog answers: 5 scenes, 2024-01-01 to 2024-05-01; 1 item cannot be used.");
    expect(describeCheck({ ...check, problem: "It has no collection x." })).toBe("It has no collection x.");
  });
});
