"""What the readers of XML share: names, texts and lists of coordinates."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

from pyproj import Geod
from shapely.geometry import LineString, Point, Polygon
from shapely.geometry.base import BaseGeometry

from segwatch.geo.antimeridian import box_of, centre, split
from segwatch.geo.bounded import operations
from segwatch.geo.bounded.screen import MAX_VERTICES
from segwatch.geo.crs import local_equal_area, to_local, to_lonlat
from segwatch.geo.errors import EventRefused
from segwatch.geo.events.record import number, on_earth

NAMES = {
    "atom": "http://www.w3.org/2005/Atom",
    "cap": "urn:oasis:names:tc:emergency:cap:1.2",
    "dc": "http://purl.org/dc/elements/1.1/",
    "gdacs": "http://www.gdacs.org",
    "geo": "http://www.w3.org/2003/01/geo/wgs84_pos#",
    "georss": "http://www.georss.org/georss",
}
_GEOD = Geod(ellps="WGS84")
#: An event of a larger radius says nothing about where to look.
LARGEST_RADIUS_M = 5_000_000.0
Pairs = list[tuple[float, float]]
_NUMBER = re.compile(r"[^\s,]+")
#: Vertices may have a height.
_MAX_NUMBERS = 3 * MAX_VERTICES


def text_of(one: Element, path: str) -> str:
    """Text of the first element at a path; empty where there is none."""
    return (one.findtext(path, "", NAMES) or "").strip()


def texts_of(one: Element, path: str) -> list[str]:
    """Texts of every element at a path that has one."""
    said = ((found.text or "").strip() for found in one.findall(path, NAMES))
    return [text for text in said if text]


def numbers(said: str) -> list[float]:
    """Numbers with blanks, line breaks or commas between them.

    Raises
    ------
    EventRefused
        There are none, or something else is among them.
    """
    values: list[float] = []
    for one in _NUMBER.finditer(said):
        value = number(one[0])
        if value is None:
            values = []
            break
        values.append(value)
        if len(values) > _MAX_NUMBERS:
            raise EventRefused(f"its outline has more than {MAX_VERTICES} vertices")
    if not values:
        raise EventRefused(f"{said.strip()[:60]!r} are no pairs of latitude and longitude")
    return values


def pairs(said: str) -> Pairs:
    """Longitudes and latitudes from a list that has latitude first.

    Raises
    ------
    EventRefused
        They are no pairs.
    """
    values = numbers(said)
    if len(values) % 2:
        raise EventRefused(f"{said.strip()[:60]!r} are no pairs of latitude and longitude")
    return [(lon, lat) for lat, lon in zip(values[::2], values[1::2], strict=True)]


def polygon_of(corners: Pairs) -> Polygon:
    """A polygon without holes.

    Raises
    ------
    EventRefused
        It has too few corners.
    """
    if len(corners) < 4:
        raise EventRefused("its polygon has fewer than four corners, the last like the first")
    return Polygon(corners)


def box_between(lower: tuple[float, float], upper: tuple[float, float]) -> BaseGeometry:
    """A box from its south-western to its north-eastern corner, across 180 degrees where it begins east of its end.

    Raises
    ------
    EventRefused
        The corners are none, or the wrong way round.
    """
    (west, south), (east, north) = lower, upper
    diagonal = LineString([lower, upper])
    on_earth(diagonal)
    if west == east or south == north:
        return Point(lower) if lower == upper else diagonal
    if north < south:
        raise EventRefused(f"its box ends at latitude {north:g}, south of {south:g} where it begins")
    return box_of((west, south, east, north))


def widened(place: BaseGeometry, metres: float) -> BaseGeometry:
    """A place and the ground around it, split at the antimeridian.

    Raises
    ------
    EventRefused
        The radius or the place is none.
    """
    if not 0 <= metres <= LARGEST_RADIUS_M:
        raise EventRefused(f"its radius of {metres / 1000:g} km is none")
    whole = on_earth(place)
    if metres == 0:
        return whole
    if isinstance(whole, Point):
        return split(_disc(whole.x, whole.y, metres))
    crs = local_equal_area(centre(whole))
    try:
        return split(to_lonlat(operations.buffer(to_local(whole, crs), metres, quad_segs=18), crs))
    except ValueError as error:
        raise EventRefused(f"its place cannot be projected: {error}") from error


def _disc(lon: float, lat: float, radius_m: float) -> Polygon:
    bearings = list(range(0, 360, 5))
    count = len(bearings)
    lons, lats, _ = _GEOD.fwd([lon] * count, [lat] * count, bearings, [radius_m] * count)
    return Polygon(zip(lons, lats, strict=True))
