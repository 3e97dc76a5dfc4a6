"""Accuracy and area from a stratified random sample, after Olofsson et al. (2014).

"Good practices for estimating area and assessing accuracy of land change", Remote Sensing of Environment 148, 42-57.
Equation numbers are those of the paper. Standard errors are the paper's; intervals are those for small samples of
:mod:`segwatch.geo.assessment.intervals`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segwatch.geo.assessment.intervals import add, estimate_part, estimate_proportion
from segwatch.geo.types.assessment import (
    BACKGROUND,
    MAPPED,
    REFUTED,
    Estimate,
    StratumCounts,
    TargetAccuracy,
    Unit,
)

MIN_LABELS = 10
"""Fewest labels that count in a stratum before anything is estimated from it."""


@dataclass(frozen=True, slots=True)
class MatrixEstimates:
    """Estimates from an error matrix, one for each class in its order."""

    overall: Estimate
    users: tuple[Estimate, ...]
    producers: tuple[Estimate | None, ...]
    shares: tuple[Estimate, ...]
    """Share of the area that each class really has."""


def estimate_matrix(sizes: ArrayLike, counts: ArrayLike) -> MatrixEstimates:
    """Estimate accuracy and area from an error matrix whose strata are the classes of the map.

    Parameters
    ----------
    sizes
        (K,) mapped area of each class, in any unit.
    counts
        (K, K) number of sample units by map class (rows) and reference class (columns); every row has some.
    """
    weights = np.asarray(sizes, float) / np.sum(sizes)
    matrix = np.asarray(counts)
    return MatrixEstimates(
        overall=add([_estimate_cell(weights, matrix, i, i) for i in range(len(weights))]),
        users=tuple(estimate_proportion(matrix[i, i], int(matrix[i].sum())) for i in range(len(weights))),
        producers=tuple(_estimate_producers(weights, matrix, j) for j in range(len(weights))),
        shares=tuple(_estimate_share(weights, matrix, j) for j in range(len(weights))),
    )


def _estimate_cell(
    weights: NDArray[np.float64], counts: NDArray[np.int64], mapped: int, true: int
) -> Estimate:
    """Estimate the share of the area that has one class in the map and one in reality (equation 4)."""
    return estimate_proportion(counts[mapped, true], int(counts[mapped].sum())).scale(float(weights[mapped]))


def _estimate_share(weights: NDArray[np.float64], counts: NDArray[np.int64], true: int) -> Estimate:
    """Estimate the share of the area that a class really has (equations 9 and 10)."""
    return add([_estimate_cell(weights, counts, mapped, true) for mapped in range(len(weights))])


def _estimate_producers(
    weights: NDArray[np.float64], counts: NDArray[np.int64], true: int
) -> Estimate | None:
    """Estimate the producer's accuracy of a class (equations 3 and 7)."""
    found = _estimate_cell(weights, counts, true, true)
    others = [_estimate_cell(weights, counts, i, true) for i in range(len(weights)) if i != true]
    missed = add(others)
    whole = found.value + missed.value
    if whole == 0:
        return None
    share = found.value / whole
    error = math.hypot((1 - share) * found.standard_error, share * missed.standard_error) / whole
    return estimate_part(found, missed, error)


def compute_sample_size(shares: Sequence[float], accuracies: Sequence[float], standard_error: float) -> int:
    """Compute how many units give the overall accuracy a standard error (equation 13, infinite population).

    Parameters
    ----------
    shares
        Share of the area of each stratum.
    accuracies
        Expected user's accuracy of each stratum.
    """
    spread = sum(share * math.sqrt(one * (1 - one)) for share, one in zip(shares, accuracies, strict=True))
    return math.ceil((spread / standard_error) ** 2)


def assess_target(target: str, strata: Sequence[StratumCounts]) -> TargetAccuracy:
    """Estimate the accuracy of one target's map, objects and changes from the labels of its strata.

    An estimate is None while one of its strata has fewer than :data:`MIN_LABELS` labels that count, unless all of its
    units are judged.
    """
    points = {one.stratum: one for one in strata if one.unit is Unit.POINT and one.size > 0}
    mapped, background = points.get(MAPPED), points.get(BACKGROUND)
    area = _estimate_area(mapped, background)
    every = [one for one in strata if one.unit is Unit.CHANGE]
    changes = [one for one in every if one.stratum != REFUTED]
    return TargetAccuracy(
        target=target,
        samples=sum(one.samples for one in strata),
        labels=sum(one.judged for one in strata),
        mapped_m2=0.0 if mapped is None else mapped.area_m2,
        users=None if mapped is None else _estimate_share_correct([mapped]),
        producers=None if area is None else area[1],
        overall=None if area is None else area[0],
        area_m2=None if area is None else area[2],
        objects=_estimate_share_correct([one for one in strata if one.unit is Unit.OBJECT]),
        changes=_estimate_share_correct(changes),
        change_kinds={
            one.stratum: found for one in every if (found := _estimate_share_correct([one])) is not None
        },
    )


def _estimate_area(
    mapped: StratumCounts | None, background: StratumCounts | None
) -> tuple[Estimate, Estimate | None, Estimate] | None:
    """Estimate overall accuracy, producer's accuracy and area in m² from the strata of points that are not empty."""
    strata = [one for one in (mapped, background) if one is not None]
    if not strata or not all(_is_enough(one) for one in strata):
        return None
    sizes = [0.0 if one is None else one.area_m2 for one in (mapped, background)]
    # a stratum without area has weight 0, whatever its row says
    rows = [
        [1, 0] if mapped is None else [mapped.correct, mapped.wrong],
        [0, 1] if background is None else [background.wrong, background.correct],
    ]
    found = estimate_matrix(sizes, rows)
    return found.overall, found.producers[0], found.shares[0].scale(sum(sizes))


def _estimate_share_correct(strata: Sequence[StratumCounts]) -> Estimate | None:
    """Estimate the share of all units of some strata that the map has right."""
    used = [one for one in strata if one.size > 0]
    if not used or not all(_is_enough(one) for one in used):
        return None
    whole = sum(one.size for one in used)
    parts = []
    for one in used:
        population = math.inf if one.unit is Unit.POINT else one.size
        share = estimate_proportion(one.correct, one.judged, population)
        parts.append(share.scale(one.size / whole))
    return add(parts)


def _is_enough(stratum: StratumCounts) -> bool:
    return stratum.judged >= MIN_LABELS or (
        stratum.unit is not Unit.POINT and stratum.judged >= stratum.size > 0
    )
