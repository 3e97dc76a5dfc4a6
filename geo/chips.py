"""Choose the cells of an area by which its scenes are registered, and cut their chips from the scene's pixels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from segwatch.geo.crs import to_crs
from segwatch.geo.grid import get_crs, get_origin
from segwatch.geo.types.chips import CELL_PX, MAX_CHIPS, Cell, Chip

#: Parts of an area along each axis; each gives at most one cell.
_PARTS = 3
_MIN_CLEAR_PX = 32 * 32
#: Nearest cells of a part that are compared.
_MAX_CANDIDATES = 25


def choose_cells(area: BaseGeometry, grid: GeoBox) -> list[Cell]:
    """Choose up to nine cells of the ground, spread over an area.

    Parameters
    ----------
    area
        EPSG:4326.
    grid
        A grid of the area; cells depend on its CRS and pixel size, not on its corners.

    Returns
    -------
    list[Cell]
        Of each ninth of the area's bounding box the cell that covers most of the area there, without duplicates.
    """
    local = to_crs(area.segmentize(0.01), get_crs(grid))
    pixel_m = float(grid.resolution.x)
    west, south, east, north = local.bounds
    columns = pairwise(np.linspace(west, east, _PARTS + 1))
    rows = list(pairwise(np.linspace(south, north, _PARTS + 1)))
    chosen: dict[Cell, None] = {}
    for (left, right), (bottom, top) in product(columns, rows):
        part = shapely.intersection(local, shapely.box(left, bottom, right, top))
        if part.area > 0:
            row, col = _find_best_cell(part, CELL_PX * pixel_m)
            chosen[Cell(str(grid.crs), pixel_m, row, col)] = None
    return sorted(chosen)[:MAX_CHIPS]


def _find_best_cell(part: BaseGeometry, side: float) -> tuple[int, int]:
    """(row, column) of the cell that covers most of a part of the area, the nearest to its middle among equals."""
    middle = part.representative_point()
    west, south, east, north = part.bounds
    every = product(
        _list_near(-north / side, -south / side, -middle.y / side),
        _list_near(west / side, east / side, middle.x / side),
    )

    def rate(cell: tuple[int, int]) -> tuple[float, float, int, int]:
        row, col = cell
        square = shapely.box(col * side, -(row + 1) * side, (col + 1) * side, -row * side)
        share = round(shapely.intersection(square, part).area / side**2, 3)
        return -share, square.centroid.distance(middle), row, col

    return min(every, key=rate)


def _list_near(low: float, high: float, middle: float) -> list[int]:
    """Whole numbers n, of those whose n..n+1 meets low..high the nearest to the middle."""
    numbers = range(int(np.floor(low)), int(np.ceil(high)))
    count = round(_MAX_CANDIDATES**0.5)
    return sorted(numbers, key=lambda one: abs(one + 0.5 - middle))[:count] or [int(np.floor(low))]


class ChipCutter:
    """Cuts the chips of cells from blocks of a scene's pixels, in any order.

    Parameters
    ----------
    cells
        Cells on the lattice of ``grid``.
    grid
        The whole grid that blocks are parts of.
    """

    def __init__(self, cells: Sequence[Cell], grid: GeoBox) -> None:
        self._origin = get_origin(grid)
        self._grey = {cell: np.zeros((CELL_PX, CELL_PX), np.uint8) for cell in cells}
        self._clear = {cell: np.zeros((CELL_PX, CELL_PX), bool) for cell in cells}

    def add(self, rgb: NDArray[np.uint8], clear: NDArray[np.bool_], row: int, col: int) -> None:
        """Add a block: (h, w, 3) rendered pixels, (h, w) clear mask, and its first row and column in the grid."""
        first_row, first_col = self._origin.row + row, self._origin.col + col
        height, width = clear.shape
        for cell, grey in self._grey.items():
            rows, own_rows = _overlap(cell.row * CELL_PX, first_row, height)
            cols, own_cols = _overlap(cell.col * CELL_PX, first_col, width)
            if rows.start >= rows.stop or cols.start >= cols.stop:
                continue
            grey[own_rows, own_cols] = rgb[rows, cols].mean(axis=-1).round()
            self._clear[cell][own_rows, own_cols] = clear[rows, cols]

    def cut(self) -> tuple[Chip, ...]:
        """Return the chips of the cells that are clear enough to be compared."""
        return tuple(
            Chip.encode(cell, grey, self._clear[cell])
            for cell, grey in self._grey.items()
            if np.count_nonzero(self._clear[cell]) >= _MIN_CLEAR_PX
        )


def _overlap(cell_start: int, block_start: int, length: int) -> tuple[slice, slice]:
    """Where a cell and a block overlap along one axis: positions in the block, and in the cell."""
    start, stop = max(cell_start, block_start), min(cell_start + CELL_PX, block_start + length)
    return slice(start - block_start, stop - block_start), slice(start - cell_start, stop - cell_start)
