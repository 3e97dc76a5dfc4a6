import { describe, expect, it } from "vitest";
import { DEFAULTS, readAddress, writeAddress } from "./address";
import { coverView, surround } from "./map/ahead";
import { boxOfPixels, viewOf } from "./map/camera";
import { hasRoom, holds, spanAround } from "./map/span";
import { describePlace, groupByPlace } from "./places";
import type { Alert, Scene } from "./types";
import { findScene, isoTime } from "./times";
import { area, boxOf, describeStatus, percent, share, tileBoxOf } from "./words";

describe("the address", () => {
  it("restores what it was written from", () => {
    const state = {
      ...DEFAULTS, watch: "a & b", at: "2024-05-11 10:00:00+00", from: "2024-01-01 10:00:00+00", mode: "swipe" as const,
      view: { zoom: 12.5, lat: -47.02, lon: 179.5 }, statuses: ["confirmed"], targets: ["water, deep"], imagery: false,
      object: "o", alert: "a", tab: "watch" as const, marks: [], kinds: ["grew"], sort: "area" as const, places: true, theme: "dark" as const,
    };
    expect(readAddress(`#${writeAddress(state)}`)).toEqual(state);
  });
  it("is empty for the defaults, and takes nonsense for them", () => {
    expect(writeAddress(DEFAULTS)).toBe("");
    expect(readAddress("#mode=fly&view=1/2&sort=x&theme=")).toEqual(DEFAULTS);
    expect(readAddress("#view=99/0/0").view).toBeNull();
    expect(readAddress("?watch=lakes").watch).toBe("lakes");
  });
});

describe("the scene on show", () => {
  const scenes = ["observed", "failed", "pending"].map((state, index) => ({ acquired_at: `2024-05-${index + 1}1T10:00:00Z`, state }));
  it("is the newest observed one, until another is asked for", () => {
    expect(findScene(scenes, "")).toBe(0);
    expect(findScene(scenes, "2024-05-31T10:00:00Z")).toBe(2);
    expect(findScene(scenes.slice(1), "")).toBe(1);
    expect(findScene([], "")).toBe(-1);
  });
});

describe("tiles asked for ahead", () => {
  it("cover the view, across 180 degrees and beyond the poles too", () => {
    expect(coverView(-180, -90, 179.9, 90, 0)).toEqual(["0/0/0"]);
    expect(coverView(15, 46, 18, 47, 8).sort()).toEqual(["8/138/90", "8/138/91", "8/139/90", "8/139/91", "8/140/90", "8/140/91"]);
    expect(coverView(179, 1, 181, 2, 2)).toEqual(["2/3/1", "2/0/1"]);
  });
  it("lie around the view", () => {
    expect(surround(15.1, 46.1, 15.2, 46.2, 8).sort()).toEqual(["8/137/89", "8/137/90", "8/137/91", "8/138/89", "8/138/91", "8/139/89", "8/139/90", "8/139/91"]);
  });
});

describe("the view", () => {
  it("shows a box, whole and no smaller than it must", () => {
    const [west, south, east, north] = boxOfPixels(viewOf([15, 46, 16, 47], 900, 600, 0), 900, 600);
    expect([south, north].map((one) => Number(one.toFixed(6)))).toEqual([46, 47]);
    expect(west < 15 && east > 16).toBe(true);
    expect(viewOf([15, 46, 15, 46], 900, 600, 20, 16)).toEqual({ zoom: 16, lat: expect.closeTo(46, 6), lon: 15 });
  });
});

describe("the span of the tiles", () => {
  const scenes = Array.from({ length: 40 }, (_, index) => ({ scene_id: String(index), acquired_at: new Date(Date.UTC(2024, 0, 1 + index)).toISOString() }) as Scene);
  const numbers = (index: number, reach: number) => {
    const { since, until } = spanAround(scenes, scenes[index] as Scene, reach);
    return [since.scene_id, until.scene_id].map(Number);
  };
  it("leaves room for steps either way, and is the same for neighbours", () => {
    expect([numbers(16, 8), numbers(23, 8), numbers(24, 8)]).toEqual([[8, 31], [8, 31], [16, 39]]);
    expect([numbers(0, 8), numbers(39, 8), numbers(20, 0)]).toEqual([[0, 15], [24, 39], [20, 20]]);
  });
  it("holds the scenes between its ends", () => {
    const span = { since: scenes[3] as Scene, until: scenes[5] as Scene };
    expect([2, 3, 4, 5, 6].map((index) => holds(span, scenes[index] as Scene))).toEqual([false, true, true, true, false]);
  });
  it("is left alone while steps are left on either side, and at the ends of the axis", () => {
    const span = { since: scenes[24] as Scene, until: scenes[39] as Scene };
    expect([39, 28, 27].map((index) => hasRoom(span, scenes, scenes[index] as Scene, 8))).toEqual([true, true, false]);
    expect(hasRoom(span, scenes, scenes[24] as Scene, 0)).toBe(true);
  });
});

describe("alerts by place", () => {
  const at = (alert_id: string, west: number, south: number) => ({ alert_id, west, south, east: west + 0.001, north: south + 0.001 }) as Alert;
  it("stand together where they are near, in the order of the list, across 180 degrees too", () => {
    const none = { ...at("none", 0, 0), west: null };
    const places = groupByPlace([at("a", 179.995, 10), at("b", 15, 46), at("c", -179.999, 10), none, at("d", 15.01, 46)]);
    expect(places.map((one) => one.alerts.map((each) => each.alert_id))).toEqual([["a", "c"], ["b", "d"], ["none"]]);
    expect(places.map(describePlace)).toEqual(["10.00° N, 180.00° E", "46.00° N, 15.00° E", "Without a place"]);
  });
});

describe("words", () => {
  it("never calls a confidence certain", () => {
    expect([percent(1), percent(0), percent(0.5)]).toEqual(["over 99 %", "under 1 %", "50 %"]);
    expect(describeStatus("refuted", 0.01, 0.2)).toBe("refuted, 1 % likely (calibrated: 20 %)");
    expect(describeStatus(null)).toBe("not judged");
  });
  it("never writes less than all as all", () => {
    expect([share(1), share(0.996), share(0.994), share(0), share(null)]).toEqual(["1.00", "0.99", "0.99", "0.00", "unknown"]);
  });
  it("chooses the unit of an area", () => {
    expect([area(950), area(15_000), area(25_000_000), area(null)]).toEqual(["950 m²", "1.5 ha", "25 km²", "unknown"]);
  });
  it("crosses the antimeridian", () => {
    const row = { west: 179, south: -1, east: -179, north: 1 };
    expect(boxOf(row)).toEqual([179, -1, 181, 1]);
    expect(tileBoxOf(row)).toEqual([-180, -1, 180, 1]);
    expect(boxOf({ ...row, west: null })).toBeNull();
  });
  it("reads PostgreSQL's times", () => {
    expect(new Date(isoTime("2024-05-11 10:00:00.5+02")).toISOString()).toBe("2024-05-11T08:00:00.500Z");
  });
});
