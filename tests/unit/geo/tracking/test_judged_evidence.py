"""What enters the judgement beside outlines: light, scores, spectral evidence, older observations, and resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import numpy as np
import pytest
import shapely
from shapely.affinity import translate
from shapely.geometry import MultiPolygon, Polygon, box

from segwatch.benchmarks.tracking_worlds import ORIGIN
from segwatch.geo.antimeridian import split_at_antimeridian
from segwatch.geo.crs import make_local_equal_area
from segwatch.geo.tracking.belief_model import MAX_SCORE_FACTOR, Rates, find_score_bin
from segwatch.geo.tracking.light import is_explained_by_light, measure_light
from segwatch.geo.tracking.overlay import measure
from segwatch.geo.tracking.regions import bridge, is_explained_by_movement, is_resolved
from segwatch.geo.tracking.registration import estimate_shift
from segwatch.geo.types.belief import (
    DEFAULT_CONFIDENCE,
    SCORE_BINS,
    BeliefStatus,
    RegionView,
    Shift,
    TargetCounts,
)
from segwatch.geo.types.chips import CELL_PX, Cell, Chip, ReferenceChip
from segwatch.geo.types.evidence import IndexMean, SpectralEvidence
from segwatch.geo.types.tracking import ChangeKind, TrackedObservation
from tests.support.tracked_fields import FIELD, LAKE, POND, START, beliefs, fold, observe, to_degrees

CELL = Cell("EPSG:32633", 10.0, -1, 0)
GROUND = np.random.default_rng(4).integers(40, 200, (CELL_PX, CELL_PX))
LARGER = box(-300, -300, 0, -100)


def light_up(one: TrackedObservation, brightness: float) -> TrackedObservation:
    """Let an observation show the ground darker or brighter."""
    grey = np.clip(np.rint(GROUND * brightness), 0, 255).astype(np.uint8)
    return replace(one, chips=(Chip.encode(CELL, grey, np.ones(grey.shape, bool)),))


# ---- light


@pytest.mark.parametrize(
    ("brightness", "expected"),
    [((0.9, 0.9, 0.9, 0.9), BeliefStatus.PROVISIONAL), ((0.9, 0.97, 1.04), BeliefStatus.CONFIRMED),
     ((1.0, 1.0), BeliefStatus.CONFIRMED)],
)  # fmt: skip
def test_growth_that_follows_the_light_waits_for_other_light(
    brightness: Sequence[float], expected: BeliefStatus
) -> None:
    before = [light_up(observe(n, LAKE, POND), 1.0 + 0.02 * (n % 2)) for n in range(4)]
    after = [light_up(observe(4 + n, LARGER, POND), one) for n, one in enumerate(brightness)]
    judged = beliefs(fold(*before, *after), ChangeKind.GREW)
    assert judged[-1].status is expected
    assert judged[-1].observations_for == len(brightness)
    if expected is BeliefStatus.PROVISIONAL:
        assert judged[-1].confidence < 0.5


def test_light_is_measured_on_what_both_show() -> None:
    bright, reference = (light_up(observe(0), one).chips for one in (1.1, 1.0))
    references = {CELL: ReferenceChip(reference[0], Shift())}
    light = measure_light(bright, references)
    assert light is not None
    dark, medium, high = light
    assert 4 < dark < medium < high < 20
    assert measure_light(reference, references) == (0.0, 0.0, 0.0)
    assert measure_light((), references) is None
    hidden = Chip.encode(CELL, GROUND.astype(np.uint8), np.zeros(GROUND.shape, bool))
    assert measure_light((hidden,), references) is None


def test_unknown_light_explains_nothing() -> None:
    views = [RegionView(UUID(int=n), START + n * timedelta(days=5), 1.0, float(n > 2)) for n in range(5)]
    assert not is_explained_by_light(views, 3, lambda view: view.covered_share > 0.5)
    lit = [replace(one, light=(0.0, 0.0, 9.0 * (n > 2))) for n, one in enumerate(views)]
    assert is_explained_by_light(lit, 3, lambda view: view.covered_share > 0.5)
    # a later observation shows the new state in the old light
    back = [*lit, replace(lit[-1], light=(0.0, 0.0, 0.5))]
    assert not is_explained_by_light(back, 3, lambda view: view.covered_share > 0.5)


# ---- scores and spectral evidence


def test_scores_are_neutral_until_learnt_and_stay_bounded() -> None:
    def count(true: Sequence[float], false: Sequence[float]) -> Rates:
        histograms = [
            np.histogram(one, SCORE_BINS, (0, 1))[0].astype(float).tolist() for one in (true, false)
        ]
        return Rates.estimate(
            TargetCounts("water", true_scores=tuple(histograms[0]), false_scores=tuple(histograms[1])), 10.0
        )

    assert [count([], []).weigh_score(score) for score in (0.0, 0.55, 1.0)] == [1.0] * 3
    assert count([0.9] * 50, []).weigh_score(0.9) == pytest.approx(1.0, abs=0.02)
    told = count([0.9] * 80 + [0.55] * 20, [0.55] * 60)
    assert 1 < told.weigh_score(0.9) <= MAX_SCORE_FACTOR
    assert 1 / MAX_SCORE_FACTOR <= told.weigh_score(0.55) < 1
    same = count([0.55, 0.95] * 50, [0.55, 0.95] * 20)
    assert same.weigh_score(0.95) == pytest.approx(1.0, abs=0.02)
    assert told.weigh_score(None) == 1.0
    assert [find_score_bin(one) for one in (-0.1, 0.0, 0.999, 1.0)] == [0, 0, SCORE_BINS - 1, SCORE_BINS - 1]


def test_a_series_learns_its_scores() -> None:
    false = [translate(box(0, 0, 60, 60), 100 * n, 500) for n in range(4)]
    scenes = [observe(0, LAKE), observe(1, LAKE), *(observe(2 + 2 * n, LAKE) for n in range(5))]
    scenes += [
        replace(
            observe(3 + 2 * n, LAKE, one),
            detections=(observe(0, LAKE).detections[0], observe(0, one, score=0.55).detections[0]),
        )
        for n, one in enumerate(false)
    ]
    steps = fold(*sorted(scenes, key=lambda one: one.acquired_at))
    (counts,) = steps[-1].counts
    assert counts.true_scores[9] > 5
    assert counts.false_scores[5] > 2
    assert Rates.estimate(counts, 10.0).weigh_score(0.55) < 1 < Rates.estimate(counts, 10.0).weigh_score(0.9)


def test_spectral_evidence_confirms_a_single_observation() -> None:
    empty = [observe(number, LAKE) for number in range(16)]
    seen = observe(24, LAKE, POND)
    water = SpectralEvidence((IndexMean("mndwi", 0.6, -0.4),), 100, 100)
    ground = SpectralEvidence((IndexMean("mndwi", -0.6, -0.4),), 100, 100)
    (alone,) = beliefs(fold(*empty, seen), ChangeKind.APPEARED)
    judged = {}
    for name, evidence in {"water": water, "ground": ground}.items():
        lake, pond = seen.detections
        told = replace(seen, detections=(lake, replace(pond, evidence=evidence)))
        (judged[name],) = beliefs(fold(*empty, told), ChangeKind.APPEARED)
    assert alone.status is BeliefStatus.PROVISIONAL
    assert judged["water"].confidence >= DEFAULT_CONFIDENCE
    assert judged["water"].status is BeliefStatus.CONFIRMED
    assert judged["ground"].status is BeliefStatus.PROVISIONAL
    assert judged["ground"].confidence < alone.confidence < judged["water"].confidence


# ---- older observations, and what waits


def test_what_older_observations_showed_counts_for_a_disappearance() -> None:
    there = [observe(number, LAKE, POND) for number in range(6)]
    half = FIELD.difference(box(240, 150, 400, 400))
    hidden = [observe(6 + number, LAKE, clear=half) for number in range(9)]
    steps = fold(*there, *hidden, observe(15, LAKE), observe(16, LAKE))
    (gone,) = beliefs(steps[-1:], ChangeKind.DISAPPEARED)
    assert gone.status is BeliefStatus.CONFIRMED


def test_a_change_that_is_sure_at_once_stays_open_until_a_second_observation_confirms_it() -> None:
    wider = box(-300, -300, -70, -100)
    others = [box(x, 500, x + 100, 600) for x in range(-900, 900, 150)]
    before = [observe(number, LAKE, *others) for number in range(9)]
    steps = fold(*before, *(observe(50 + number, wider, *others) for number in range(2)))
    once, twice = beliefs(steps, ChangeKind.GREW)
    assert once.confidence >= 0.94
    assert once.status is BeliefStatus.PROVISIONAL
    assert twice.status is BeliefStatus.CONFIRMED


# ---- resolution and registration


def test_what_pixels_do_not_resolve_is_not_confirmed() -> None:
    gap = to_degrees(box(0, 0, 8, 200))
    assert not is_resolved(ChangeKind.SPLIT, gap, 10.0, 0.0)
    assert is_resolved(ChangeKind.SPLIT, to_degrees(box(0, 0, 30, 200)), 10.0, 0.0)
    pond = to_degrees(box(0, 0, 40, 40))
    assert not is_resolved(ChangeKind.APPEARED, pond, 10.0, 1500.0)
    assert is_resolved(ChangeKind.APPEARED, pond, 10.0, 500.0)
    assert is_resolved(ChangeKind.APPEARED, pond, 10.0, 0.0)


def test_movement_behind_a_cloud_is_no_growth() -> None:
    footprint = to_degrees(FIELD.difference(box(-400, -400, -250, 0)))
    before, moved, larger = (to_degrees(one) for one in (LAKE, translate(LAKE, 20, 0), LAKE.buffer(20)))
    assert is_explained_by_movement(before, moved, footprint, 10.0)
    assert not is_explained_by_movement(before, larger, footprint, 10.0)
    assert not is_explained_by_movement(before, to_degrees(LARGER), footprint, 10.0)


def test_the_ground_between_parts_is_where_they_are_nearest() -> None:
    parts = to_degrees(MultiPolygon([box(0, 0, 100, 100), box(130, 0, 200, 100)]))
    area_m2, _ = measure(bridge(parts, 10.0))
    assert area_m2 == pytest.approx(30 * 20 + np.pi * 10**2 / 2, rel=0.05)
    assert bridge(to_degrees(LAKE), 10.0).is_empty
    # of parts on both sides of 180 degrees, too
    west, _, east, _ = parts.bounds
    edge = west + (east - west) * 115 / 200  # between the parts
    moved = split_at_antimeridian(shapely.transform(parts, lambda one: one + np.array([180 - edge, 0.0])))
    assert len({part.centroid.x > 0 for part in shapely.get_parts(moved)}) == 2
    across, _ = measure(bridge(moved, 10.0))
    assert across == pytest.approx(area_m2, rel=0.05)


def test_a_shift_that_a_significant_minority_shows_is_found() -> None:
    lakes = [box(x, y, x + 60, y + 60) for x in range(-900, 900, 300) for y in range(-900, 900, 450)]
    steps = fold(observe(0, *lakes))
    rng = np.random.default_rng(1)
    # a quarter keep their shape; the others were flooded each in its own way
    seen = [
        translate(one if n % 4 == 0 else one.buffer(float(rng.uniform(4, 12))), 30, 0)
        for n, one in enumerate(lakes)
    ]
    crs = make_local_equal_area(ORIGIN)
    shift = estimate_shift(observe(1, *seen), steps[0].states, Polygon(), crs, 10.0)
    assert shift.source == "outlines"
    assert (shift.east_m, shift.north_m) == pytest.approx((-30.0, 0.0), abs=0.3)
    assert shift.quality < 0.3
