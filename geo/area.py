"""Polygons of a geometry and their geodesic area (WGS 84 ellipsoid)."""

from __future__ import annotations

from collections.abc import Iterator

from pyproj import Geod
from shapely.geometry import Polygon, box
from shapely.geometry.base import BaseGeometry

_GEOD = Geod(ellps="WGS84")
_SLICE_DEG = 90


def compute_area_m2(geometry: BaseGeometry) -> float:
    """Compute the geodesic area of a polygonal EPSG:4326 geometry, m²; holes are subtracted, orientation is ignored."""
    return sum(_polygon_m2(piece) for part in extract_polygons(geometry) for piece in _cut_into_slices(part))


def _cut_into_slices(polygon: Polygon) -> Iterator[Polygon]:
    """Cut a polygon at meridians: the geodesic from -180 to 180 degrees has no length, so a wide ring has no inside."""
    west, south, east, north = polygon.bounds
    if east - west <= 2 * _SLICE_DEG:
        yield polygon
        return
    for edge in range(-180, 180, _SLICE_DEG):
        slice_ = polygon.intersection(box(edge, south, edge + _SLICE_DEG, north))
        # edges of such wide polygons follow parallels, not great circles
        yield from (part.segmentize(1.0) for part in extract_polygons(slice_))


def _polygon_m2(polygon: Polygon) -> float:
    rings = [polygon.exterior, *polygon.interiors]
    areas = [abs(_GEOD.polygon_area_perimeter(*ring.coords.xy)[0]) for ring in rings]
    return float(areas[0] - sum(areas[1:]))


def extract_polygons(geometry: BaseGeometry) -> list[Polygon]:
    """Extract all polygons from a geometry of any type, dropping lines and points."""
    if geometry.is_empty:
        return []
    if isinstance(geometry, Polygon):
        return [geometry]
    return [polygon for part in getattr(geometry, "geoms", ()) for polygon in extract_polygons(part)]
