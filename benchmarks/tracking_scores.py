"""Scores of identities through time: SCOT, HOTA and IDF1, from one overlap table per scene.

All are 1 for a tracker that gives every object one identity of its own in every scene and nothing else. They are also 1
where there is nothing to track and nothing is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]

#: IoU that counts as a match: SpaceNet 7's value for small objects, and the usual value of identity scores.
SCOT_IOU, IDF1_IOU = 0.25, 0.5
HOTA_ALPHAS = np.arange(1, 20) * 0.05
_ROUNDING = 1e-9
#: HOTA's epsilon: prefer more pairs, then better associated ones, then better overlapping ones.
_HOTA_EPSILON = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One scene: truth, reported identities and their overlap."""

    truth: Ids
    """(T,) ids of the true objects, unique."""
    proposed: Ids
    """(P,) ids that the tracker gave, unique."""
    iou: Floats
    """(T, P) intersection over union, 0..1."""


@dataclass(frozen=True, slots=True)
class Scot:
    """SCOT and its two terms, 0..1."""

    tracking: float
    change: float

    @property
    def combined(self) -> float:
        """F-beta of both terms with beta = 2: tracking weighs more."""
        if not (self.tracking and self.change):
            return 0.0
        return 5 * self.tracking * self.change / (4 * self.change + self.tracking)


def scot(frames: Sequence[Frame], threshold: float = SCOT_IOU) -> Scot:
    """Compute the SpaceNet Change and Object Tracking score of one series.

    In each scene, objects and proposals are assigned one to one, as many as overlap enough. The tracking term
    is the F1 over all scenes; a pair that contradicts the last pairing of its object or of its proposal is a
    mismatch, which counts as one missed object and one wrong proposal. The change term is the F1 of first
    appearances: a pair of two new ids, the first scene left out, is correct.

    Source: Van Etten et al., The Multi-Temporal Urban Development SpaceNet Dataset, CVPR 2021
    (arXiv:2102.04420); where the text is silent, its published evaluation code (solaris 0.4). That code gives a
    change term of 0 where nothing is to be found or reported; here it is 1.
    """
    total = matched = mismatched = 0
    new_total = new_matched = 0
    paired_truth: dict[int, int] = {}
    paired_proposed: dict[int, int] = {}
    known_truth: set[int] = set()
    known_proposed: set[int] = set()
    for number, frame in enumerate(frames):
        truth, proposed = frame.truth.tolist(), frame.proposed.tolist()
        pairs = [(truth[row], proposed[column]) for row, column in _assigned(frame.iou, threshold)]
        total += len(truth) + len(proposed)
        matched += len(pairs)
        mismatched += sum(
            paired_truth.get(one, other) != other or paired_proposed.get(other, one) != one
            for one, other in pairs
        )
        paired_truth.update(pairs)
        paired_proposed.update((other, one) for one, other in pairs)
        new_truth, new_proposed = set(truth) - known_truth, set(proposed) - known_proposed
        if number:
            new_total += len(new_truth) + len(new_proposed)
            new_matched += sum(one in new_truth and other in new_proposed for one, other in pairs)
        known_truth |= new_truth
        known_proposed |= new_proposed
    return Scot(_f1(matched - mismatched, total), _f1(new_matched, new_total))


def idf1(frames: Sequence[Frame], threshold: float = IDF1_IOU) -> float:
    """Compute the share of detections with the right identity under the best one-to-one pairing of whole trajectories.

    Source: Ristani et al., Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking, ECCV
    2016 workshops (arXiv:1609.01775). Their minimum number of identity errors equals the maximum number of
    scenes in which paired trajectories overlap enough.
    """
    series = _Series.of(frames)
    together = series.together(threshold)
    rows, columns = linear_sum_assignment(together, maximize=True)
    return _f1(float(together[rows, columns].sum()), float(series.seen.sum() + series.claimed.sum()))


def hota(frames: Sequence[Frame]) -> float:
    """Compute the Higher Order Tracking Accuracy, the mean over the localisation thresholds 0.05, 0.10 .. 0.95.

    At each threshold it is the square root of the summed association accuracy of all matched pairs over the
    number of matched, missed and wrong ones. The association accuracy of a pair of ids is the Jaccard index of
    the scenes in which they are matched to each other.

    Source: Luiten et al., HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking, IJCV 2020
    (arXiv:2009.07736). Pairs are chosen scene by scene: as many as possible, then those of trajectories that
    could agree most often, then those that overlap most.
    """
    series = _Series.of(frames)
    return float(np.mean([_hota_at(series, float(alpha)) for alpha in HOTA_ALPHAS]))


@dataclass(frozen=True, slots=True, eq=False)
class _Series:
    """Frames with ids replaced by their index among the O objects and I reported identities."""

    scenes: list[tuple[Ids, Ids, Floats]]
    """Indices (T,) and (P,) and IoU (T, P) of each scene."""
    seen: Floats
    """(O,) number of scenes with each object."""
    claimed: Floats
    """(I,) number of scenes with each identity."""

    @classmethod
    def of(cls, frames: Sequence[Frame]) -> _Series:
        empty = np.empty(0, np.int64)
        objects = np.unique(np.concatenate([empty, *(frame.truth for frame in frames)]))
        identities = np.unique(np.concatenate([empty, *(frame.proposed for frame in frames)]))
        scenes = [
            (np.searchsorted(objects, one.truth), np.searchsorted(identities, one.proposed), one.iou)
            for one in frames
        ]
        seen, claimed = np.zeros(len(objects)), np.zeros(len(identities))
        for rows, columns, _ in scenes:
            seen[rows] += 1
            claimed[columns] += 1
        return cls(scenes, seen, claimed)

    def together(self, threshold: float) -> Floats:
        """Return (O, I) number of scenes in which an object and an identity overlap enough."""
        count = np.zeros((len(self.seen), len(self.claimed)))
        for rows, columns, iou in self.scenes:
            count[np.ix_(rows, columns)] += _enough(iou, threshold)
        return count

    def jaccard(self, together: Floats) -> Floats:
        """Return (O, I) scenes together over scenes with either."""
        either = self.seen[:, None] + self.claimed[None, :] - together
        return together / np.maximum(either, 1)


def _hota_at(series: _Series, alpha: float) -> float:
    possible = series.jaccard(series.together(alpha))
    matched = np.zeros_like(possible)
    for rows, columns, iou in series.scenes:
        worth = 1 / _HOTA_EPSILON + possible[np.ix_(rows, columns)] + _HOTA_EPSILON * iou
        enough = _enough(iou, alpha)
        chosen = linear_sum_assignment(np.where(enough, worth, 0.0), maximize=True)
        matched[rows[chosen[0]], columns[chosen[1]]] += enough[chosen]
    agreement = float((matched * series.jaccard(matched)).sum())
    either = float(series.seen.sum() + series.claimed.sum() - matched.sum())
    return float(np.sqrt(agreement / either)) if either else 1.0


def _assigned(iou: Floats, threshold: float) -> list[tuple[int, int]]:
    """Assign (rows, columns) one to one: as many pairs above the threshold as possible, the closest of these."""
    worth = np.where(_enough(iou, threshold), 100.0 + iou, 0.0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    kept = worth[rows, columns] > 0
    return list(zip(rows[kept].tolist(), columns[kept].tolist(), strict=True))


def _enough(iou: Floats, threshold: float) -> NDArray[np.bool_]:
    return iou >= threshold - _ROUNDING


def _f1(matched: float, total: float) -> float:
    """Compute F1 from the number of pairs and of members of both sides: 2 TP / (2 TP + FP + FN)."""
    return 2 * matched / total if total else 1.0
