"""Cover a grid with overlapping tiles, split its columns into spans, and compute blend weights.

Scenes are cut into the tiles of a lattice of the ground: the corners of tiles are multiples of the step between them,
counted in pixels from the origin of the grid's CRS. Which tiles show a place, and what weight each has there, therefore
does not depend on the area.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from segwatch.geo.grid import get_origin


@dataclass(frozen=True, slots=True)
class Tile:
    """A window of a grid that the model sees at once; in pixels of the whole grid."""

    row: int
    col: int
    height: int
    width: int


def extend_to_tiles(grid: GeoBox, tile_px: int, overlap_px: int) -> GeoBox:
    """Extend a grid to whole tiles of the lattice of the ground: to all those that reach it.

    :func:`make_tiles` gives exactly these tiles for the result. It reaches up to one tile beyond the grid.
    """
    origin, step = get_origin(grid), tile_px - overlap_px
    top, bottom = _extend(origin.row, grid.height, tile_px, step)
    left, right = _extend(origin.col, grid.width, tile_px, step)
    size = grid.resolution
    # multiples of the pixel size, as in make_grid: the same pixel has the same coordinates in every grid
    transform = Affine(size.x, 0.0, left * size.x, 0.0, size.y, top * size.y)
    return GeoBox((bottom - top, right - left), transform, grid.crs)


def _extend(first: int, length: int, tile_px: int, step: int) -> tuple[int, int]:
    """First pixel, and the one after the last, of the tiles that reach the pixels from ``first`` on."""
    start = ((first - tile_px) // step + 1) * step
    last = (first + length - 1) // step * step
    return start, last + tile_px


def make_tiles(grid_height: int, grid_width: int, tile_px: int, overlap_px: int) -> list[Tile]:
    """Cover the grid with tiles of at most ``tile_px`` a side; neighbours share at least ``overlap_px``.

    Returns
    -------
    list[Tile]
        In row-major order. The last tile of a row or column is moved back so that it is full size.

    Raises
    ------
    ValueError
        The overlap is not smaller than the tile.
    """
    if not 0 <= overlap_px < tile_px:
        raise ValueError(
            f"overlap of {overlap_px} px must be at least 0 and less than the tile's {tile_px} px"
        )
    rows = _starts(grid_height, tile_px, overlap_px)
    cols = _starts(grid_width, tile_px, overlap_px)
    height, width = min(tile_px, grid_height), min(tile_px, grid_width)
    return [Tile(row, col, height, width) for row in rows for col in cols]


def make_lattice_tiles(grid: GeoBox, tile_px: int, overlap_px: int) -> list[Tile]:
    """Cover a grid that was made for other tiles: with those of the lattice of the ground that it contains.

    A segmenter so sees the ground in the tiles that it would see in a grid of its own. Where the grid does not reach
    whole tiles of the lattice, at its borders, tiles are moved to be inside; a smaller grid is one smaller tile.

    Returns
    -------
    list[Tile]
        In row-major order.
    """
    origin, step = get_origin(grid), tile_px - overlap_px
    rows = _lattice_starts(origin.row, grid.height, tile_px, step)
    cols = _lattice_starts(origin.col, grid.width, tile_px, step)
    height, width = min(tile_px, grid.height), min(tile_px, grid.width)
    return [Tile(row, col, height, width) for row in rows for col in cols]


def _lattice_starts(first: int, length: int, tile_px: int, step: int) -> list[int]:
    last = max(length - tile_px, 0)
    return sorted({0, *range(-first % step, last + 1, step), last})


@dataclass(frozen=True, slots=True)
class ColumnSpan:
    """Neighbouring columns of a grid that are processed on their own, from top to bottom.

    A span owns the columns from ``start`` to before ``stop``; the spans of a grid share none. Its tiles also reach
    columns of the neighbouring spans: ``left`` to before ``right``.
    """

    start: int
    stop: int
    left: int
    right: int

    @property
    def own(self) -> slice:
        """The span's own columns, counted from ``left``."""
        return slice(self.start - self.left, self.stop - self.left)

    @property
    def width(self) -> int:
        """Number of columns that its tiles reach."""
        return self.right - self.left

    def has(self, tile: Tile) -> bool:
        """Whether the tile reaches the span's own columns."""
        return tile.col < self.stop and self.start < tile.col + tile.width


def split_columns(grid_width: int, tile_px: int, overlap_px: int, max_px: int) -> list[ColumnSpan]:
    """Split a grid into spans of about equal width, left to right.

    Each owns at most ``max_px`` columns, or one tile's step where that is more. Tiles are those of :func:`make_tiles`.
    """
    starts = _starts(grid_width, tile_px, overlap_px)
    step = tile_px - overlap_px
    count = min(len(starts), -(-grid_width // max(max_px, step)))
    edges = [round(grid_width * place / count) for place in range(count + 1)]
    found = []
    for start, stop in pairwise(edges):
        reaching = [at for at in starts if at < stop and start < at + tile_px]
        found.append(ColumnSpan(start, stop, reaching[0], min(grid_width, reaching[-1] + tile_px)))
    return found


def _starts(length: int, tile_px: int, overlap_px: int) -> list[int]:
    if length <= tile_px:
        return [0]
    step = tile_px - overlap_px
    starts = list(range(0, length - tile_px, step))
    return [*starts, length - tile_px]


def compute_weights(tile: Tile, grid_height: int, grid_width: int, overlap_px: int) -> NDArray[np.float32]:
    """Compute (height, width) raised-cosine blend weights in (0, 1]: falling over the overlap, flat at grid borders."""
    rows = _ramp(tile.height, overlap_px, tile.row > 0, tile.row + tile.height < grid_height)
    cols = _ramp(tile.width, overlap_px, tile.col > 0, tile.col + tile.width < grid_width)
    return np.outer(rows, cols).astype(np.float32)


def _ramp(length: int, overlap_px: int, before: bool, after: bool) -> NDArray[np.float64]:
    ramp = np.ones(length)
    reach = min(overlap_px, length)
    if reach:
        rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(reach) + 0.5) / reach)
        rise = np.maximum(rise, 1e-3)
        if before:
            ramp[:reach] = np.minimum(ramp[:reach], rise)
        if after:
            ramp[-reach:] = np.minimum(ramp[-reach:], rise[::-1])
    return ramp
