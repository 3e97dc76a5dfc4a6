"""The observed footprint: area of interest ∩ valid data - cloud and shadow - failed tiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from segwatch.geo.crs import to_local
from segwatch.geo.grid import PixelGrid
from segwatch.geo.polygons import Region, Tracer, as_lonlat, clean


class Inside:
    """Which pixels' centres lie in an EPSG:4326 area."""

    def __init__(self, area: BaseGeometry, grid: PixelGrid) -> None:
        self._local = to_local(area.segmentize(0.01), grid.crs)
        self._grid = grid

    @property
    def pixels(self) -> float:
        """About how many they are."""
        return float(self._local.area) / self._grid.pixel_area

    def rows(self, start: int, stop: int, left: int = 0, right: int | None = None) -> NDArray[np.bool_]:
        """(stop - start, right - left), of all columns unless told."""
        right = self._grid.width if right is None else right
        window = self._grid.window(start, left, stop - start, right - left)
        shape = (window.height, window.width)
        burnt = rasterize([(self._local, 1)], out_shape=shape, transform=window.transform, dtype="uint8")
        return np.asarray(burnt, dtype=bool)


def inside(area: BaseGeometry, grid: PixelGrid) -> NDArray[np.bool_]:
    """(H, W) True where a pixel's centre lies in the EPSG:4326 area."""
    return Inside(area, grid).rows(0, grid.height)


def observed(area: BaseGeometry, seen: NDArray[np.bool_], grid: PixelGrid) -> BaseGeometry:
    """Footprint in EPSG:4326 of the seen (H, W) pixels, clipped to the area; empty polygon when nothing is seen."""
    tracer = Tracer(grid.width)
    return footprint(area, [*tracer.add(seen), *tracer.end()], grid)


def footprint(area: BaseGeometry, regions: Sequence[Region], grid: PixelGrid) -> BaseGeometry:
    """Footprint of the regions of seen pixels, see :func:`observed`."""
    if not regions:
        return Polygon()
    outline = (
        shapely.union_all([region.outline for region in regions]) if len(regions) > 1 else regions[0].outline
    )
    return clean(shapely.intersection(as_lonlat(outline, grid), area))
