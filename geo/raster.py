"""Rasters as xarray DataArrays: dimensions band, y, x with coordinates, CRS and transform by the CF conventions.

The coordinates come from a :class:`odc.geo.geobox.GeoBox`. The CRS and the transform travel in the scalar coordinate
``spatial_ref``, where rioxarray, odc-geo's ``.odc`` accessor and GDAL find them. See ADR 0011.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

#: Layout of spectral bands as they are read.
BAND_YX = ("band", "y", "x")
#: Layout of masks and classes.
YX = ("y", "x")
#: Layout of rendered pictures, as models and image files take them.
YX_BAND = ("y", "x", "band")
RGB = ("red", "green", "blue")


def make_coordinates(grid: GeoBox) -> xr.Coordinates:
    """Make the coordinates of a grid: pixel centres along ``y`` and ``x``, and ``spatial_ref``.

    Rasters of one grid share the result, so that it is made once.

    Parameters
    ----------
    grid
        North-up, in a projected CRS.
    """
    half_x, half_y = grid.resolution.x / 2, grid.resolution.y / 2
    left, top = grid.transform.c, grid.transform.f
    height, width = grid.shape
    geotransform = " ".join(repr(float(value)) for value in grid.transform.to_gdal())
    attributes = _describe_crs(grid.crs) if grid.crs is not None else {}
    return xr.Coordinates(
        {
            "y": top + half_y + np.arange(height) * grid.resolution.y,
            "x": left + half_x + np.arange(width) * grid.resolution.x,
            "spatial_ref": xr.Variable((), 0, attributes | {"GeoTransform": geotransform}),
        }
    )


@lru_cache(maxsize=64)
def _describe_crs(crs: CRS) -> dict[str, Any]:
    """CF grid mapping of a CRS; takes about 10 ms, and every window of a scene needs the same."""
    wkt = crs.proj.to_wkt()
    return {**crs.proj.to_cf(), "crs_wkt": wkt, "spatial_ref": wkt}
