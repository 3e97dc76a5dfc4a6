"""The locator map: where in the world an area lies, on Natural Earth's countries, which ship with segwatch."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
import shapely
from shapely.geometry import Point, Polygon
from shapely.geometry.base import BaseGeometry

from segwatch.flows.report.drawing import Area, Colour, Label, Line, Pen, Shape, make_box
from segwatch.geo.crs import LONLAT, get_transformer, make_local_equal_area

_SEA: Colour = (222, 235, 243)
_LAND: Colour = (246, 243, 234)
_BORDER: Colour = (150, 150, 150)
_MARK: Colour = (213, 94, 0)
#: Half of the shown width: a country of middle size around the area.
_HALF_WIDTH_M = 700_000.0
#: Countries farther from the area than this (degrees) are not projected.
_NEAR_DEGREES = 25.0


def draw_locator(lon: float, lat: float, width: float, height: float, caption: str) -> list[Shape]:
    """Draw the countries around a point, with a mark on it, in a frame of some millimetres."""
    half = _HALF_WIDTH_M
    scale = width / (2 * half)
    frame = make_box(0, 0, width, height)
    shapes: list[Shape] = [Area(frame, _SEA)]
    for country in _find_near(lon, lat):
        on_page = shapely.transform(country, lambda xy: (xy * [1, -1]) * scale + [width / 2, height / 2])
        cut = shapely.clip_by_rect(on_page, 0, 0, width, height)
        if not cut.is_empty:
            shapes.append(Area(cut, _LAND, pen=Pen(_BORDER, 0.12)))
    x, y = width / 2, height / 2
    cross = shapely.MultiLineString([[(x, 0), (x, y - 1.2)], [(x, y + 1.2), (x, height)],
                                     [(0, y), (x - 1.2, y)], [(x + 1.2, y), (width, y)]])  # fmt: skip
    shapes += [
        Line(cross, Pen(_MARK, 0.15)),
        Area(Point(x, y).buffer(1.2), pen=Pen(_MARK, 0.5)),
        Area(frame, pen=Pen(width=0.25)),
        Label(1, 3.2, caption, 2.3, bold=True, halo=True),
    ]
    return shapes


def _find_near(lon: float, lat: float) -> list[BaseGeometry]:
    """Project the countries near a point to a plane with the point at its origin, metres."""
    crs = make_local_equal_area((lon, lat))
    transformer = get_transformer(LONLAT, crs)
    found = []
    for country in _load_countries():
        for turn in (-360.0, 0.0, 360.0):
            west, south, east, north = country.bounds
            off = max(west + turn - lon, lon - east - turn)
            # meridians meet at the poles
            reach = _NEAR_DEGREES / max(0.15, float(np.cos(np.radians(lat))))
            if off > reach or south - lat > _NEAR_DEGREES or lat - north > _NEAR_DEGREES:
                continue
            near = shapely.clip_by_rect(
                country, lon - turn - reach, lat - _NEAR_DEGREES, lon - turn + reach, lat + _NEAR_DEGREES
            )
            if near.is_empty:
                continue
            moved = shapely.transform(
                near, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1]))
            )
            found.append(moved if moved.is_valid else shapely.make_valid(moved))
    return found


@lru_cache(maxsize=1)
def _load_countries() -> tuple[BaseGeometry, ...]:
    text = (files("segwatch.flows.report") / "data" / "countries.topojson").read_text(encoding="utf-8")
    topology = json.loads(text)
    arcs = _read_arcs(topology)
    shapes = [
        shapely.MultiPolygon([_read_polygon(one, arcs) for one in polygons])
        for geometry in topology["objects"]["countries"]["geometries"]
        for polygons in [geometry["arcs"] if geometry["type"] == "MultiPolygon" else [geometry["arcs"]]]
    ]
    return tuple(one if one.is_valid else shapely.make_valid(one) for one in shapes)


def _read_arcs(topology: Any) -> list[np.ndarray[Any, Any]]:
    """Read the arcs of a quantized topology as (N, 2) arrays of degrees; see the TopoJSON specification, 2.1.4."""
    scale, translate = topology["transform"]["scale"], topology["transform"]["translate"]
    return [np.cumsum(np.array(arc), axis=0) * scale + translate for arc in topology["arcs"]]


def _read_polygon(rings: Any, arcs: list[np.ndarray[Any, Any]]) -> Polygon:
    """Join the arcs of each ring; a negative index is an arc read backwards."""
    joined = []
    for ring in rings:
        parts = [arcs[index] if index >= 0 else arcs[~index][::-1] for index in ring]
        joined.append(np.vstack([parts[0], *(part[1:] for part in parts[1:])]))
    usable = [one for one in joined if len(one) >= 4]
    return Polygon(usable[0], usable[1:]) if usable and usable[0] is joined[0] else Polygon()
