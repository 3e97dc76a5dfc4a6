"""Blend the logits of overlapping tiles into one raster."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segwatch.geo.tiling import ColumnSpan, Tile, compute_weights

#: Logit of a target that a tile's prediction does not name: clearly outside, yet outvoted by a confident neighbour.
ABSENT = -10.0


@dataclass(frozen=True, slots=True)
class Stitched:
    """Blended logits of neighbouring rows of a grid."""

    logits: NDArray[np.float32]
    """(M, h, w), M targets named so far; > 0 is inside. ``ABSENT`` where no tile has a prediction."""
    known: NDArray[np.bool_]
    """(h, w); False where no tile has a prediction: unknown, not empty."""


class Stitcher:
    """Blends overlapping tiles as they come, and hands out rows that no further tile reaches.

    Tiles may come in any order as long as none reaches a row that was taken.

    Parameters
    ----------
    height, width
        Size of the whole grid.
    columns
        Span whose tiles are added and whose own columns are taken; None = all columns.
    """

    def __init__(
        self, height: int, width: int, tile_px: int, overlap_px: int, columns: ColumnSpan | None = None
    ) -> None:
        self._shape = (height, width)
        self._overlap = min(overlap_px, tile_px - 1)
        self._columns = columns or ColumnSpan(0, width, 0, width)
        self._top = 0
        # plain arrays: sums grow and shrink by rows with every tile, in place (ADR 0011)
        self._sums: list[NDArray[np.float32]] = []
        self._weight: NDArray[np.float32] = np.zeros((0, self._columns.width), np.float32)

    def add(self, tile: Tile, logits: NDArray[np.float32]) -> None:
        """Blend in one tile's (M, height, width) logits; targets missing in it count as absent there.

        Raises
        ------
        ValueError
            The logits do not have the tile's size, or rows of the tile were already taken.
        """
        if logits.ndim != 3 or logits.shape[1:] != (tile.height, tile.width):
            raise ValueError(
                f"logits of shape {logits.shape} do not fit a tile of {tile.height} x {tile.width} px"
            )
        if tile.row < self._top:
            raise ValueError(f"a tile from row {tile.row} on came after rows before {self._top} were taken")
        self._extend(tile.row + tile.height)
        rows = slice(tile.row - self._top, tile.row + tile.height - self._top)
        cols = slice(tile.col - self._columns.left, tile.col + tile.width - self._columns.left)
        weight = compute_weights(tile, *self._shape, self._overlap)
        while len(self._sums) < len(logits):
            # earlier tiles lack this target: it is absent there, with the weight they were blended with
            self._sums.append(self._weight * np.float32(ABSENT))
        for index, total in enumerate(self._sums):
            predicted = logits[index] if index < len(logits) else np.float32(ABSENT)
            total[rows, cols] += weight * predicted
        self._weight[rows, cols] += weight

    def take(self, stop: int) -> Stitched:
        """Return the rows from where the last call stopped to before ``stop``, and release their memory."""
        self._extend(stop)
        count = stop - self._top
        weight = self._weight[:count, self._columns.own]
        known = weight > 0
        stacked = np.full((len(self._sums), *known.shape), ABSENT, np.float32)
        for logits, total in zip(stacked, self._sums, strict=True):
            np.divide(total[:count, self._columns.own], weight, out=logits, where=known)
        self._weight = self._weight[count:].copy()
        self._sums = [total[count:].copy() for total in self._sums]
        self._top = stop
        return Stitched(stacked, known)

    def _extend(self, stop: int) -> None:
        """Allocate rows up to ``stop``."""
        missing = stop - self._top - len(self._weight)
        if missing > 0:
            empty = np.zeros((missing, self._columns.width), np.float32)
            self._weight = np.concatenate([self._weight, empty])
            self._sums = [np.concatenate([total, empty]) for total in self._sums]
