"""Geodesic area on the WGS 84 ellipsoid."""

from __future__ import annotations

from pyproj import Geod
from shapely.geometry.base import BaseGeometry

_GEOD = Geod(ellps="WGS84")


def geodesic_m2(geometry: BaseGeometry) -> float:
    """Area in m² of a polygonal EPSG:4326 geometry; holes are subtracted, orientation does not matter."""
    parts = getattr(geometry, "geoms", None)
    if parts is not None:
        return sum(geodesic_m2(part) for part in parts)
    if geometry.geom_type != "Polygon" or geometry.is_empty:
        return 0.0
    rings = [geometry.exterior, *geometry.interiors]
    areas = [abs(_GEOD.polygon_area_perimeter(*ring.coords.xy)[0]) for ring in rings]
    return float(areas[0] - sum(areas[1:]))
