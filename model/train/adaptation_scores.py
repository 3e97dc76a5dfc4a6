"""Score a model on the labelled pixels of tiles: IoU, precision and recall by target, intervals by place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segwatch.model.predictor import Predictor
from segwatch.model.train.adaptation_tiles import AdaptationTile
from segwatch.model.train.labelled_sample import UNKNOWN

_BATCH = 8
_RESAMPLES = 1000


@dataclass(frozen=True)
class Score:
    """A share with its 95 % interval from resampled places; None where there is nothing to divide by."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class TargetScores:
    """Scores of one target on labelled pixels."""

    target: str
    iou: Score
    precision: Score
    recall: Score
    pixels: int
    """Labelled pixels."""
    places: int
    absent_tiles: int
    """Tiles where the target is labelled as absent and nowhere as present."""
    absent_marked: int
    """Of these, tiles with any pixel marked where it is labelled as absent."""


def predict_tiles(
    predictor: Predictor, tiles: Sequence[AdaptationTile], instruction: str
) -> NDArray[np.bool_]:
    """Predict (N, T, S, S) masks of the targets in the order of the model's masks; missing masks are empty."""
    count, side = tiles[0].labels.shape[0], tiles[0].labels.shape[1]
    masks = np.zeros((len(tiles), count, side, side), np.bool_)
    for begin in range(0, len(tiles), _BATCH):
        part = tiles[begin : begin + _BATCH]
        for index, (found,) in enumerate(predictor.segment([one.rgb for one in part], [instruction])):
            logits = found.mask_logits[:count]
            masks[begin + index, : len(logits)] = logits > 0
    return masks


def score_masks(
    masks: NDArray[np.bool_], tiles: Sequence[AdaptationTile], targets: Sequence[str]
) -> list[TargetScores]:
    """Score masks as :func:`predict_tiles` returns them; pixels without a label count for nothing."""
    return [_score(masks[:, index], tiles, index, name) for index, name in enumerate(targets)]


def _score(
    masks: NDArray[np.bool_], tiles: Sequence[AdaptationTile], index: int, target: str
) -> TargetScores:
    labels = np.stack([one.labels[index] for one in tiles])
    known, true = labels != UNKNOWN, labels > 0
    counts = np.stack(
        [(masks & true).sum((1, 2)), (masks & known & ~true).sum((1, 2)), (~masks & true).sum((1, 2))], axis=1
    )
    places = sorted({one.place for one in tiles})
    table = np.zeros((len(places), 3), np.int64)
    for row, tile in zip(counts, tiles, strict=True):
        table[places.index(tile.place)] += row
    absent = [at for at, tile in enumerate(tiles) if tile.is_absent(index)]
    return TargetScores(
        target,
        iou=_estimate(table, (0,), (0, 1, 2)),
        precision=_estimate(table, (0,), (0, 1)),
        recall=_estimate(table, (0,), (0, 2)),
        pixels=int(known.sum()),
        places=len({one.place for one, row in zip(tiles, known, strict=True) if row.any()}),
        absent_tiles=len(absent),
        absent_marked=sum(bool(counts[at, 1]) for at in absent),
    )


def _estimate(table: NDArray[np.int64], above: Sequence[int], below: Sequence[int]) -> Score:
    """Estimate a ratio of sums over places; its interval by resampling the places (percentile bootstrap)."""
    whole = int(table[:, below].sum())
    if whole == 0:
        return Score(None, None, None)
    rng = np.random.default_rng(0)
    drawn = table[rng.integers(len(table), size=(_RESAMPLES, len(table)))].sum(axis=1)
    sums = drawn[:, below].sum(axis=1)
    ratios = drawn[:, above].sum(axis=1)[sums > 0] / sums[sums > 0]
    low, high = np.percentile(ratios, (2.5, 97.5))
    return Score(float(table[:, above].sum() / whole), float(low), float(high))


def compute_mean_iou(scores: Sequence[TargetScores]) -> float:
    """Compute the mean IoU over targets with any labelled or marked pixel of them; 0 if there is none."""
    known = [one.iou.value for one in scores if one.iou.value is not None]
    return float(np.mean(known)) if known else 0.0
