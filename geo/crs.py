"""Coordinate reference systems: the UTM zone of an area, the equal-area CRS of a series, and projection.

All positions are longitude, latitude (or x, y), whatever the axis order of the CRS.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from shapely.geometry.base import BaseGeometry

from segwatch.geo.antimeridian import compute_centre

LONLAT = CRS.from_epsg(4326)
_UPS_NORTH, _UPS_SOUTH = 32661, 32761


def choose_utm(geometry: BaseGeometry) -> CRS:
    """Return the UTM zone of the geometry's centre; UPS beyond 84° N and 80° S."""
    longitude, latitude = compute_centre(geometry)
    if latitude > 84:
        return CRS.from_epsg(_UPS_NORTH)
    if latitude < -80:
        return CRS.from_epsg(_UPS_SOUTH)
    zone = min(60, int((longitude + 180) // 6) + 1)
    return CRS.from_epsg((32600 if latitude >= 0 else 32700) + zone)


def make_local_equal_area(origin: tuple[float, float]) -> CRS:
    """Make a Lambert azimuthal equal-area CRS (metres, WGS 84) centred on ``origin`` (longitude, latitude)."""
    longitude, latitude = origin
    return _laea(round(longitude, 6), round(latitude, 6))


@lru_cache(maxsize=256)
def _laea(longitude: float, latitude: float) -> CRS:
    return CRS.from_proj4(f"+proj=laea +lat_0={latitude} +lon_0={longitude} +datum=WGS84 +units=m +no_defs")


def get_transformer(source: CRS, target: CRS) -> Transformer:
    """Return the transformer of longitude, latitude or x, y; the same object for the same CRSs, as one takes 25 ms."""
    # the hash of a CRS writes it as WKT each time, which costs more than projecting a polygon
    return _make_transformer(source.srs, target.srs)


@lru_cache(maxsize=256)
def _make_transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


def to_crs(geometry: BaseGeometry, crs: CRS) -> BaseGeometry:
    """Project an EPSG:4326 geometry to ``crs``.

    Raises
    ------
    ValueError
        The geometry lies outside the area that the projection is defined for.
    """
    moved: BaseGeometry = _apply(geometry, get_transformer(LONLAT, crs))
    return moved


def to_crs_all(geometries: NDArray[Any], crs: CRS) -> NDArray[Any]:
    """Project (N,) EPSG:4326 geometries to ``crs``; see :func:`to_crs`."""
    moved: NDArray[Any] = _apply(geometries, get_transformer(LONLAT, crs))
    return moved


def to_lonlat(geometry: BaseGeometry, crs: CRS) -> BaseGeometry:
    """Project a geometry from ``crs`` to EPSG:4326, longitudes within -180..180, not yet split at the antimeridian."""
    moved: BaseGeometry = _apply(geometry, get_transformer(crs, LONLAT))
    return moved


def _apply(geometry: Any, transformer: Transformer) -> Any:
    """Transform one geometry or an array of them, all coordinates in one call."""

    def convert(coords: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = transformer.transform(coords[:, 0], coords[:, 1])
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise ValueError("geometry lies outside the area the projection is defined for")
        return np.column_stack([x, y])

    return shapely.transform(geometry, convert)
