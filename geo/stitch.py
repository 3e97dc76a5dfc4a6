"""Tile logits -> one raster."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segwatch.geo.tiling import Band, Tile, weights

#: Logit of a target that a tile's answer does not name: clearly outside, yet outvoted by a sure neighbour.
ABSENT = -10.0


@dataclass(frozen=True, slots=True)
class Stitched:
    """Blended logits of neighbouring rows of a grid."""

    logits: NDArray[np.float32]
    """(M, h, w), M targets named so far; > 0 is inside. ``ABSENT`` where nothing is known."""
    known: NDArray[np.bool_]
    """(h, w); False where every tile failed or none looked: unknown, not empty."""


class Stitcher:
    """Blends overlapping tiles as they come, and gives away rows that no further tile reaches.

    Tiles may come in any order as long as none reaches a row that was taken.

    Parameters
    ----------
    height, width
        Of the whole grid.
    band
        Of its columns: its tiles come, its own columns are given away; None = all columns.
    """

    def __init__(
        self, height: int, width: int, tile_px: int, overlap_px: int, band: Band | None = None
    ) -> None:
        self._shape = (height, width)
        self._overlap = min(overlap_px, tile_px - 1)
        self._band = band or Band(0, width, 0, width)
        self._top = 0
        self._sums: list[NDArray[np.float32]] = []
        self._weight: NDArray[np.float32] = np.zeros((0, self._band.width), np.float32)

    def add(self, tile: Tile, logits: NDArray[np.float32]) -> None:
        """Blend in one tile's (M, height, width) logits; targets it does not have count as absent there.

        Raises
        ------
        ValueError
            If the logits do not have the tile's size, or rows of the tile were taken already.
        """
        if logits.ndim != 3 or logits.shape[1:] != (tile.height, tile.width):
            raise ValueError(
                f"logits of shape {logits.shape} do not fit a tile of {tile.height} x {tile.width} px"
            )
        if tile.row < self._top:
            raise ValueError(f"a tile from row {tile.row} on came after rows before {self._top} were taken")
        self._reach(tile.row + tile.height)
        rows = slice(tile.row - self._top, tile.row + tile.height - self._top)
        cols = slice(tile.col - self._band.left, tile.col + tile.width - self._band.left)
        weight = weights(tile, *self._shape, self._overlap)
        while len(self._sums) < len(logits):
            # earlier tiles did not have this target: absent, with the weight they were blended with
            self._sums.append(self._weight * np.float32(ABSENT))
        for index, total in enumerate(self._sums):
            answer = logits[index] if index < len(logits) else np.float32(ABSENT)
            total[rows, cols] += weight * answer
        self._weight[rows, cols] += weight

    def take(self, stop: int) -> Stitched:
        """Rows from where the last call stopped to ``stop``; they are held no longer."""
        self._reach(stop)
        count = stop - self._top
        weight = self._weight[:count, self._band.own]
        known = weight > 0
        stacked = np.full((len(self._sums), *known.shape), ABSENT, np.float32)
        for logits, total in zip(stacked, self._sums, strict=True):
            np.divide(total[:count, self._band.own], weight, out=logits, where=known)
        self._weight = self._weight[count:].copy()
        self._sums = [total[count:].copy() for total in self._sums]
        self._top = stop
        return Stitched(stacked, known)

    def _reach(self, stop: int) -> None:
        """Hold rows up to ``stop``."""
        missing = stop - self._top - len(self._weight)
        if missing > 0:
            empty = np.zeros((missing, self._band.width), np.float32)
            self._weight = np.concatenate([self._weight, empty])
            self._sums = [np.concatenate([total, empty]) for total in self._sums]
