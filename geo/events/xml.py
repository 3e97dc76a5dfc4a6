"""Helpers of the XML readers: namespaces, element text, coordinate lists, simple geometries."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

from pyproj import Geod
from shapely.geometry import LineString, Point, Polygon
from shapely.geometry.base import BaseGeometry

from segwatch.geo.antimeridian import compute_centre, split_at_antimeridian, to_box
from segwatch.geo.bounded import operations
from segwatch.geo.bounded.screen import MAX_VERTICES
from segwatch.geo.crs import make_local_equal_area, to_crs, to_lonlat
from segwatch.geo.errors import InvalidEvent
from segwatch.geo.events.record import normalize_location, parse_number

NAMESPACES = {
    "atom": "http://www.w3.org/2005/Atom",
    "cap": "urn:oasis:names:tc:emergency:cap:1.2",
    "dc": "http://purl.org/dc/elements/1.1/",
    "gdacs": "http://www.gdacs.org",
    "geo": "http://www.w3.org/2003/01/geo/wgs84_pos#",
    "georss": "http://www.georss.org/georss",
}
_GEOD = Geod(ellps="WGS84")
#: A larger radius does not say where to look.
MAX_RADIUS_M = 5_000_000.0
Pairs = list[tuple[float, float]]
_NUMBER = re.compile(r"[^\s,]+")
#: Up to three numbers per vertex.
_MAX_NUMBERS = 3 * MAX_VERTICES


def get_text(one: Element, path: str) -> str:
    """Return the text of the first element at a path; empty if there is none."""
    return (one.findtext(path, "", NAMESPACES) or "").strip()


def get_texts(one: Element, path: str) -> list[str]:
    """List the non-empty texts of the elements at a path."""
    texts = ((found.text or "").strip() for found in one.findall(path, NAMESPACES))
    return [text for text in texts if text]


def parse_numbers(text: str) -> list[float]:
    """Parse numbers separated by blanks, line breaks or commas.

    Raises
    ------
    InvalidEvent
        The text is empty or has anything else in it.
    """
    values: list[float] = []
    for one in _NUMBER.finditer(text):
        value = parse_number(one[0])
        if value is None:
            values = []
            break
        values.append(value)
        if len(values) > _MAX_NUMBERS:
            raise InvalidEvent(f"its geometry has more than {MAX_VERTICES} vertices")
    if not values:
        raise InvalidEvent(f"{text.strip()[:60]!r} are not pairs of latitude and longitude")
    return values


def parse_pairs(text: str) -> Pairs:
    """Parse a list of latitude, longitude into pairs of longitude, latitude.

    Raises
    ------
    InvalidEvent
        The text is not such a list.
    """
    values = parse_numbers(text)
    if len(values) % 2:
        raise InvalidEvent(f"{text.strip()[:60]!r} are not pairs of latitude and longitude")
    return [(lon, lat) for lat, lon in zip(values[::2], values[1::2], strict=True)]


def make_polygon(corners: Pairs) -> Polygon:
    """Make a polygon without holes.

    Raises
    ------
    InvalidEvent
        There are too few corners.
    """
    if len(corners) < 4:
        raise InvalidEvent("its polygon has fewer than four positions, the last equal to the first")
    return Polygon(corners)


def make_box(lower: tuple[float, float], upper: tuple[float, float]) -> BaseGeometry:
    """Make a box from its south-western and north-eastern corner; it crosses 180 degrees if west > east.

    Raises
    ------
    InvalidEvent
        The corners are invalid or in the wrong order.
    """
    (west, south), (east, north) = lower, upper
    diagonal = LineString([lower, upper])
    normalize_location(diagonal)
    if west == east or south == north:
        return Point(lower) if lower == upper else diagonal
    if north < south:
        raise InvalidEvent(f"the northern edge {north:g} of its box is south of the southern edge {south:g}")
    return to_box((west, south, east, north))


def buffer_metres(place: BaseGeometry, metres: float) -> BaseGeometry:
    """Buffer a geometry in EPSG:4326 by metres and split it at the antimeridian.

    Raises
    ------
    InvalidEvent
        The radius or the geometry is invalid.
    """
    if not 0 <= metres <= MAX_RADIUS_M:
        raise InvalidEvent(f"its radius of {metres / 1000:g} km is invalid")
    whole = normalize_location(place)
    if metres == 0:
        return whole
    if isinstance(whole, Point):
        return split_at_antimeridian(_disc(whole.x, whole.y, metres))
    crs = make_local_equal_area(compute_centre(whole))
    try:
        return split_at_antimeridian(
            to_lonlat(operations.buffer(to_crs(whole, crs), metres, quad_segs=18), crs)
        )
    except ValueError as error:
        raise InvalidEvent(f"its location cannot be projected: {error}") from error


def _disc(lon: float, lat: float, radius_m: float) -> Polygon:
    bearings = list(range(0, 360, 5))
    count = len(bearings)
    lons, lats, _ = _GEOD.fwd([lon] * count, [lat] * count, bearings, [radius_m] * count)
    return Polygon(zip(lons, lats, strict=True))
