"""Calibration of the confidence by isotonic regression, and its reliability (expected calibration error, ten bins).

The calibrated confidence is the non-decreasing function of the raw one with the least weighted squares from the labels
(Zadrozny and Elkan 2002), interpolated between its steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from segwatch.geo.types.assessment import Calibration, Judged, ReliabilityBin

MIN_JUDGED = 30
"""Fewest judgements, true and false ones among them, that a calibration is fitted to."""
BINS = 10
_FOLDS = 10
_DIGITS = 9
"""Confidences that agree in so many digits are one: the slope between two knots stays finite."""

_Floats = NDArray[np.float64]


def fit_calibration(judged: Sequence[Judged]) -> Calibration | None:
    """Fit a calibration to judgements; None if there are fewer than :data:`MIN_JUDGED`, or all are alike."""
    if len(judged) < MIN_JUDGED or len({one.true for one in judged}) < 2:
        return None
    confidence, true, weight = _to_arrays(judged)
    raw, calibrated = _fit(confidence, true, weight)
    before = measure_reliability(confidence, true, weight)
    after = measure_reliability(_cross_validate(confidence, true, weight), true, weight)
    return Calibration(
        raw=tuple(raw.tolist()),
        calibrated=tuple(calibrated.tolist()),
        labels=len(judged),
        bins_before=before,
        bins_after=after,
        error_before=compute_calibration_error(before),
        error_after=compute_calibration_error(after),
    )


def apply_calibration(calibration: Calibration, confidence: float) -> float:
    """Calibrate a raw confidence."""
    return float(
        _interpolate(np.array(confidence), np.array(calibration.raw), np.array(calibration.calibrated))
    )


def measure_reliability(confidence: _Floats, true: _Floats, weight: _Floats) -> tuple[ReliabilityBin, ...]:
    """Compare the mean confidence with the share that is true, by tenths of the confidence; empty bins are left out."""
    index = np.minimum((confidence * BINS).astype(int), BINS - 1)
    found = []
    for one in np.unique(index):
        inside = index == one
        share = weight[inside] / weight[inside].sum()
        found.append(
            ReliabilityBin(
                confidence=float(share @ confidence[inside]),
                share=float(share @ true[inside]),
                weight=float(weight[inside].sum() / weight.sum()),
                labels=int(inside.sum()),
            )
        )
    return tuple(found)


def compute_calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """Compute the expected calibration error: the mean difference of confidence and share over the bins."""
    return float(sum(one.weight * abs(one.confidence - one.share) for one in bins))


def _to_arrays(judged: Sequence[Judged]) -> tuple[_Floats, _Floats, _Floats]:
    rows = sorted((one.confidence, float(one.true), one.weight) for one in judged)
    values = np.array(rows, float).reshape(-1, 3)
    return values[:, 0], values[:, 1], values[:, 2]


def _fit(confidence: _Floats, true: _Floats, weight: _Floats) -> tuple[_Floats, _Floats]:
    """Return the knots of the calibration: mean raw confidence of each step, ascending, and its value."""
    values, at = np.unique(np.round(confidence, _DIGITS), return_inverse=True)
    weights = np.bincount(at, weight)
    means = np.bincount(at, weight * true) / weights
    found = isotonic_regression(means, weights=weights)
    starts = found.blocks[:-1]
    steps = np.add.reduceat(values * weights, starts) / np.add.reduceat(weights, starts)
    return steps, np.clip(found.x[starts], 0.0, 1.0)


def _cross_validate(confidence: _Floats, true: _Floats, weight: _Floats) -> _Floats:
    """Calibrate each judgement by a fit to the nine tenths that it is not in."""
    made = np.empty_like(confidence)
    fold = np.arange(len(confidence)) % _FOLDS
    for one in range(_FOLDS):
        rest = fold != one
        made[~rest] = _interpolate(confidence[~rest], *_fit(confidence[rest], true[rest], weight[rest]))
    return made


def _interpolate(confidence: _Floats, raw: _Floats, calibrated: _Floats) -> _Floats:
    """Interpolate between the knots of a calibration; rounding does not carry the result out of 0 to 1."""
    return np.clip(np.interp(confidence, raw, calibrated), 0.0, 1.0)
