"""Shapes in GML 3, as ``georss:where`` holds them: the geometries of the GeoRSS profile and collections of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from xml.etree.ElementTree import Element

from shapely.geometry import LineString, Point, Polygon
from shapely.geometry.base import BaseGeometry

from segwatch.geo.errors import EventRefused
from segwatch.geo.events.record import number
from segwatch.geo.events.xml import Pairs, box_between, numbers, polygon_of, widened

_SPACES = ("{http://www.opengis.net/gml}", "{http://www.opengis.net/gml/3.2}")
#: Latitude first, as the register of EPSG has it; "EPSG:4326" alone is what GeoRSS means by its default.
_LAT_LON = re.compile(
    r"(?:urn:(?:x-)?ogc:def:crs:EPSG:[\d.]*:4326|https?://www\.opengis\.net/def/crs/EPSG/[\d.]+/4326|EPSG:4326)\Z",
    re.IGNORECASE,
)
_LON_LAT = re.compile(
    r"(?:urn:(?:x-)?ogc:def:crs:OGC:[\d.]*:(?:CRS)?84|https?://www\.opengis\.net/def/crs/OGC/[\d.]+/CRS84"
    r"|(?:OGC:|CRS:)?(?:CRS)?84)\Z",
    re.IGNORECASE,
)
#: Some programs write longitude first under this name, others latitude.
_EITHER = re.compile(r"https?://www\.opengis\.net/gml/srs/epsg\.xml#4326\Z", re.IGNORECASE)
_UNITS = {
    "m": 1.0,
    "metre": 1.0,
    "meter": 1.0,
    "metres": 1.0,
    "urn:ogc:def:uom:epsg::9001": 1.0,
    "km": 1000.0,
}
_MOST_NESTED = 20


@dataclass(frozen=True, slots=True)
class _System:
    """How the numbers of a shape are to be read; what is inside a shape inherits it."""

    srs: str = "EPSG:4326"
    dimension: int | None = None

    def of(self, element: Element) -> _System:
        """With what an element says of itself."""
        dimension = number(element.get("srsDimension"))
        return replace(
            self,
            srs=element.get("srsName") or self.srs,
            dimension=self.dimension if dimension is None else int(dimension),
        )


def shapes(holder: Element) -> Iterator[BaseGeometry]:
    """Every shape inside an element.

    Raises
    ------
    EventRefused
        There is none, or one of another kind or coordinate system.
    """
    found = [shape for child in holder for shape in _shapes(child, _System().of(holder), 0)]
    if not found:
        raise EventRefused("its georss:where holds no gml that can be read")
    yield from found


def _shapes(element: Element, system: _System, depth: int) -> Iterator[BaseGeometry]:
    if depth > _MOST_NESTED:
        raise EventRefused(f"its gml is nested more than {_MOST_NESTED} times")
    system = system.of(element)
    kind = _kind(element)
    if kind == "Point":
        yield from (Point(corner) for corner in _corners(element, system))
    elif kind in {"LineString", "LineStringSegment"}:
        line = _corners(element, system)
        yield LineString(line) if len(line) > 1 else Point(line[0])
    elif kind in {"Polygon", "PolygonPatch"}:
        yield _polygon(element, system)
    elif kind == "Envelope":
        yield _envelope(element, system)
    elif kind == "CircleByCenterPoint":
        yield _circle(element, system)
    elif len(element) and kind is not None:
        for child in element:
            yield from _shapes(child, system, depth + 1)
    elif kind is not None and not _is_word(kind):
        raise EventRefused(f"its gml holds a {kind[:40]}, which is none that GeoRSS has")


def _is_word(kind: str) -> bool:
    """Names, descriptions and other properties begin in lower case; geometries do not."""
    return kind[:1].islower()


def _kind(element: Element) -> str | None:
    """Local name of what is GML."""
    tag = str(element.tag)
    return next((tag.removeprefix(space) for space in _SPACES if tag.startswith(space)), None)


def _child(element: Element, *names: str) -> Iterator[Element]:
    return (one for one in element if _kind(one) in names)


def _polygon(element: Element, system: _System) -> Polygon:
    shells = [ring for one in _child(element, "exterior", "outerBoundaryIs") for ring in _rings(one, system)]
    holes = [ring for one in _child(element, "interior", "innerBoundaryIs") for ring in _rings(one, system)]
    if len(shells) != 1:
        raise EventRefused(f"its gml polygon has {len(shells)} exteriors, not one")
    return Polygon(polygon_of(shells[0]).exterior, [polygon_of(ring).exterior for ring in holes])


def _rings(boundary: Element, system: _System) -> Iterator[Pairs]:
    for ring in _child(boundary, "LinearRing"):
        yield _corners(ring, system.of(boundary).of(ring))


def _envelope(element: Element, system: _System) -> BaseGeometry:
    corners = [
        corner
        for one in _child(element, "lowerCorner", "upperCorner", "pos")
        for corner in _read(one.text or "", system.of(one))
    ]
    if len(corners) != 2:
        raise EventRefused("its gml envelope has not a lower and an upper corner")
    return box_between(*corners)


def _circle(element: Element, system: _System) -> BaseGeometry:
    corners = _corners(element, system)
    radius = next(_child(element, "radius"), Element("none"))
    unit = _UNITS.get((radius.get("uom") or "m").lower())
    metres = number((radius.text or "").strip())
    if len(corners) != 1 or unit is None or metres is None:
        raise EventRefused("its gml circle has not one centre and a radius in m or km")
    return widened(Point(corners[0]), metres * unit)


def _corners(element: Element, system: _System) -> Pairs:
    """Positions of a shape, in whatever elements they are listed."""
    found: Pairs = []
    for one in element:
        kind, own = _kind(one), system.of(one)
        if kind in {"pos", "posList"}:
            found += _read(one.text or "", own)
        elif kind == "coordinates":
            found += _read(_plain_coordinates(one, own), own)
        elif kind in {"pointProperty", "pointRep", "Point"}:
            found += _corners(one, own)
    if not found:
        raise EventRefused(f"its gml {_kind(element)} has no positions")
    return found


def _plain_coordinates(element: Element, system: _System) -> str:
    """GML 2's list, whose order is longitude first with some and latitude first with others."""
    if system == _System(dimension=system.dimension):
        raise EventRefused("its gml:coordinates do not say which comes first, latitude or longitude")
    if element.get("decimal", ".") != ".":
        raise EventRefused("its gml:coordinates write numbers in a way that is not known")
    return (element.text or "").replace(element.get("cs", ","), " ").replace(element.get("ts", " "), " ")


def _read(said: str, system: _System) -> Pairs:
    values = numbers(said)
    dimension = system.dimension or (3 if len(values) == 3 else 2)
    if dimension not in {2, 3} or len(values) % dimension:
        raise EventRefused(f"{said.strip()[:60]!r} are no positions of {dimension} numbers each")
    firsts, seconds = values[::dimension], values[1::dimension]
    if _latitude_first(system.srs, firsts, seconds):
        return list(zip(seconds, firsts, strict=True))
    return list(zip(firsts, seconds, strict=True))


def _latitude_first(srs: str, firsts: list[float], seconds: list[float]) -> bool:
    if _LAT_LON.match(srs):
        return True
    if _LON_LAT.match(srs):
        return False
    if not _EITHER.match(srs):
        raise EventRefused(f"its gml is in {srs[:60]!r}, not in longitude and latitude of WGS 84 (EPSG:4326)")
    # only one of the two orders is possible where a number is no latitude
    if max(map(abs, firsts)) > 90:
        return False
    if max(map(abs, seconds)) > 90:
        return True
    raise EventRefused(
        f"{srs} does not say which comes first, latitude or longitude; CRS84 or urn:ogc:def:crs:EPSG::4326 would"
    )
