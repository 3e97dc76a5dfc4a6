"""Instructions on labelled imagery: one or several targets, questions, and absent targets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segwatch.model.errors import DatasetError
from segwatch.model.train import instructions
from segwatch.model.train.batches import InstructedImage, TrainingPair
from segwatch.model.train.config import Mix
from segwatch.model.train.crop_pool import Crop, CropPool
from segwatch.model.train.labelled_sample import UNKNOWN, Labels

_DRAWS = 100


class LabelledSource:
    """Crops of a pool with instructions, see :class:`segwatch.model.train.batches.InstructionSource`.

    Parameters
    ----------
    source
        What to draw from.
    mix
        Of instructions.
    side
        Of the crops, pixels.
    """

    def __init__(self, source: CropPool, mix: Mix, side: int) -> None:
        self._source, self._mix, self._side = source, mix, side

    def draw_image(self, rng: np.random.Generator, max_pairs: int) -> InstructedImage:
        """Draw a crop with up to ``max_pairs`` instructions, at least one.

        Raises
        ------
        DatasetError
            Many crops in a row have no usable target.
        """
        for _ in range(_DRAWS):
            crop, _ = self._source.draw_any(rng, self._side)
            states = {name: crop.state(name) for name in sorted(crop.labels)}
            there = {
                name: self._source.rate_further(crop, name) for name, state in states.items() if state is True
            }
            gone = {
                name: self._source.rate_further(crop, name)
                for name, state in states.items()
                if state is False
            }
            weights = instructions.TargetWeights(there, gone)
            if made := instructions.draw_pairs(rng, list(there), list(gone), max_pairs, self._mix, weights):
                return InstructedImage(crop.image, [self._make_pair(crop, pair) for pair in made])
        raise DatasetError(f"{_DRAWS} crops in a row have no target that is certainly present or absent")

    def _make_pair(self, crop: Crop, pair: instructions.InstructionPair) -> TrainingPair:
        labels = [_resize_nearest(crop.labels[name], self._side) for name in pair.targets]
        return TrainingPair(
            pair.instruction,
            pair.answer,
            tuple(np.asarray(label > 0) for label in labels),
            tuple(np.asarray(label != UNKNOWN) for label in labels),
        )


def _resize_nearest(label: Labels, side: int) -> NDArray[np.int8]:
    """Resize (s, s) -> (side, side), nearest neighbour."""
    picks = ((np.arange(side) + 0.5) * len(label) / side).astype(np.int64)
    return np.asarray(label[np.ix_(picks, picks)])
