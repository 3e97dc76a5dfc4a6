"""Tile logits -> one raster."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segwatch.geo.tiling import Tile, weights

#: Logit of a target that a tile's answer does not name: clearly outside, yet outvoted by a sure neighbour.
ABSENT = -10.0


@dataclass(frozen=True, slots=True)
class Stitched:
    """Blended logits of a whole grid."""

    logits: NDArray[np.float32]
    """(M, H, W), M targets; > 0 is inside. ``ABSENT`` where nothing is known."""
    known: NDArray[np.bool_]
    """(H, W); False where every tile failed: unknown, not empty."""
    tiles: int
    tiles_failed: int


class Stitcher:
    """Blends overlapping tiles as they come, in any order."""

    def __init__(self, height: int, width: int, tile_px: int, overlap_px: int) -> None:
        self._shape = (height, width)
        self._overlap = min(overlap_px, tile_px - 1)
        self._sums: list[NDArray[np.float32]] = []
        self._weight: NDArray[np.float32] = np.zeros(self._shape, np.float32)
        self._tiles = 0
        self._failed = 0

    def add(self, tile: Tile, logits: NDArray[np.float32]) -> None:
        """Blend in one tile's (M, height, width) logits; targets it does not have count as absent there.

        Raises
        ------
        ValueError
            If the logits do not have the tile's size.
        """
        if logits.ndim != 3 or logits.shape[1:] != (tile.height, tile.width):
            raise ValueError(
                f"logits of shape {logits.shape} do not fit a tile of {tile.height} x {tile.width} px"
            )
        rows = slice(tile.row, tile.row + tile.height)
        cols = slice(tile.col, tile.col + tile.width)
        weight = weights(tile, *self._shape, self._overlap)
        while len(self._sums) < len(logits):
            # earlier tiles did not have this target: absent, with the weight they were blended with
            self._sums.append(self._weight * np.float32(ABSENT))
        for index, total in enumerate(self._sums):
            answer = logits[index] if index < len(logits) else np.float32(ABSENT)
            total[rows, cols] += weight * answer
        self._weight[rows, cols] += weight
        self._tiles += 1

    def fail(self, tile: Tile) -> None:
        """Count a tile that could not be answered; where no other tile answers, the ground is unknown."""
        del tile
        self._tiles += 1
        self._failed += 1

    def result(self) -> Stitched:
        """The blended raster of everything added so far."""
        known = self._weight > 0
        safe = np.where(known, self._weight, 1)
        logits = [np.where(known, total / safe, np.float32(ABSENT)) for total in self._sums]
        stacked = np.stack(logits) if logits else np.zeros((0, *self._shape), np.float32)
        return Stitched(stacked.astype(np.float32), known, self._tiles, self._failed)
