"""Polygons of a geometry, and their geodesic area on the WGS 84 ellipsoid."""

from __future__ import annotations

from collections.abc import Iterator

from pyproj import Geod
from shapely.geometry import Polygon, box
from shapely.geometry.base import BaseGeometry

_GEOD = Geod(ellps="WGS84")
_STRIP_DEGREES = 90


def geodesic_m2(geometry: BaseGeometry) -> float:
    """Area in m² of a polygonal EPSG:4326 geometry; holes are subtracted, orientation does not matter."""
    return sum(_polygon_m2(strip) for part in polygonal_parts(geometry) for strip in _strips(part))


def _strips(polygon: Polygon) -> Iterator[Polygon]:
    """Parts that are narrow enough: the geodesic from -180 to 180 degrees has no length, and a ring no inside."""
    west, south, east, north = polygon.bounds
    if east - west <= 2 * _STRIP_DEGREES:
        yield polygon
        return
    for edge in range(-180, 180, _STRIP_DEGREES):
        strip = polygon.intersection(box(edge, south, edge + _STRIP_DEGREES, north))
        # edges of so wide a shape follow parallels, not great circles
        yield from (part.segmentize(1.0) for part in polygonal_parts(strip))


def _polygon_m2(polygon: Polygon) -> float:
    rings = [polygon.exterior, *polygon.interiors]
    areas = [abs(_GEOD.polygon_area_perimeter(*ring.coords.xy)[0]) for ring in rings]
    return float(areas[0] - sum(areas[1:]))


def polygonal_parts(geometry: BaseGeometry) -> list[Polygon]:
    """All polygons inside a geometry of any type, lines and points dropped."""
    if geometry.is_empty:
        return []
    if isinstance(geometry, Polygon):
        return [geometry]
    return [polygon for part in getattr(geometry, "geoms", ()) for polygon in polygonal_parts(part)]
