"""Overlapping tiles on a grid, bands of their columns, and blend weights."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Tile:
    """A window of a grid, in pixels."""

    row: int
    col: int
    height: int
    width: int


def tiles(grid_height: int, grid_width: int, tile_px: int, overlap_px: int) -> list[Tile]:
    """Tiles of at most ``tile_px`` a side that cover the grid, neighbours sharing at least ``overlap_px``.

    Row-major order. The last tile of a row or column is moved back so that it is full size.

    Raises
    ------
    ValueError
        If the overlap is not smaller than the tile.
    """
    if not 0 <= overlap_px < tile_px:
        raise ValueError(
            f"overlap of {overlap_px} px must be at least 0 and less than the tile's {tile_px} px"
        )
    rows = _starts(grid_height, tile_px, overlap_px)
    cols = _starts(grid_width, tile_px, overlap_px)
    height, width = min(tile_px, grid_height), min(tile_px, grid_width)
    return [Tile(row, col, height, width) for row in rows for col in cols]


@dataclass(frozen=True, slots=True)
class Band:
    """Neighbouring columns of a grid that are worked through by themselves, from the top to the bottom."""

    start: int
    stop: int
    """Its own columns end before it; the bands of a grid share none."""
    left: int
    right: int
    """Columns of all tiles that reach its own ones."""

    @property
    def own(self) -> slice:
        """Its own columns among those of its tiles."""
        return slice(self.start - self.left, self.stop - self.left)

    @property
    def width(self) -> int:
        """Of its tiles' columns."""
        return self.right - self.left

    def has(self, tile: Tile) -> bool:
        """Whether the tile reaches the band's own columns."""
        return tile.col < self.stop and self.start < tile.col + tile.width


def bands(grid_width: int, tile_px: int, overlap_px: int, most_px: int) -> list[Band]:
    """Bands of about equal width, from the left, whose own columns are at most ``most_px``, or one tile's step.

    Tiles as :func:`tiles` makes them.
    """
    starts = _starts(grid_width, tile_px, overlap_px)
    step = tile_px - overlap_px
    count = min(len(starts), -(-grid_width // max(most_px, step)))
    edges = [round(grid_width * place / count) for place in range(count + 1)]
    found = []
    for start, stop in pairwise(edges):
        reaching = [at for at in starts if at < stop and start < at + tile_px]
        found.append(Band(start, stop, reaching[0], min(grid_width, reaching[-1] + tile_px)))
    return found


def _starts(length: int, tile_px: int, overlap_px: int) -> list[int]:
    if length <= tile_px:
        return [0]
    step = tile_px - overlap_px
    starts = list(range(0, length - tile_px, step))
    return [*starts, length - tile_px]


def weights(tile: Tile, grid_height: int, grid_width: int, overlap_px: int) -> NDArray[np.float32]:
    """Raised-cosine blend weights, (height, width) in (0, 1]: falling over the overlap, flat at grid borders."""
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
