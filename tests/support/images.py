"""Small GeoTIFFs, and the grid of their pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from segwatch.geo.grid import get_crs

GRID = GeoBox((40, 40), Affine(10, 0, 500_000, 0, -10, 5_100_000), "EPSG:32633")


def image(*values: float, dtype: str = "uint8") -> bytes:
    """A GeoTIFF with a constant band of each value, on the pixels of ``GRID``."""
    shape = GRID.height, GRID.width
    return tiff(np.stack([np.full(shape, value, dtype) for value in values]))


def textured(*values: int) -> bytes:
    """As :func:`image`, each value up to 3 larger from pixel to pixel: what one colour covers is never answered."""
    noise = np.random.default_rng(7).integers(0, 4, (GRID.height, GRID.width))
    return tiff(np.stack([noise + value for value in values]).astype("uint8"))


def tiff(bands: NDArray[Any], **more: Any) -> bytes:
    """A GeoTIFF of (bands, height, width), from the corner of ``GRID`` on; ``more`` are options of GDAL."""
    count, height, width = bands.shape
    made: dict[str, Any] = {"driver": "GTiff", "crs": get_crs(GRID).to_wkt(), "transform": GRID.transform}
    made |= {"count": count, "height": height, "width": width, "dtype": bands.dtype}
    with rasterio.MemoryFile() as memory:
        with memory.open(**(made | more)) as file:
            file.write(bands)
        content: bytes = memory.read()
        return content
