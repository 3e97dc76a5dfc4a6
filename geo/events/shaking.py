"""Ground that an earthquake shook, from the contours of its USGS ShakeMap.

Source: the products of https://earthquake.usgs.gov ; ``cont_mmi.json`` is GeoJSON with lines of one intensity each, on
the scale of Mercalli, named by the property ``value``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import shapely
from shapely.geometry import LineString, MultiPolygon, Point
from shapely.geometry.base import BaseGeometry

from segwatch.geo.antimeridian import centre, in_degrees, split
from segwatch.geo.area import polygonal_parts
from segwatch.geo.bounded import operations, screen
from segwatch.geo.bounded.screen import MAX_VERTICES
from segwatch.geo.crs import local_equal_area, to_local, to_lonlat
from segwatch.geo.errors import EventRefused, TooComplex
from segwatch.geo.events.record import geojson, json_object, mapping, number
from segwatch.geo.types.event import Event

#: The older name holds the same.
_FILES = ("download/cont_mmi.json", "download/cont_mi.json")
_PRECISION_M = 0.001
#: The longest rupture ever recorded had 1 300 km; its map is around where it began.
_FARTHEST_M = 1_500_000.0


def contours_link(properties: Mapping[str, Any]) -> str:
    """Where a USGS event has its contours: their address, or that of the event's own document; empty = nowhere.

    Args:
        properties: of the event's Feature, of a feed or in detail.
    """
    products = properties.get("products")
    maps = products.get("shakemap") if isinstance(products, dict) else None
    for one in maps if isinstance(maps, list) else ():
        contents = one.get("contents") if isinstance(one, dict) else None
        for name in _FILES:
            file = contents.get(name) if isinstance(contents, dict) else None
            if isinstance(file, dict) and file.get("url"):
                return str(file["url"])
    # what was asked for in detail and has no map leads nowhere else
    return "" if isinstance(products, dict) else str(properties.get("detail") or "")


def link_in(document: bytes) -> str:
    """What :func:`contours_link` finds in an event's document; empty where the document is another one."""
    properties = json_object(document).get("properties")
    return contours_link(properties) if isinstance(properties, dict) else ""


def shaken(document: bytes, event: Event, *, least: float, largest_km2: float) -> tuple[float, BaseGeometry]:
    """The ground that shook most: from an intensity on, or from the next that is not larger than asked for.

    Args:
        document: contours, as received.
        event: whose they are; they must be around its place.
        least: intensity of modified Mercalli. Between two contours the lower one is taken, so that no ground is missed.
        largest_km2: of the ground.

    Returns
    -------
    The intensity, and Polygon or MultiPolygon, EPSG:4326, split at the antimeridian.

    Raises
    ------
    EventRefused
        The document holds no contours, they reach less, or they enclose no ground of that size near the event.
    """
    crs = local_equal_area(centre(event.geometry))
    contours = _contours(document)
    if max(contours) < least:
        raise EventRefused(f"its contours end at an intensity of {max(contours):g}, below {least:g}")
    lowest = max((one for one in contours if one <= least), default=min(contours))
    for intensity in sorted(one for one in contours if one >= lowest):
        try:
            ground = _enclosed([to_local(line, crs) for line in contours[intensity]])
        except (ValueError, shapely.errors.GEOSException, TooComplex) as error:
            raise EventRefused(f"its contours enclose no ground: {error}") from error
        if ground.is_empty or ground.area / 1e6 > largest_km2:
            continue
        if ground.distance(Point(0, 0)) > _FARTHEST_M:
            raise EventRefused("its contours are far from where it happened")
        return intensity, split(to_lonlat(ground, crs))
    raise EventRefused(f"its contours from {lowest:g} on enclose no ground, or more than {largest_km2:g} km2")


def _contours(document: bytes) -> dict[float, list[BaseGeometry]]:
    """Lines by intensity."""
    features = json_object(document).get("features")
    contours: dict[float, list[BaseGeometry]] = defaultdict(list)
    vertices = 0
    for feature in features if isinstance(features, list) else ():
        one = mapping(feature, "a contour")
        value = number(mapping(one.get("properties"), "a contour's properties").get("value"))
        line = geojson(one.get("geometry"))
        if value is None or line.geom_type not in {"LineString", "MultiLineString"}:
            raise EventRefused(f"a contour is a {line.geom_type} of {value}, not a line with a value")
        points = shapely.get_coordinates(line)
        if not np.isfinite(points).all() or not in_degrees(line, max_longitude=540.0):
            raise EventRefused("a contour has a coordinate that is none")
        vertices += len(points)
        if vertices > MAX_VERTICES:
            raise EventRefused(f"its contours have more than {MAX_VERTICES} vertices")
        contours[value].append(line)
    if not contours:
        raise EventRefused("the document holds no contours")
    return contours


def _enclosed(lines: list[BaseGeometry]) -> BaseGeometry:
    """What the lines enclose, rings within rings left out; lines that leave the map are closed straight."""
    screen.check_crossings(*lines)
    # where they were cut at 180 degrees, their ends are one point but for what the projection rounds
    merged = shapely.line_merge(operations.union_all(list(shapely.set_precision(lines, _PRECISION_M))))
    closed = []
    for line in shapely.get_parts(merged):
        points = shapely.get_coordinates(line)
        if len(points) > 2:
            closed.append(LineString([*points, points[0]]))
    area = shapely.build_area(operations.union_all(closed)) if closed else MultiPolygon()
    parts = polygonal_parts(operations.make_valid(area))
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)
