"""Small GeoTIFFs of constant bands, and the grid of their pixels."""

from __future__ import annotations

import numpy as np
import rasterio
from affine import Affine
from pyproj import CRS

from segwatch.geo.grid import PixelGrid

GRID = PixelGrid(CRS.from_epsg(32633), Affine(10, 0, 500_000, 0, -10, 5_100_000), 40, 40)


def image(*values: float, dtype: str = "uint8") -> bytes:
    """A GeoTIFF with a constant band of each value, on the pixels of ``GRID``."""
    size = {"width": GRID.width, "height": GRID.height, "count": len(values), "dtype": dtype}
    place = {"crs": GRID.crs.to_wkt(), "transform": GRID.transform}
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", **size, **place) as file:
            for index, value in enumerate(values, 1):
                file.write(np.full((GRID.height, GRID.width), value, dtype), index)
        content: bytes = memory.read()
        return content
