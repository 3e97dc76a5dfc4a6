"""Split polygons at 180 degrees, as RFC 7946 asks."""

from __future__ import annotations

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, box
from shapely.geometry.base import BaseGeometry

_WEST = box(-540, -90, -180, 90)
_MIDDLE = box(-180, -90, 180, 90)
_EAST = box(180, -90, 540, 90)


def split(geometry: BaseGeometry) -> BaseGeometry:
    """Cut an EPSG:4326 polygon whose rings jump over 180 degrees into parts within -180..180.

    A step of more than 180 degrees between neighbouring vertices is read as a crossing. Geometries that
    do not cross come back unchanged.
    """
    if not _jumps(geometry):
        return geometry

    continuous = shapely.transform(geometry, _unwrap)
    if not continuous.is_valid:
        continuous = shapely.make_valid(continuous)
    parts = [
        *_polygons(continuous.intersection(_MIDDLE)),
        *_polygons(shapely.transform(continuous.intersection(_EAST), lambda c: c - [360, 0])),
        *_polygons(shapely.transform(continuous.intersection(_WEST), lambda c: c + [360, 0])),
    ]
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)


def _jumps(geometry: BaseGeometry) -> bool:
    west, _, east, _ = geometry.bounds if not geometry.is_empty else (0, 0, 0, 0)
    if east - west <= 180:
        return False
    for part in _polygons(geometry):
        for ring in (part.exterior, *part.interiors):
            longitudes = np.asarray(ring.coords)[:, 0]
            if np.any(np.abs(np.diff(longitudes)) > 180):
                return True
    return False


def _unwrap(coords: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> object:
    """Shift western longitudes east so that the rings become continuous."""
    coords[:, 0] = np.where(coords[:, 0] < 0, coords[:, 0] + 360, coords[:, 0])
    return coords


def _polygons(geometry: BaseGeometry) -> list[shapely.Polygon]:
    if geometry.is_empty:
        return []
    if geometry.geom_type == "Polygon":
        return [geometry]  # type: ignore[list-item]
    return [polygon for part in getattr(geometry, "geoms", ()) for polygon in _polygons(part)]
