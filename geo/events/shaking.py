"""Compute the area that an earthquake shook from the contours of its USGS ShakeMap.

``cont_mmi.json``, a product of https://earthquake.usgs.gov, is GeoJSON with one line or multiline per modified Mercalli
intensity, which is the property ``value``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import shapely
from shapely.geometry import LineString, MultiPolygon, Point
from shapely.geometry.base import BaseGeometry

from segwatch.geo.antimeridian import compute_centre, is_in_degrees, split_at_antimeridian
from segwatch.geo.area import extract_polygons
from segwatch.geo.bounded import operations, screen
from segwatch.geo.bounded.screen import MAX_VERTICES
from segwatch.geo.crs import make_local_equal_area, to_crs, to_lonlat
from segwatch.geo.errors import InvalidEvent, TooComplex
from segwatch.geo.events.record import parse_geometry, parse_json_object, parse_number, require_object
from segwatch.geo.types.event import Event

#: Current and older name of the same file.
_FILES = ("download/cont_mmi.json", "download/cont_mi.json")
_PRECISION_M = 0.001
#: The longest recorded rupture was 1,300 km; contours farther from the epicentre belong to another event.
_MAX_DISTANCE_M = 1_500_000.0


def find_contours_link(properties: Mapping[str, Any]) -> str:
    """Return the URL of a USGS event's contours, or of its detail document; empty if neither is known.

    Parameters
    ----------
    properties
        Properties of the event's Feature, from a feed or from its detail document.
    """
    products = properties.get("products")
    maps = products.get("shakemap") if isinstance(products, dict) else None
    for one in maps if isinstance(maps, list) else ():
        contents = one.get("contents") if isinstance(one, dict) else None
        for name in _FILES:
            file = contents.get(name) if isinstance(contents, dict) else None
            if isinstance(file, dict) and file.get("url"):
                return str(file["url"])
    # a detail document without contours links to nothing further
    return "" if isinstance(products, dict) else str(properties.get("detail") or "")


def find_link_in(document: bytes) -> str:
    """Apply :func:`find_contours_link` to a detail document; empty for any other document."""
    properties = parse_json_object(document).get("properties")
    return find_contours_link(properties) if isinstance(properties, dict) else ""


def compute_shaken_area(
    document: bytes, event: Event, *, least: float, largest_km2: float
) -> tuple[float, BaseGeometry]:
    """Compute the area inside the contour of an intensity, or of the next higher one whose area is small enough.

    Parameters
    ----------
    document
        The contours, as received.
    event
        The earthquake that they belong to.
    least
        Modified Mercalli intensity. Between two contours the lower one is used, so that nothing is missed.
    largest_km2
        Maximum area.

    Returns
    -------
    float
        Intensity of the contour used.
    BaseGeometry
        Polygon or MultiPolygon, EPSG:4326, split at the antimeridian.

    Raises
    ------
    InvalidEvent
        The document has no contours, none of this intensity, or none with a suitable area near the event.
    """
    crs = make_local_equal_area(compute_centre(event.geometry))
    contours = _contours(document)
    if max(contours) < least:
        raise InvalidEvent(f"its contours end at an intensity of {max(contours):g}, below {least:g}")
    lowest = max((one for one in contours if one <= least), default=min(contours))
    for intensity in sorted(one for one in contours if one >= lowest):
        try:
            area = _enclosed([to_crs(line, crs) for line in contours[intensity]])
        except (ValueError, shapely.errors.GEOSException, TooComplex) as error:
            raise InvalidEvent(f"its contours enclose no area: {error}") from error
        if area.is_empty or area.area / 1e6 > largest_km2:
            continue
        if area.distance(Point(0, 0)) > _MAX_DISTANCE_M:
            raise InvalidEvent("its contours are far from its epicentre")
        return intensity, split_at_antimeridian(to_lonlat(area, crs))
    raise InvalidEvent(f"its contours from {lowest:g} on enclose no area, or more than {largest_km2:g} km2")


def _contours(document: bytes) -> dict[float, list[BaseGeometry]]:
    """Parse the contours: lines by intensity."""
    features = parse_json_object(document).get("features")
    contours: dict[float, list[BaseGeometry]] = defaultdict(list)
    vertices = 0
    for feature in features if isinstance(features, list) else ():
        one = require_object(feature, "a contour")
        value = parse_number(require_object(one.get("properties"), "a contour's properties").get("value"))
        line = parse_geometry(one.get("geometry"))
        if value is None or line.geom_type not in {"LineString", "MultiLineString"}:
            raise InvalidEvent(f"a contour is a {line.geom_type} of {value}, not a line with a value")
        points = shapely.get_coordinates(line)
        if not np.isfinite(points).all() or not is_in_degrees(line, max_longitude=540.0):
            raise InvalidEvent("a contour has an invalid coordinate")
        vertices += len(points)
        if vertices > MAX_VERTICES:
            raise InvalidEvent(f"its contours have more than {MAX_VERTICES} vertices")
        contours[value].append(line)
    if not contours:
        raise InvalidEvent("the document has no contours")
    return contours


def _enclosed(lines: list[BaseGeometry]) -> BaseGeometry:
    """Compute what lines enclose, without rings inside rings; lines that end at the map's edge are closed straight."""
    screen.check_crossings(*lines)
    # snapping joins lines that were cut at 180 degrees, whose ends differ by rounding of the projection
    merged = shapely.line_merge(operations.union_all(list(shapely.set_precision(lines, _PRECISION_M))))
    closed = []
    for line in shapely.get_parts(merged):
        points = shapely.get_coordinates(line)
        if len(points) > 2:
            closed.append(LineString([*points, points[0]]))
    area = shapely.build_area(operations.union_all(closed)) if closed else MultiPolygon()
    parts = extract_polygons(operations.make_valid(area))
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)
