"""Precision, recall and IoU of maps and baselines, from points and from judged objects."""

from __future__ import annotations

import numpy as np
import pytest

from segwatch.geo.assessment.scores import (
    PointCell,
    estimate_everything,
    estimate_map,
    estimate_objects,
    estimate_points,
    find_shortage,
)

AREAS = {"mapped": 30.0, "background": 70.0}


def cells(mapped: tuple[int, int], background: tuple[int, int]) -> list[PointCell]:
    """Points of a map: numbers of true and false ones inside and outside of what it marks."""
    return [
        PointCell(name, name == "mapped", true)
        for name, counts in (("mapped", mapped), ("background", background))
        for true, count in ((True, counts[0]), (False, counts[1]))
        for _ in range(count)
    ]


def test_points_are_weighted_by_the_area_of_their_stratum() -> None:
    scores, share = estimate_map(cells((16, 4), (2, 18)), AREAS)
    # 0.8 of 30 is true, and 0.1 of 70 is missed
    assert scores.precision is not None
    assert scores.recall is not None
    assert scores.iou is not None
    assert scores.precision.value == pytest.approx(0.8)
    assert scores.recall.value == pytest.approx(24 / 31)
    assert scores.iou.value == pytest.approx(24 / 37)
    assert share.value == pytest.approx(0.31)
    for one in (scores.precision, scores.recall, scores.iou):
        assert 0 <= one.low < one.value < one.high <= 1
    everything = estimate_everything(share)
    assert everything.iou is not None
    assert everything.iou.value == pytest.approx(0.31)
    # the same points give the same figures without the closed form
    drawn = estimate_points(cells((16, 4), (2, 18)), AREAS)
    for exact, sampled in zip(
        (scores.precision, scores.recall, scores.iou), (drawn.precision, drawn.recall, drawn.iou), strict=True
    ):
        assert sampled is not None
        assert sampled.value == pytest.approx(exact.value)
        assert sampled.low < sampled.value < sampled.high


def test_intervals_of_iou_cover_the_truth() -> None:
    rng, covered = np.random.default_rng(1), 0
    for _ in range(300):
        inside, outside = int(rng.binomial(40, 0.8)), int(rng.binomial(40, 0.1))
        scores, _ = estimate_map(cells((inside, 40 - inside), (outside, 40 - outside)), AREAS)
        assert scores.iou is not None
        covered += scores.iou.low <= 24 / 37 <= scores.iou.high
    assert covered >= 0.92 * 300


def test_a_map_that_marks_nothing_has_no_precision() -> None:
    scores, share = estimate_map(cells((0, 0), (5, 15)), {"mapped": 0.0, "background": 100.0})
    assert scores.precision is None
    assert scores.recall is not None
    assert scores.recall.value == 0
    assert share.value == pytest.approx(0.25)


def test_too_few_points_are_named() -> None:
    assert find_shortage(cells((16, 4), (2, 18)), AREAS) is None
    words = find_shortage(cells((16, 4), (2, 3)), AREAS)
    assert words == "5 labelled points in the stratum background, at least 10 are needed"


def test_objects_are_compared_by_area() -> None:
    scores = estimate_objects([(10.0, 0.0, 5.0), (0.0, 10.0, 0.0), (20.0, 0.0, 0.0)])
    assert scores.precision is not None
    assert scores.iou is not None
    assert scores.precision.value == pytest.approx(30 / 40)
    assert scores.iou.value == pytest.approx(30 / 45)
    assert scores.iou.low < scores.iou.value < scores.iou.high
