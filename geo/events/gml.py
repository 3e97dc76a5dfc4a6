"""Read GML 3 inside ``georss:where``: the geometries of the GeoRSS profile, and collections of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from xml.etree.ElementTree import Element

from shapely.geometry import LineString, Point, Polygon
from shapely.geometry.base import BaseGeometry

from segwatch.geo.errors import InvalidEvent
from segwatch.geo.events.record import parse_number
from segwatch.geo.events.xml import Pairs, buffer_metres, make_box, make_polygon, parse_numbers

_NAMESPACES = ("{http://www.opengis.net/gml}", "{http://www.opengis.net/gml/3.2}")
#: Latitude first, as registered with EPSG; plain "EPSG:4326" is the default of GeoRSS.
_LAT_LON = re.compile(
    r"(?:urn:(?:x-)?ogc:def:crs:EPSG:[\d.]*:4326|https?://www\.opengis\.net/def/crs/EPSG/[\d.]+/4326|EPSG:4326)\Z",
    re.IGNORECASE,
)
_LON_LAT = re.compile(
    r"(?:urn:(?:x-)?ogc:def:crs:OGC:[\d.]*:(?:CRS)?84|https?://www\.opengis\.net/def/crs/OGC/[\d.]+/CRS84"
    r"|(?:OGC:|CRS:)?(?:CRS)?84)\Z",
    re.IGNORECASE,
)
#: Programs disagree on the axis order of this name.
_AMBIGUOUS = re.compile(r"https?://www\.opengis\.net/gml/srs/epsg\.xml#4326\Z", re.IGNORECASE)
_UNITS = {
    "m": 1.0,
    "metre": 1.0,
    "meter": 1.0,
    "metres": 1.0,
    "urn:ogc:def:uom:epsg::9001": 1.0,
    "km": 1000.0,
}
_MAX_DEPTH = 20


@dataclass(frozen=True, slots=True)
class _CoordinateSystem:
    """CRS and dimension of positions, inherited by nested elements."""

    srs: str = "EPSG:4326"
    dimension: int | None = None

    def of(self, element: Element) -> _CoordinateSystem:
        """Return the system inside an element, which may override it."""
        dimension = parse_number(element.get("srsDimension"))
        return replace(
            self,
            srs=element.get("srsName") or self.srs,
            dimension=self.dimension if dimension is None else int(dimension),
        )


def read_gml(holder: Element) -> Iterator[BaseGeometry]:
    """Yield every geometry inside an element, as longitude, latitude in degrees.

    Raises
    ------
    InvalidEvent
        There is none, or one of an unsupported type or CRS.
    """
    found = [shape for child in holder for shape in _shapes(child, _CoordinateSystem().of(holder), 0)]
    if not found:
        raise InvalidEvent("its georss:where has no readable gml")
    yield from found


def _shapes(element: Element, system: _CoordinateSystem, depth: int) -> Iterator[BaseGeometry]:
    if depth > _MAX_DEPTH:
        raise InvalidEvent(f"its gml is nested more than {_MAX_DEPTH} levels deep")
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
    elif kind is not None and not _is_property(kind):
        raise InvalidEvent(f"its gml has a {kind[:40]}, which GeoRSS does not support")


def _is_property(kind: str) -> bool:
    """Whether an element is a property: these begin in lower case, geometries in upper case."""
    return kind[:1].islower()


def _kind(element: Element) -> str | None:
    """Return the local name of a GML element; None for others."""
    tag = str(element.tag)
    return next((tag.removeprefix(space) for space in _NAMESPACES if tag.startswith(space)), None)


def _child(element: Element, *names: str) -> Iterator[Element]:
    return (one for one in element if _kind(one) in names)


def _polygon(element: Element, system: _CoordinateSystem) -> Polygon:
    shells = [ring for one in _child(element, "exterior", "outerBoundaryIs") for ring in _rings(one, system)]
    holes = [ring for one in _child(element, "interior", "innerBoundaryIs") for ring in _rings(one, system)]
    if len(shells) != 1:
        raise InvalidEvent(f"its gml polygon has {len(shells)} exteriors, not one")
    return Polygon(make_polygon(shells[0]).exterior, [make_polygon(ring).exterior for ring in holes])


def _rings(boundary: Element, system: _CoordinateSystem) -> Iterator[Pairs]:
    for ring in _child(boundary, "LinearRing"):
        yield _corners(ring, system.of(boundary).of(ring))


def _envelope(element: Element, system: _CoordinateSystem) -> BaseGeometry:
    corners = [
        corner
        for one in _child(element, "lowerCorner", "upperCorner", "pos")
        for corner in _read_positions(one.text or "", system.of(one))
    ]
    if len(corners) != 2:
        raise InvalidEvent("its gml envelope does not have a lower and an upper corner")
    return make_box(*corners)


def _circle(element: Element, system: _CoordinateSystem) -> BaseGeometry:
    corners = _corners(element, system)
    radius = next(_child(element, "radius"), Element("none"))
    unit = _UNITS.get((radius.get("uom") or "m").lower())
    metres = parse_number((radius.text or "").strip())
    if len(corners) != 1 or unit is None or metres is None:
        raise InvalidEvent("its gml circle does not have one centre and a radius in m or km")
    return buffer_metres(Point(corners[0]), metres * unit)


def _corners(element: Element, system: _CoordinateSystem) -> Pairs:
    """Collect the positions of a geometry from all elements that list them."""
    found: Pairs = []
    for one in element:
        kind, own = _kind(one), system.of(one)
        if kind in {"pos", "posList"}:
            found += _read_positions(one.text or "", own)
        elif kind == "coordinates":
            found += _read_positions(_plain_coordinates(one, own), own)
        elif kind in {"pointProperty", "pointRep", "Point"}:
            found += _corners(one, own)
    if not found:
        raise InvalidEvent(f"its gml {_kind(element)} has no positions")
    return found


def _plain_coordinates(element: Element, system: _CoordinateSystem) -> str:
    """Convert the ``coordinates`` of GML 2, whose default axis order is not agreed on."""
    if system == _CoordinateSystem(dimension=system.dimension):
        raise InvalidEvent("its gml:coordinates have no srsName, so their axis order is unknown")
    if element.get("decimal", ".") != ".":
        raise InvalidEvent("its gml:coordinates have an unsupported decimal separator")
    return (element.text or "").replace(element.get("cs", ","), " ").replace(element.get("ts", " "), " ")


def _read_positions(text: str, system: _CoordinateSystem) -> Pairs:
    values = parse_numbers(text)
    dimension = system.dimension or (3 if len(values) == 3 else 2)
    if dimension not in {2, 3} or len(values) % dimension:
        raise InvalidEvent(f"{text.strip()[:60]!r} are not positions of {dimension} numbers each")
    firsts, seconds = values[::dimension], values[1::dimension]
    if _latitude_first(system.srs, firsts, seconds):
        return list(zip(seconds, firsts, strict=True))
    return list(zip(firsts, seconds, strict=True))


def _latitude_first(srs: str, firsts: list[float], seconds: list[float]) -> bool:
    if _LAT_LON.match(srs):
        return True
    if _LON_LAT.match(srs):
        return False
    if not _AMBIGUOUS.match(srs):
        raise InvalidEvent(f"its gml is in {srs[:60]!r}, not in longitude and latitude of WGS 84 (EPSG:4326)")
    # a number above 90 is a longitude, which settles the order
    if max(map(abs, firsts)) > 90:
        return False
    if max(map(abs, seconds)) > 90:
        return True
    raise InvalidEvent(f"the axis order of {srs} is ambiguous; CRS84 and urn:ogc:def:crs:EPSG::4326 are not")
