"""Places of RSS and Atom entries: GeoRSS in both of its encodings (OGC 17-002r1), and W3C's ``geo:lat``, ``geo:long``.

Every shape of an entry belongs to its place. Latitude comes first; where GML names another order (``srsName``), that
holds, and what can be read in either order is refused.
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
    """Where an entry is: every shape that it has.

    Raises
    ------
    EventRefused
        It has none, or one that cannot be read; the message names the encoding.
    """
    found = [*_georss(entry)] or [*_w3c(entry)]
    if not found:
        raise EventRefused("it has no place: no georss, no georss:where with gml, no geo:lat and geo:long")
    unique = {shapely.to_wkb(one): one for one in found}
    return track(unique.values())


def _georss(entry: Element) -> Iterator[BaseGeometry]:
    around = _metres(text_of(entry, "georss:radius"))
    for kind in _SIMPLE:
        for element in entry.iterfind(f".//georss:{kind}", NAMES):
            said = (element.text or "").strip()
            if said:
                own = _metres(element.get("radius", ""))
                yield _widened(_shape(kind, said), around if own is None else own)
    for where in entry.iterfind(".//georss:where", NAMES):
        own = _metres(where.get("radius", ""))
        for shape in shapes(where):
            yield _widened(shape, around if own is None else own)


def _shape(kind: str, said: str) -> BaseGeometry:
    if kind == "circle":
        return _circle(said)
    corners = pairs(said)
    if kind == "polygon":
        return polygon_of(corners)
    if kind == "box":
        if len(corners) != 2:
            raise EventRefused(f"its box {said[:60]!r} has not two corners")
        return box_between(*corners)
    if kind == "line" and len(corners) > 1:
        return LineString(corners)
    if len(corners) != 1:
        raise EventRefused(f"its point {said[:60]!r} is not one latitude and one longitude")
    return Point(corners[0])


def _circle(said: str) -> BaseGeometry:
    values = numbers(said)
    if len(values) != 3:
        raise EventRefused(f"its circle {said[:60]!r} is no latitude, longitude and radius in metres")
    return widened(Point(values[1], values[0]), values[2])


def _metres(said: str) -> float | None:
    """A radius, where one is said."""
    if not said:
        return None
    metres = number(said)
    if metres is None:
        raise EventRefused(f"its radius {said[:20]!r} m is none")
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
