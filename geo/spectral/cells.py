"""Means of spectral indices over square cells of an observation, and look-ups of a place in them.

An observation keeps its cells, so that what happened at a place can be compared with the observation before, which
may have found no object there. Cells lie on multiples of their size in the grid's CRS, so two observations of one
area share them.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from segwatch.geo.crs import to_crs
from segwatch.geo.spectral.indices import BY_NAME, NO_VALUE, SpectralIndex
from segwatch.geo.types.evidence import IndexCells

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

#: Cells of an observation; with four indices, at most 2 MB before compression. Larger areas get larger cells.
MAX_CELLS = 262_144
#: Share of a cell that must be clear.
_MIN_CLEAR = 0.5


class CellAverager:
    """Averages indices over cells, window by window; memory is bounded by :data:`MAX_CELLS`.

    Parameters
    ----------
    grid
        Pixels that are averaged; the edges are on multiples of the resolution.
    """

    def __init__(self, grid: GeoBox, indices: Sequence[SpectralIndex]) -> None:
        self._grid = grid
        self._indices = tuple(indices)
        self._side = _choose_side(grid)
        pixel = grid.resolution.x
        left, top = (round(value / pixel) for value in (grid.transform.c, -grid.transform.f))
        self._left, self._top = left % self._side, top % self._side
        self._shape = (
            -(-(self._top + grid.height) // self._side),
            -(-(self._left + grid.width) // self._side),
        )
        self._sums = np.zeros((len(self._indices), *self._shape), np.float64)
        self._counts = np.zeros((len(self._indices), *self._shape), np.int32)

    def add(self, row: int, col: int, values: NDArray[np.int16]) -> None:
        """Add a window of ``compute_indices`` (:mod:`segwatch.geo.spectral.indices`) with this upper left pixel.

        The window may reach beyond the grid; what lies outside is left out.
        """
        values = values[:, max(0, -row) : max(0, self._grid.height - row)]
        values = values[:, :, max(0, -col) : max(0, self._grid.width - col)]
        if not values.size:
            return
        row, col = max(0, row), max(0, col)
        rows, of_row = self._group(row + self._top, values.shape[1])
        cols, of_col = self._group(col + self._left, values.shape[2])
        known = values != NO_VALUE
        for at in range(len(self._indices)):
            weighed = np.where(known[at], values[at], 0).astype(np.float64)
            for target, source in ((self._sums, weighed), (self._counts, known[at].astype(np.int32))):
                reduced = np.add.reduceat(np.add.reduceat(source, of_row, axis=0), of_col, axis=1)
                target[at, rows, cols] += reduced

    def _group(self, first: int, length: int) -> tuple[slice, NDArray[np.intp]]:
        """Cells that ``length`` pixels from ``first`` on meet, and where each begins."""
        start, stop = first // self._side, -(-(first + length) // self._side)
        begins = np.maximum(np.arange(start, stop) * self._side - first, 0)
        return slice(start, stop), begins

    def result(self) -> IndexCells:
        """Return the means."""
        pixel = self._grid.resolution.x
        enough = self._counts >= _MIN_CLEAR * self._side**2
        means = np.rint(np.divide(self._sums, self._counts, out=np.zeros_like(self._sums), where=enough))
        stored = np.where(enough, means, NO_VALUE).astype("<i2")
        return IndexCells(
            crs=str(self._grid.crs),
            cell_m=float(self._side * pixel),
            west=float(self._grid.transform.c - self._left * pixel),
            north=float(self._grid.transform.f + self._top * pixel),
            width=self._shape[1],
            height=self._shape[0],
            names=tuple(one.name for one in self._indices),
            values=zlib.compress(stored.tobytes(), 6),
        )


def _choose_side(grid: GeoBox) -> int:
    """Side of a cell in pixels: the smallest power of two with at most :data:`MAX_CELLS` cells."""
    side = 1
    while (math.ceil(grid.height / side) + 1) * (math.ceil(grid.width / side) + 1) > MAX_CELLS:
        side *= 2
    return side


def compare_places(
    place: BaseGeometry, before: IndexCells | None, after: IndexCells | None
) -> tuple[dict[str, float], dict[str, float]]:
    """Average each index over a place in two observations, over the cells that both have.

    Parameters
    ----------
    place
        EPSG:4326. Cells whose centre lies in it count; if there is none, those that it touches.
    before, after
        None = the observation has no cells; then the other is averaged over the cells that it has.

    Returns
    -------
    tuple
        Index -> mean, before and after. An index without a common cell is left out.
    """
    if before is not None and after is not None and not _share_cells(before, after):
        before = None
    frame = after or before
    if frame is None:
        return {}, {}
    inside, window = _find_cells(place, frame)
    parts = [{} if one is None else _select_cells(one, inside, window) for one in (before, after)]
    means: list[dict[str, float]] = [{}, {}]
    for name in frame.names:
        given = [part.get(name) for part in parts]
        known = np.logical_and.reduce([one != NO_VALUE for one in given if one is not None])
        if not np.any(known):
            continue
        for found, part in zip(means, given, strict=True):
            if part is not None:
                found[name] = round(float(part[known].mean()) / BY_NAME[name].steps_per_unit, 4)
    return means[0], means[1]


def _select_cells(
    cells: IndexCells, inside: NDArray[np.bool_], window: tuple[slice, slice]
) -> dict[str, NDArray[np.int16]]:
    """(n,) values of the marked cells, by index."""
    shape = (len(cells.names), cells.height, cells.width)
    values = np.frombuffer(zlib.decompress(cells.values), "<i2").reshape(shape)[(slice(None), *window)]
    return {name: values[at][inside] for at, name in enumerate(cells.names)}


def _share_cells(one: IndexCells, other: IndexCells) -> bool:
    frame = [(a.crs, a.cell_m, a.west, a.north, a.width, a.height) for a in (one, other)]
    return frame[0] == frame[1]


def _find_cells(place: BaseGeometry, cells: IndexCells) -> tuple[NDArray[np.bool_], tuple[slice, slice]]:
    """Mask of the cells of a place, and the rows and columns that it covers."""
    local = to_crs(place, CRS.from_user_input(cells.crs))
    west, south, east, north = local.bounds
    left, right = (math.floor((at - cells.west) / cells.cell_m) for at in (west, east))
    top, bottom = (math.floor((cells.north - at) / cells.cell_m) for at in (north, south))
    rows = slice(max(0, top), min(cells.height, bottom + 1))
    cols = slice(max(0, left), min(cells.width, right + 1))
    shape = (rows.stop - rows.start, cols.stop - cols.start)
    if min(shape) <= 0:
        return np.zeros((0, 0), bool), (slice(0, 0), slice(0, 0))
    corner = Affine(
        cells.cell_m, 0, cells.west + cols.start * cells.cell_m,
        0, -cells.cell_m, cells.north - rows.start * cells.cell_m,
    )  # fmt: skip
    for all_touched in (False, True):
        burnt = rasterize(
            [(local, 1)], out_shape=shape, transform=corner, all_touched=all_touched, dtype="uint8"
        )
        if burnt.any():
            break
    return burnt.astype(bool), (rows, cols)
