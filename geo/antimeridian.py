"""Split polygons at 180 degrees, as RFC 7946 asks."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, box
from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import polygonal_parts

_WEST = box(-540, -90, -180, 90)
_MIDDLE = box(-180, -90, 180, 90)
_EAST = box(180, -90, 540, 90)
_TURN = np.array([360.0, 0.0])


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
        *polygonal_parts(continuous.intersection(_MIDDLE)),
        *polygonal_parts(shapely.transform(continuous.intersection(_EAST), lambda c: c - _TURN)),
        *polygonal_parts(shapely.transform(continuous.intersection(_WEST), lambda c: c + _TURN)),
    ]
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)


def _jumps(geometry: BaseGeometry) -> bool:
    west, _, east, _ = geometry.bounds if not geometry.is_empty else (0, 0, 0, 0)
    if east - west <= 180:
        return False
    for part in polygonal_parts(geometry):
        for ring in (part.exterior, *part.interiors):
            longitudes = np.asarray(ring.coords)[:, 0]
            if np.any(np.abs(np.diff(longitudes)) > 180):
                return True
    return False


def _unwrap(coords: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shift western longitudes east so that the rings become continuous."""
    coords[:, 0] = np.where(coords[:, 0] < 0, coords[:, 0] + 360, coords[:, 0])
    return coords
