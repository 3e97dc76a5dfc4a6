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

from segwatch.geo.errors import EventRefused
from segwatch.geo.events.gml import shapes
from segwatch.geo.events.record import number, track
from segwatch.geo.events.xml import NAMES, box_between, numbers, pairs, polygon_of, text_of, texts_of, widened

_SIMPLE = ("polygon", "box", "line", "point", "circle")


def place(entry: Element) -> BaseGeometry:
    """Combine all geometries of an entry, in EPSG:4326.

    Raises
    ------
    EventRefused
        There is none, or one that cannot be read; the message names the encoding.
    """
    found = [*_georss(entry)] or [*_w3c(entry)]
    if not found:
        raise EventRefused("it has no location: no georss, no georss:where with gml, no geo:lat and geo:long")
    unique = {shapely.to_wkb(one): one for one in found}
    return track(unique.values())


def _georss(entry: Element) -> Iterator[BaseGeometry]:
    around = _read_radius(text_of(entry, "georss:radius"))
    for kind in _SIMPLE:
        for element in entry.iterfind(f".//georss:{kind}", NAMES):
            text = (element.text or "").strip()
            if text:
                own = _read_radius(element.get("radius", ""))
                yield _widened(_read_shape(kind, text), around if own is None else own)
    for where in entry.iterfind(".//georss:where", NAMES):
        own = _read_radius(where.get("radius", ""))
        for shape in shapes(where):
            yield _widened(shape, around if own is None else own)


def _read_shape(kind: str, text: str) -> BaseGeometry:
    if kind == "circle":
        return _read_circle(text)
    corners = pairs(text)
    if kind == "polygon":
        return polygon_of(corners)
    if kind == "box":
        if len(corners) != 2:
            raise EventRefused(f"its box {text[:60]!r} does not have two corners")
        return box_between(*corners)
    if kind == "line" and len(corners) > 1:
        return LineString(corners)
    if len(corners) != 1:
        raise EventRefused(f"its point {text[:60]!r} is not one latitude and one longitude")
    return Point(corners[0])


def _read_circle(text: str) -> BaseGeometry:
    values = numbers(text)
    if len(values) != 3:
        raise EventRefused(f"its circle {text[:60]!r} is not latitude, longitude and radius in metres")
    return widened(Point(values[1], values[0]), values[2])


def _read_radius(text: str) -> float | None:
    if not text:
        return None
    metres = number(text)
    if metres is None:
        raise EventRefused(f"its radius {text[:20]!r} m is invalid")
    return metres


def _widened(shape: BaseGeometry, metres: float | None) -> BaseGeometry:
    return shape if metres is None else widened(shape, metres)


def _w3c(entry: Element) -> Iterator[BaseGeometry]:
    for holder in (entry, *entry.iterfind(".//geo:Point", NAMES)):
        lats = texts_of(holder, "geo:lat")
        lons = texts_of(holder, "geo:long") or texts_of(holder, "geo:lon")
        if len(lats) != len(lons):
            raise EventRefused(f"it has {len(lats)} geo:lat and {len(lons)} geo:long")
        for lat, lon in zip(lats, lons, strict=True):
            (corner, *more) = pairs(f"{lat} {lon}")
            if more:
                raise EventRefused(
                    f"its point {lat[:20]!r}, {lon[:20]!r} is not one latitude and one longitude"
                )
            yield Point(corner)
