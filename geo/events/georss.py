"""Read the geometry of RSS and Atom entries: GeoRSS Simple and GML (OGC 17-002r1), and W3C's ``geo:lat``, ``geo:long``.

All geometries of an entry belong to its event. Latitude comes first unless GML's ``srsName`` says otherwise; ambiguous
axis order is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

import shapely
from shapely.geometry import LineString, Point
from shapely.geometry.base import BaseGeometry

from segwatch.geo.errors import InvalidEvent
from segwatch.geo.events.gml import read_gml
from segwatch.geo.events.record import combine_geometries, parse_number
from segwatch.geo.events.xml import (
    NAMESPACES,
    buffer_metres,
    get_text,
    get_texts,
    make_box,
    make_polygon,
    parse_numbers,
    parse_pairs,
)

_SIMPLE = ("polygon", "box", "line", "point", "circle")


def read_location(entry: Element) -> BaseGeometry:
    """Combine all geometries of an entry, in EPSG:4326.

    Raises
    ------
    InvalidEvent
        There is none, or one that cannot be read; the message names the encoding.
    """
    found = [*_georss(entry)] or [*_w3c(entry)]
    if not found:
        raise InvalidEvent("it has no location: no georss, no georss:where with gml, no geo:lat and geo:long")
    unique = {shapely.to_wkb(one): one for one in found}
    return combine_geometries(unique.values())


def _georss(entry: Element) -> Iterator[BaseGeometry]:
    around = _read_radius(get_text(entry, "georss:radius"))
    for kind in _SIMPLE:
        for element in entry.iterfind(f".//georss:{kind}", NAMESPACES):
            text = (element.text or "").strip()
            if text:
                own = _read_radius(element.get("radius", ""))
                yield _widened(_read_shape(kind, text), around if own is None else own)
    for where in entry.iterfind(".//georss:where", NAMESPACES):
        own = _read_radius(where.get("radius", ""))
        for shape in read_gml(where):
            yield _widened(shape, around if own is None else own)


def _read_shape(kind: str, text: str) -> BaseGeometry:
    if kind == "circle":
        return _read_circle(text)
    corners = parse_pairs(text)
    if kind == "polygon":
        return make_polygon(corners)
    if kind == "box":
        if len(corners) != 2:
            raise InvalidEvent(f"its box {text[:60]!r} does not have two corners")
        return make_box(*corners)
    if kind == "line" and len(corners) > 1:
        return LineString(corners)
    if len(corners) != 1:
        raise InvalidEvent(f"its point {text[:60]!r} is not one latitude and one longitude")
    return Point(corners[0])


def _read_circle(text: str) -> BaseGeometry:
    values = parse_numbers(text)
    if len(values) != 3:
        raise InvalidEvent(f"its circle {text[:60]!r} is not latitude, longitude and radius in metres")
    return buffer_metres(Point(values[1], values[0]), values[2])


def _read_radius(text: str) -> float | None:
    if not text:
        return None
    metres = parse_number(text)
    if metres is None:
        raise InvalidEvent(f"its radius {text[:20]!r} m is invalid")
    return metres


def _widened(shape: BaseGeometry, metres: float | None) -> BaseGeometry:
    return shape if metres is None else buffer_metres(shape, metres)


def _w3c(entry: Element) -> Iterator[BaseGeometry]:
    for holder in (entry, *entry.iterfind(".//geo:Point", NAMESPACES)):
        lats = get_texts(holder, "geo:lat")
        lons = get_texts(holder, "geo:long") or get_texts(holder, "geo:lon")
        if len(lats) != len(lons):
            raise InvalidEvent(f"it has {len(lats)} geo:lat and {len(lons)} geo:long")
        for lat, lon in zip(lats, lons, strict=True):
            (corner, *more) = parse_pairs(f"{lat} {lon}")
            if more:
                raise InvalidEvent(
                    f"its point {lat[:20]!r}, {lon[:20]!r} is not one latitude and one longitude"
                )
            yield Point(corner)
