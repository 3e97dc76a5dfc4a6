"""The observed footprint: area of interest ∩ valid data - cloud and shadow - failed tiles."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize, shapes
from shapely.geometry import Polygon, shape
from shapely.geometry.base import BaseGeometry

from segwatch.geo.crs import to_local
from segwatch.geo.grid import PixelGrid
from segwatch.geo.polygons import as_lonlat, clean


def inside(area: BaseGeometry, grid: PixelGrid) -> NDArray[np.bool_]:
    """(H, W) True where a pixel's centre lies in the EPSG:4326 area."""
    local = to_local(area.segmentize(0.01), grid.crs)
    burnt = rasterize(
        [(local, 1)], out_shape=(grid.height, grid.width), transform=grid.transform, dtype="uint8"
    )
    return np.asarray(burnt, dtype=bool)


def observed(area: BaseGeometry, seen: NDArray[np.bool_], grid: PixelGrid) -> BaseGeometry:
    """Footprint in EPSG:4326 of the seen pixels, clipped to the area; empty polygon when nothing is seen."""
    if not seen.any():
        return Polygon()
    burnt = seen.astype(np.uint8)
    parts = [
        shape(outline) for outline, _ in shapes(burnt, mask=seen, connectivity=4, transform=grid.transform)
    ]
    return clean(shapely.intersection(as_lonlat(parts, grid), area))
