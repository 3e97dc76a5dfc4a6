"""Precision, recall and IoU with 95 % intervals: of a map and of baselines, from points or from judged objects.

Points of a probability sample are weighted by the area of their strata (Olofsson et al. 2014); intervals of the map are
those of :mod:`segwatch.geo.assessment.intervals`. Where the prediction does not follow the strata, and for judged
objects, which are no probability sample, intervals are percentiles of a bootstrap with a fixed seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segwatch.geo.assessment.estimators import MIN_LABELS
from segwatch.geo.assessment.intervals import add, divide, estimate_part, estimate_proportion
from segwatch.geo.types.assessment import BACKGROUND, MAPPED, Estimate

_RESAMPLES = 2000
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scores:
    """Figures of one prediction of one target; None where there is nothing to divide by."""

    precision: Estimate | None
    recall: Estimate | None
    iou: Estimate | None


@dataclass(frozen=True, slots=True)
class PointCell:
    """A labelled point: what was predicted there, and what is there."""

    stratum: str
    marked: bool
    true: bool


NOTHING = Scores(None, Estimate(0.0, 0.0, 0.0, 0.0), Estimate(0.0, 0.0, 0.0, 0.0))
"""Of a prediction that marks nothing, where there is something to find."""


def find_shortage(cells: Sequence[PointCell], areas_m2: Mapping[str, float]) -> str | None:
    """Say which stratum has too few labelled points for figures; None if none has."""
    for name, area in areas_m2.items():
        count = sum(one.stratum == name for one in cells)
        if area > 0 and count < MIN_LABELS:
            return f"{count} labelled points in the stratum {name}, at least {MIN_LABELS} are needed"
    return None


def estimate_map(cells: Sequence[PointCell], areas_m2: Mapping[str, float]) -> tuple[Scores, Estimate]:
    """Estimate the scores of a map, whose strata are its own classes, and the share of the ground that is the target.

    Parameters
    ----------
    cells
        Points of a stratified random sample; enough by :func:`find_shortage`.
    areas_m2
        Area of the strata ``mapped`` and ``background``.
    """
    whole = sum(areas_m2.values())
    zero = Estimate(0.0, 0.0, 0.0, 0.0)
    true_share = {
        name: zero if areas_m2.get(name, 0.0) == 0 else _share_true(cells, name)
        for name in (MAPPED, BACKGROUND)
    }
    mapped = areas_m2.get(MAPPED, 0.0) / whole
    hit = true_share[MAPPED].scale(mapped)
    missed = true_share[BACKGROUND].scale(1 - mapped)
    union = Estimate(mapped + missed.value, missed.standard_error, mapped + missed.low, mapped + missed.high)
    both = hit.value + missed.value
    error = 0.0
    if both:
        error = (
            float(np.hypot(missed.value * hit.standard_error, hit.value * missed.standard_error)) / both**2
        )
    precision = true_share[MAPPED] if mapped else None
    scores = Scores(precision, estimate_part(hit, missed, error), _within_1(divide(hit, union)))
    return scores, add([hit, missed])


def estimate_everything(share: Estimate) -> Scores:
    """Estimate the scores of marking all ground from the share of it that is the target."""
    one = Estimate(1.0, 0.0, 1.0, 1.0)
    return Scores(_within_1(share), one if share.value else None, _within_1(share))


def estimate_points(cells: Sequence[PointCell], areas_m2: Mapping[str, float]) -> Scores:
    """Estimate the scores of any prediction on the points of a stratified sample; intervals by stratified bootstrap."""
    rng = np.random.default_rng(0)
    totals, drawn = np.zeros(3), np.zeros((_RESAMPLES, 3))
    for name, area in areas_m2.items():
        table = _tabulate([one for one in cells if one.stratum == name])
        if len(table):
            totals += area * table.mean(axis=0)
            drawn += area * table[rng.integers(len(table), size=(_RESAMPLES, len(table)))].mean(axis=1)
    return _divide_sums(totals, drawn)


def estimate_objects(parts_m2: ArrayLike) -> Scores:
    """Estimate scores over the ground of judged objects; intervals by bootstrap over the objects.

    Parameters
    ----------
    parts_m2
        (N, 3) area of each object that is predicted and true, predicted only, and true only.
    """
    table = np.asarray(parts_m2, float)
    picks = np.random.default_rng(0).integers(len(table), size=(_RESAMPLES, len(table)))
    return _divide_sums(table.sum(axis=0), table[picks].sum(axis=1))


def _share_true(cells: Sequence[PointCell], stratum: str) -> Estimate:
    mine = [one.true for one in cells if one.stratum == stratum]
    return estimate_proportion(sum(mine), len(mine))


def _tabulate(cells: Sequence[PointCell]) -> Floats:
    """(N, 3) 1 where a point is predicted and true, predicted only, or true only."""
    rows = [
        (one.marked and one.true, one.marked and not one.true, not one.marked and one.true) for one in cells
    ]
    return np.array(rows, float).reshape(-1, 3)


def _divide_sums(totals: Floats, drawn: Floats) -> Scores:
    return Scores(*(_ratio(totals, drawn, below) for below in ((0, 1), (0, 2), (0, 1, 2))))


def _ratio(totals: Floats, drawn: Floats, below: Sequence[int]) -> Estimate | None:
    whole = float(totals[list(below)].sum())
    if whole == 0:
        return None
    sums = drawn[:, list(below)].sum(axis=1)
    ratios = drawn[sums > 0, 0] / sums[sums > 0]
    low, high = np.percentile(ratios, (2.5, 97.5))
    value = float(totals[0]) / whole
    return Estimate(value, float(ratios.std()), min(value, float(low)), max(value, float(high)))


def _within_1(estimate: Estimate | None) -> Estimate | None:
    if estimate is None:
        return None
    return Estimate(estimate.value, estimate.standard_error, max(0.0, estimate.low), min(1.0, estimate.high))
