"""Overlapping tiles on a grid and their blend weights."""

from __future__ import annotations

from dataclasses import dataclass

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
