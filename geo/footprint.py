"""The observed footprint: AOI ∩ valid data − clouds and shadows − failed tiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from segwatch.geo.crs import to_crs
from segwatch.geo.grid import compute_pixel_area, get_crs
from segwatch.geo.polygons import Region, Tracer, clean, georeference
from segwatch.geo.tiling import Tile


class AreaMask:
    """The pixels whose centres lie in an area, rasterized window by window.

    Parameters
    ----------
    area
        EPSG:4326.
    grid
        The whole grid that windows are taken from.
    """

    def __init__(self, area: BaseGeometry, grid: GeoBox) -> None:
        self._local = to_crs(area.segmentize(0.01), get_crs(grid))
        self._pixel_area = compute_pixel_area(grid)

    @property
    def pixels(self) -> float:
        """Approximate number of pixels in the area."""
        return float(self._local.area) / self._pixel_area

    def select(self, tiles: Sequence[Tile], grid: GeoBox) -> list[Tile]:
        """Select the tiles of a grid that meet the area."""
        corners = np.array(
            [(one.col, one.row, one.col + one.width, one.row + one.height) for one in tiles], float
        )
        transform, size = grid.transform, grid.resolution
        xs = transform.c + corners[:, [0, 2]] * size.x
        ys = transform.f + corners[:, [3, 1]] * size.y
        squares = shapely.box(xs[:, 0], ys[:, 0], xs[:, 1], ys[:, 1])
        shapely.prepare(self._local)
        meets = shapely.intersects(self._local, squares)
        return [tile for tile, is_met in zip(tiles, meets, strict=True) if is_met]

    def rasterize(self, window: GeoBox) -> NDArray[np.bool_]:
        """Make the (height, width) mask of a window of the grid."""
        burnt = rasterize(
            [(self._local, 1)], out_shape=tuple(window.shape), transform=window.transform, dtype="uint8"
        )
        return np.asarray(burnt, dtype=bool)


def trace_footprint(area: BaseGeometry, clear: NDArray[np.bool_], grid: GeoBox) -> BaseGeometry:
    """Trace the footprint of the clear pixels.

    Parameters
    ----------
    area
        EPSG:4326; the footprint is clipped to it.
    clear
        (height, width) pixels of the grid.

    Returns
    -------
    BaseGeometry
        EPSG:4326; an empty polygon when no pixel is clear.
    """
    tracer = Tracer(grid.width)
    return join_footprint(area, [*tracer.add(clear), *tracer.end()], grid)


def join_footprint(area: BaseGeometry, regions: Sequence[Region], grid: GeoBox) -> BaseGeometry:
    """Join regions of clear pixels to a footprint, as :func:`trace_footprint` returns it."""
    if not regions:
        return Polygon()
    outline = (
        shapely.union_all([region.outline for region in regions]) if len(regions) > 1 else regions[0].outline
    )
    return clean(shapely.intersection(georeference(outline, grid), area))
