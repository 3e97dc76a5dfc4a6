"""Accuracy and area of Olofsson et al. (2014), section 5, to the printed digits; intervals of small samples."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segwatch.geo.assessment.estimators import (
    MIN_LABELS,
    assess_target,
    compute_sample_size,
    estimate_matrix,
)
from segwatch.geo.assessment.intervals import Z, add, estimate_part, estimate_proportion
from segwatch.geo.types.assessment import BACKGROUND, MAPPED, OBJECTS, REFUTED, StratumCounts, Unit

#: Deforestation, forest gain, stable forest, stable non-forest: mapped pixels of 30 m; error matrix, map x truth.
MAPPED_PIXELS = (200_000, 150_000, 3_200_000, 6_450_000)
COUNTS = ((66, 0, 5, 4), (0, 55, 8, 12), (1, 0, 153, 11), (2, 1, 9, 313))
HECTARES = 10_000_000 * 0.09


def margin(error: float) -> float:
    return 1.96 * error


def test_the_worked_example_gives_the_printed_accuracies() -> None:
    found = estimate_matrix(MAPPED_PIXELS, COUNTS)
    users = [(round(one.value, 2), round(margin(one.standard_error), 2)) for one in found.users]
    assert users == [(0.88, 0.07), (0.73, 0.10), (0.93, 0.04), (0.96, 0.02)]
    assert [round(one.value, 2) for one in found.producers if one] == [0.75, 0.85, 0.93, 0.96]
    first = found.producers[0]
    assert first is not None
    assert round(margin(first.standard_error), 2) == 0.21
    assert (round(found.overall.value, 2), round(margin(found.overall.standard_error), 2)) == (0.95, 0.02)


def test_the_worked_example_gives_the_printed_areas() -> None:
    found = estimate_matrix(MAPPED_PIXELS, COUNTS)
    areas = [one.scale(HECTARES) for one in found.shares]
    hectares = [(round(one.value), round(margin(one.standard_error))) for one in areas]
    assert hectares == [(21_158, 6_158), (11_686, 3_756), (285_770, 15_510), (581_386, 16_282)]
    pixels = found.shares[0].scale(10_000_000)
    assert (round(pixels.value), round(margin(pixels.standard_error))) == (235_086, 68_418)
    assert round(found.shares[0].standard_error, 4) == 0.0035


def test_the_worked_example_needs_641_samples() -> None:
    shares = [one / sum(MAPPED_PIXELS) for one in MAPPED_PIXELS]
    assert compute_sample_size(shares, (0.7, 0.6, 0.9, 0.95), 0.01) == 641


def test_every_interval_contains_its_estimate() -> None:
    found = estimate_matrix(MAPPED_PIXELS, COUNTS)
    for one in (found.overall, *found.users, *found.producers, *found.shares):
        assert one is not None
        assert 0 <= one.low <= one.value <= one.high <= 1


def test_wilson_gives_the_published_interval() -> None:
    """Newcombe (1998), table I: 81 of 263, and 0 of 20."""
    many, none = estimate_proportion(81, 263), estimate_proportion(0, 20)
    assert (round(many.low, 4), round(many.high, 4)) == (0.2553, 0.3662)
    assert (round(none.low, 4), round(none.high, 4)) == (0.0, 0.1611)


def test_a_census_has_no_uncertainty() -> None:
    whole = estimate_proportion(7, 10, population=10)
    assert (whole.value, whole.low, whole.high, whole.standard_error) == (0.7, 0.7, 0.7, 0.0)
    assert (
        estimate_proportion(7, 10, population=20).high
        < estimate_proportion(7, 10, population=1000).high
        < estimate_proportion(7, 10).high
    )


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 60), st.integers(1, 60))
def test_intervals_of_sums_and_parts_are_in_order(hits: int, others: int, more: int, rest: int) -> None:
    one = estimate_proportion(hits, hits + more).scale(0.3)
    two = estimate_proportion(others, others + rest).scale(0.7)
    both = add([one, two])
    assert -1e-12 <= both.low <= both.value <= both.high <= 1 + 1e-12
    part = estimate_part(one, two, 0.0)
    if hits + others == 0:
        assert part is None
    else:
        assert part is not None
        assert 0 <= part.low <= part.value <= part.high <= 1


def counts(
    stratum: str, unit: Unit, size: float, correct: int, wrong: int, unclear: int = 0
) -> StratumCounts:
    return StratumCounts(
        "water", stratum, unit, size, size * 100, correct + wrong + unclear, correct, wrong, unclear
    )


def test_a_target_is_assessed_as_a_map_of_two_classes() -> None:
    strata = [counts(MAPPED, Unit.POINT, 1000, 45, 5, 3), counts(BACKGROUND, Unit.POINT, 9000, 57, 3)]
    found = assess_target("water", strata)
    wanted = estimate_matrix((1000, 9000), ((45, 5), (3, 57)))
    assert (found.users, found.producers, found.overall) == (
        wanted.users[0],
        wanted.producers[0],
        wanted.overall,
    )
    assert found.area_m2 == wanted.shares[0].scale(1_000_000)
    assert found.mapped_m2 == 100_000
    assert (found.samples, found.labels) == (113, 110)


def test_changes_are_weighted_by_their_kinds_and_refuted_ones_count_apart() -> None:
    kinds = [
        counts("appeared", Unit.CHANGE, 900, 20, 20),
        counts("grew", Unit.CHANGE, 100, 20, 0),
        counts(REFUTED, Unit.CHANGE, 300, 18, 2),
    ]
    found = assess_target("water", [*kinds, counts(OBJECTS, Unit.OBJECT, 400, 30, 10)])
    assert found.changes is not None
    assert found.changes.value == pytest.approx(0.9 * 0.5 + 0.1 * 1.0)
    assert found.change_kinds[REFUTED].value == 0.9
    assert found.objects is not None
    assert found.objects.value == 0.75


def test_nothing_is_estimated_from_few_labels_but_a_census() -> None:
    few = MIN_LABELS - 1
    found = assess_target(
        "water",
        [
            counts(MAPPED, Unit.POINT, 1000, few, 0),
            counts(BACKGROUND, Unit.POINT, 9000, 50, 0),
            counts(OBJECTS, Unit.OBJECT, 40, few, 0),
            counts("appeared", Unit.CHANGE, 3, 2, 1),
        ],
    )
    assert (found.users, found.overall, found.area_m2, found.objects) == (None, None, None, None)
    assert found.changes is not None
    assert [found.changes.low, found.changes.high] == pytest.approx([2 / 3, 2 / 3])


def test_a_map_without_the_target_still_gives_its_area() -> None:
    found = assess_target(
        "water", [counts(MAPPED, Unit.POINT, 0, 0, 0), counts(BACKGROUND, Unit.POINT, 9000, 95, 5)]
    )
    assert found.users is None
    assert found.area_m2 is not None
    assert found.area_m2.value == pytest.approx(0.05 * 900_000)
    assert found.producers is not None
    assert found.producers.value == 0


def test_the_quantile_is_that_of_the_paper() -> None:
    assert Z == 1.96
    assert math.isclose(estimate_proportion(50, 101).standard_error, 0.05, rel_tol=1e-3)


@pytest.mark.parametrize(("population", "size"), [(8, 4), (9, 7), (6, 2)])
def test_squared_standard_errors_of_all_samples_average_to_the_true_variance(
    population: int, size: int
) -> None:
    units = [1, 1, 1] + [0] * (population - 3)
    made = [estimate_proportion(sum(one), size, population) for one in combinations(units, size)]
    variance = np.var([one.value for one in made])
    assert np.mean([one.standard_error**2 for one in made]) == pytest.approx(variance)
