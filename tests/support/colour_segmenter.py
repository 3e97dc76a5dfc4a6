"""A segmenter that knows the simulated scenes' colours: its masks are the truth wherever ground is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segwatch.flows.inference.segmenters import Prediction, Tiles
from tests.support.made_scenes import WATER

#: Noise of the simulated scenes is far below this, the nearest other colour far above.
_REACH = 30.0


@dataclass(frozen=True)
class _Answer:
    text: str
    mask_logits: NDArray[np.float32]


class ColourSegmenter:
    """Answers every instruction with the pixels that have its colour."""

    version = "colour@1"
    tile_px = 256
    colour = WATER

    def segment(self, tiles: Tiles, instructions: Sequence[str]) -> list[list[Prediction]]:
        """See :class:`segwatch.flows.inference.segmenters.Segmenter`."""
        return [[self._answer(tile) for _ in instructions] for tile in tiles]

    def _answer(self, tile: NDArray[np.uint8]) -> Prediction:
        distance = np.linalg.norm(tile.astype(np.float32) - np.array(self.colour, np.float32), axis=-1)
        return _Answer("by colour", np.where(distance < _REACH, 8.0, -8.0).astype(np.float32)[None])


class Well(ColourSegmenter):
    """Answers well: knows the colour of :func:`tests.support.images.image` ``(10, 20, 30)``."""

    colour = (10, 20, 30)
