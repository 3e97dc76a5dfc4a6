"""The frame of a map: projection, scale bar, north arrow and graticule, in millimetres on the page."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from shapely.geometry import LineString
from shapely.geometry.base import BaseGeometry

from segwatch.flows.report.drawing import FAINT, INK, WHITE, Area, Label, Line, Pen, Shape, make_box
from segwatch.flows.report.language import Language
from segwatch.geo.antimeridian import compute_bounds, compute_bounds_centre
from segwatch.geo.crs import LONLAT, get_transformer, make_local_equal_area, to_crs

#: Room around the area, as a share of its size.
_MARGIN = 0.06
#: Areas smaller than this (metres) are shown with their surroundings.
_MIN_SIDE_M = 300.0
#: Lines of the graticule are this far apart at least, millimetres.
_GRATICULE_MM = 24.0
_STEPS_DEG = (10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
_NICE = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class Frame:
    """A rectangle on the page that shows a piece of the ground, north up."""

    crs: CRS
    """Equal-area, centred on the piece, metres."""
    left: float
    top: float
    """Upper left corner in ``crs``."""
    scale: float
    """Millimetres on the page per metre."""
    width: float
    height: float
    """Millimetres."""

    @property
    def denominator(self) -> int:
        """Number N of the map scale 1 : N on paper, two digits and zeros."""
        exact = 1000 / self.scale
        digits = 10 ** (math.floor(math.log10(exact)) - 1)
        return int(round(exact / digits) * digits)

    def place(self, geometry: BaseGeometry) -> BaseGeometry:
        """Place a geometry (EPSG:4326) on the page, cut at the frame and without detail that no eye sees."""
        if geometry.is_empty:
            return geometry
        on_page = shapely.transform(to_crs(geometry, self.crs), self.to_page)
        thin = shapely.simplify(on_page, 0.04)
        if not thin.is_valid:
            thin = shapely.make_valid(thin)
        cut: BaseGeometry = shapely.clip_by_rect(thin, 0, 0, self.width, self.height)
        return cut if cut.is_valid else shapely.make_valid(cut)

    def to_page(self, coords: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert (N, 2) metres in ``crs`` to millimetres on the page."""
        return np.column_stack(
            [(coords[:, 0] - self.left) * self.scale, (self.top - coords[:, 1]) * self.scale]
        )


def fit_frame(area: BaseGeometry, width: float, height: float) -> Frame:
    """Fit the frame to an area (EPSG:4326) with a margin around it."""
    crs = make_local_equal_area(compute_bounds_centre(compute_bounds(area)))
    west, south, east, north = to_crs(area, crs).bounds
    wide, tall = max(east - west, _MIN_SIDE_M), max(north - south, _MIN_SIDE_M)
    scale = min(width / wide, height / tall) / (1 + 2 * _MARGIN)
    x, y = (west + east) / 2, (south + north) / 2
    return Frame(crs, x - width / scale / 2, y + height / scale / 2, scale, width, height)


def draw_furniture(frame: Frame, language: Language) -> list[Shape]:
    """Draw the graticule's coordinates, scale bar and north arrow, and the frame's line: what lies above the map."""
    shapes: list[Shape] = [one for one in _draw_graticule(frame, language) if isinstance(one, Label)]
    shapes += _draw_scale_bar(frame, language)
    shapes += _draw_north(frame, language.say("north"))
    return [*shapes, Area(make_box(0, 0, frame.width, frame.height), pen=Pen(INK, 0.3))]


def draw_graticule(frame: Frame, language: Language) -> list[Shape]:
    """Draw the lines of the graticule: they lie below the map's objects."""
    return [one for one in _draw_graticule(frame, language) if isinstance(one, Line)]


def _draw_graticule(frame: Frame, language: Language) -> Iterator[Shape]:
    to_lonlat = get_transformer(frame.crs, LONLAT)
    corners = (
        np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0.5, 0), (0.5, 1)])
        * [frame.width, frame.height]
        / frame.scale
    )
    lon, lat = to_lonlat.transform(frame.left + corners[:, 0], frame.top - corners[:, 1])
    middle = float(np.median(lon))
    lon = (lon - middle + 180) % 360 - 180 + middle  # continuous across the antimeridian
    north, south, east, west = language.messages["hemispheres"]
    step = _choose_step(frame, float(lon.max() - lon.min()), float(lat.max() - lat.min()))
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    for value in _multiples(lon.min(), lon.max(), step):
        line = _project(frame, [(value, one) for one in np.linspace(lat.min(), lat.max(), 16)])
        yield Line(line, Pen(WHITE, 0.35))
        yield Line(line, Pen(FAINT, 0.1))
        shown = (value + 180) % 360 - 180
        text = f"{language.write_number(abs(shown), digits)}° {east if shown >= 0 else west}"
        at = _cross(line, frame.height - 1.0)
        if at is not None and 8 < at < frame.width - 38:
            yield Label(at, frame.height - 1.0, text, 1.9, "middle", halo=True)
    for value in _multiples(lat.min(), lat.max(), step):
        line = _project(frame, [(one, value) for one in np.linspace(lon.min(), lon.max(), 16)])
        yield Line(line, Pen(WHITE, 0.35))
        yield Line(line, Pen(FAINT, 0.1))
        text = f"{language.write_number(abs(value), digits)}° {north if value >= 0 else south}"
        if not line.is_empty:
            y = line.bounds[3]
            if 14 < y < frame.height - 14:
                yield Label(2.6, y, text, 1.9, "middle", turned=True, halo=True)


def _choose_step(frame: Frame, wide: float, tall: float) -> float:
    for step in _STEPS_DEG[::-1]:
        if min(frame.width * step / wide, frame.height * step / tall) >= _GRATICULE_MM:
            return float(step)
    return float(_STEPS_DEG[0])


def _multiples(low: float, high: float, step: float) -> list[float]:
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _project(frame: Frame, lonlat: list[tuple[float, float]]) -> BaseGeometry:
    coords = np.array(lonlat)
    x, y = get_transformer(LONLAT, frame.crs).transform(coords[:, 0], coords[:, 1])
    line = LineString(frame.to_page(np.column_stack([x, y])))
    cut: BaseGeometry = shapely.clip_by_rect(line, 0, 0, frame.width, frame.height)
    return cut


def _cross(line: BaseGeometry, y: float) -> float | None:
    met = line.intersection(LineString([(-1e3, y), (1e3, y)]))
    return None if met.is_empty else float(met.centroid.x)


def _draw_scale_bar(frame: Frame, language: Language) -> list[Shape]:
    longest = frame.width * 0.28 / frame.scale
    power = 10 ** math.floor(math.log10(longest))
    metres = max(one * power for one in _NICE if one * power <= longest)
    length = metres * frame.scale
    kilometres = metres >= 1000
    text = f"{language.write_number(metres / 1000 if kilometres else metres)} {'km' if kilometres else 'm'}"
    x, y = frame.width - length - 4, frame.height - 4
    return [
        Area(make_box(x - 2, y - 4.6, length + 4, 7.6), WHITE, 0.85),
        Label(x + length, y - 1.2, text, 2.2, "end"),
        Label(x, y - 1.2, "0", 2.2),
        Area(make_box(x, y, length / 2, 1.1), INK, pen=Pen(INK, 0.15)),
        Area(make_box(x + length / 2, y, length / 2, 1.1), WHITE, pen=Pen(INK, 0.15)),
    ]


def _draw_north(frame: Frame, letter: str) -> list[Shape]:
    x, y = frame.width - 5.5, 9.5
    left = shapely.Polygon([(x, y - 5), (x - 2, y + 1.5), (x, y)])
    right = shapely.Polygon([(x, y - 5), (x + 2, y + 1.5), (x, y)])
    return [
        Area(make_box(x - 3.5, 1.5, 7, 13), WHITE, 0.85),
        Area(left, INK, pen=Pen(INK, 0.15)),
        Area(right, WHITE, pen=Pen(INK, 0.15)),
        Label(x, y + 4.3, letter, 2.6, "middle", bold=True),
    ]
