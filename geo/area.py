"""Polygons of a geometry, and their geodesic area on the WGS 84 ellipsoid."""

from __future__ import annotations

from pyproj import Geod
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

_GEOD = Geod(ellps="WGS84")


def geodesic_m2(geometry: BaseGeometry) -> float:
    """Area in m² of a polygonal EPSG:4326 geometry; holes are subtracted, orientation does not matter."""
    return sum(_polygon_m2(part) for part in polygonal_parts(geometry))


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
