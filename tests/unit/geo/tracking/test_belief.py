"""Beliefs of objects and changes: local, and right about what observations tell."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import numpy as np
import pytest
from shapely.affinity import translate
from shapely.geometry import MultiPolygon, Polygon, box

from segwatch.benchmarks import tracking_belief
from segwatch.benchmarks.tracking_worlds import ORIGIN, PERFECT, Noise
from segwatch.geo.crs import make_local_equal_area
from segwatch.geo.tracking.belief_model import Chain, Rates, judge_existence, smooth_turn
from segwatch.geo.tracking.registration import UNCERTAIN, estimate_shift, move_all, move_observation
from segwatch.geo.types.belief import (
    MAX_PAST,
    MAX_VIEWS,
    BeliefStatus,
    Evidence,
    RegionView,
    Shift,
    TargetCounts,
)
from segwatch.geo.types.tracking import (
    ChangeKind,
)
from tests.support.tracked_fields import (
    FIELD,
    LAKE,
    POND,
    START,
    beliefs,
    fold,
    observe,
    to_degrees,
)


def test_one_detection_is_provisional_and_a_second_confirms() -> None:
    empty = [observe(number, LAKE) for number in range(4)]
    steps = fold(*empty, observe(4, LAKE, POND), observe(5, LAKE, POND))
    first, second = beliefs(steps, ChangeKind.APPEARED)
    assert first.status is BeliefStatus.PROVISIONAL
    assert (first.observations_for, first.observations_against) == (1, 0)
    assert second.status is BeliefStatus.CONFIRMED
    assert second.confidence > 0.9
    judgement = steps[5].judgements[0]
    assert empty[1].acquired_at <= judgement.earliest <= empty[3].acquired_at
    assert judgement.latest == steps[4].changes[0].valid_at
    assert not judgement.is_open


def test_a_detection_that_nothing_confirms_is_refuted() -> None:
    empty = [observe(number, LAKE) for number in range(4)]
    after = [observe(number, LAKE) for number in range(5, 8)]
    steps = fold(*empty, observe(4, LAKE, POND), *after)
    assert beliefs(steps, ChangeKind.APPEARED)[-1].status is BeliefStatus.REFUTED
    # nor did something disappear that hardly was there
    gone = beliefs(steps, ChangeKind.DISAPPEARED)
    assert gone
    assert {one.status for one in gone} == {BeliefStatus.REFUTED}


def test_an_object_that_was_seen_for_long_and_is_missed_for_long_disappeared() -> None:
    there = [observe(number, LAKE, POND) for number in range(5)]
    steps = fold(*there, *(observe(number, LAKE) for number in range(5, 9)))
    assert beliefs(steps, ChangeKind.DISAPPEARED)[-1].status is BeliefStatus.CONFIRMED
    states = [one for step in steps for one in step.states if one.area_m2 < 20_000]
    assert states[3].belief.confidence > 0.99
    assert states[-1].belief.confidence < states[3].belief.confidence


def test_growth_needs_two_observations() -> None:
    larger = box(-300, -300, 0, -100)
    before = [observe(number, LAKE, POND) for number in range(4)]
    steps = fold(*before, observe(4, larger, POND), observe(5, larger, POND))
    once, twice = beliefs(steps, ChangeKind.GREW)
    assert once.status is BeliefStatus.PROVISIONAL
    assert twice.status is BeliefStatus.CONFIRMED
    back = fold(*before, observe(4, larger, POND), observe(5, LAKE, POND), observe(6, LAKE, POND))
    assert beliefs(back, ChangeKind.GREW)[-1].status is not BeliefStatus.CONFIRMED


def test_parts_that_no_observation_showed_apart_do_not_merge() -> None:
    left, right, whole = box(-300, 0, -100, 100), box(100, 0, 250, 100), box(-300, 0, 250, 100)
    cloud = box(-100, -1000, 100, 1000)
    steps = fold(
        observe(0, left, right, clear=FIELD.difference(cloud)),
        observe(1, left, right, clear=FIELD.difference(cloud)),
        observe(2, whole),
    )
    assert not [one for one in steps[2].changes if one.kind is ChangeKind.MERGED and not one.baseline]
    apart = fold(observe(0, left, right), observe(1, left, right), observe(2, whole), observe(3, whole))
    assert [one.kind for one in apart[2].changes] == [ChangeKind.MERGED] * 2
    assert {one.status for one in beliefs(apart[3:], ChangeKind.MERGED)} == {BeliefStatus.CONFIRMED}


def test_a_part_missed_after_a_split_is_told_as_split() -> None:
    whole, large, small = box(-300, 0, 300, 100), box(-300, 0, 100, 100), box(150, 0, 300, 100)
    before = [observe(number, whole, LAKE) for number in range(3)]
    steps = fold(
        *before, observe(3, large, LAKE), observe(4, large, small, LAKE), observe(5, large, small, LAKE)
    )
    assert [one.kind for one in steps[3].changes] == [ChangeKind.SHRANK]
    late = steps[4].changes
    assert [one.kind for one in late] == [ChangeKind.SPLIT] * 2
    assert {one.valid_at for one in late} == {START + 3 * timedelta(days=5)}
    assert beliefs(steps, ChangeKind.SHRANK)[-1].status is BeliefStatus.REFUTED
    assert beliefs(steps, ChangeKind.SPLIT)[-1].status is BeliefStatus.CONFIRMED


def test_a_part_that_new_ground_joins_to_its_object_leaves_no_track_without_a_detection() -> None:
    """Two parts of an object that reach ground seen for the first time may meet there: nothing was split."""
    known = box(-1000, -1000, -100, 1000)
    whole = box(-400, 0, -100, 600)
    upper = box(-400, 300, -100, 600)
    lower = box(-400, 0, -100, 250).union(box(-100, 0, 0, 250))
    steps = fold(
        observe(0, whole, LAKE, clear=known),
        observe(1, whole, LAKE, clear=known),
        observe(2, upper, lower, LAKE),
    )
    old, lake = steps[0].detection_tracks
    last = steps[2]
    assert last.detection_tracks == (old, old, lake)
    assert {one.track_id for one in last.states} == {old, lake}
    assert {one.track_id for one in last.changes} <= {old}
    assert not [one for one in last.changes if one.kind is ChangeKind.SPLIT]
    assert not last.lineage


@pytest.mark.parametrize("pixels", [0.5, 1.0, 2.0, 3.0])
def test_a_moved_scene_raises_nothing(pixels: float) -> None:
    lakes = [box(x, y, x + 90 + x / 20, y + 120) for x in (-800, -400, 0, 400) for y in (-600, 200)]
    moved = [translate(one, 10 * pixels, 10 * pixels) for one in lakes]
    steps = fold(*(observe(number, *lakes) for number in range(3)), observe(3, *moved), observe(4, *lakes))
    assert steps[3].shift.source == "outlines"
    assert (steps[3].shift.east_m, steps[3].shift.north_m) == pytest.approx(
        (-10 * pixels, -10 * pixels), abs=0.2
    )
    assert not [change for step in steps for change in step.changes if not change.baseline]
    assert steps[4].shift.is_zero


def test_a_shift_moves_footprint_and_detections_and_stops_at_the_antimeridian() -> None:
    one = observe(0, LAKE)
    shift = Shift(10.0, -20.0, 1.0, "pixels")
    moved = move_observation(one, shift)
    assert moved.footprint.bounds == pytest.approx(to_degrees(box(-990, -1020, 1010, 980)).bounds, abs=2e-6)
    assert moved.detections[0].area_m2 == one.detections[0].area_m2
    split = MultiPolygon([box(179.9, 0, 180, 1), box(-180, 0, -179.9, 1)])
    assert move_all([split], shift)[0].bounds[::2] == (-180, 180)
    assert move_all([Polygon()], shift)[0].is_empty
    assert move_all([LAKE], Shift())[0] is LAKE


def test_outlines_that_do_not_agree_tell_nothing_about_shapes() -> None:
    lakes = [box(x, y, x + 100, y + 100) for x in (-800, -400, 0, 400) for y in (-600, 200)]
    steps = fold(observe(0, *lakes))
    odd = [translate(one, 30 * (-1) ** number * (number % 3)) for number, one in enumerate(lakes)]
    crs = make_local_equal_area(ORIGIN)
    shift = estimate_shift(observe(1, *odd), steps[0].states, Polygon(), crs, 10.0)
    assert shift == UNCERTAIN
    assert estimate_shift(observe(1, *odd[:2]), steps[0].states, Polygon(), crs, 10.0) == Shift()


def test_evidence_stays_bounded() -> None:
    shared = [observe(number, LAKE) for number in range(20)]
    steps = fold(*shared, *(observe(number, LAKE, POND, score=0.5) for number in range(20, 24)))
    assert max(len(one.views) for step in steps for one in step.judgements) <= MAX_PAST + 4 <= MAX_VIEWS


def test_evidence_and_counts_survive_json() -> None:
    view = RegionView(UUID(int=1), START, 0.5, 0.25, None, 0.7)
    assert RegionView.from_json(view.to_json()) == view
    evidence = Evidence(LAKE, True, START, POND, (POND,), True, 0.5)
    assert Evidence.from_json(evidence.to_json()) == evidence
    counts = TargetCounts("water", hits=3.5, jitter_m2=2.0)
    assert TargetCounts.from_json(counts.to_json()) == counts
    assert TargetCounts.from_json({"target": "water"}) == TargetCounts("water")


def make_views(*covered: float) -> list[RegionView]:
    return [RegionView(UUID(int=n), START + n * timedelta(days=5), 1.0, one) for n, one in enumerate(covered)]


def test_the_chain_gives_the_posterior_of_all_paths() -> None:
    """Compare forward and backward passes with the sum over all sequences of states."""
    rates = Rates.estimate(TargetCounts("water"), 10.0)
    chain = Chain(0.2, 0.01, 0.02)
    views = make_views(0, 0, 1, 0, 1)
    likelihoods = judge_existence(views, rates, 0.01)
    step = chain.advance(5.0)
    total = turned = 0.0
    for path in np.ndindex(*[2] * 5):
        weight = (0.8, 0.2)[path[0]] * likelihoods[0, path[0]]
        for index in range(1, 5):
            weight *= step[path[index - 1], path[index]] * likelihoods[index, path[index]]
        total += weight
        turned += weight * (path[2] == 1 and 0 in path[:2])
    turn = smooth_turn(views, likelihoods, chain, to_covered=True, raised=2)
    assert turn.confidence == pytest.approx(turned / total)
    # it may have been there and missed the second time
    assert (turn.earliest, turn.latest) == (views[0].acquired_at, views[2].acquired_at)


def test_rates_follow_the_counts() -> None:
    before = Rates.estimate(TargetCounts("water"), 10.0)
    assert before.detection == pytest.approx(0.9)
    shown = TargetCounts("water", hits=50, misses=50, false_alarms=30, km2_scenes=10)
    after = Rates.estimate(shown, 10.0)
    assert after.detection == pytest.approx(0.54, abs=0.01)
    assert after.false_alarms > before.false_alarms
    # a pixel ten times as large makes densities a hundred times as small
    assert Rates.estimate(TargetCounts("water"), 100.0).false_alarms == pytest.approx(
        before.false_alarms / 100
    )


def test_confirmed_changes_of_a_noisy_world_are_right() -> None:
    figures = tracking_belief.measure(1, noises=[Noise()], first_seed=3)
    assert figures["confirmed_precision"] >= 0.93
    assert figures["confirmed_recall"] >= 0.8
    assert figures["confirmed_delay_scenes"] <= 1.5
    assert figures["brier"] < figures["brier_constant"] / 2


@pytest.mark.parametrize("misses", [1, 2, 3, 6])
def test_a_confirmed_change_is_likelier_than_not_whatever_follows(misses: int) -> None:
    """A short-lived object: what follows its confirmation takes the confidence back."""
    empty = [observe(number, LAKE) for number in range(4)]
    there = [observe(number, LAKE, POND) for number in (4, 5)]
    steps = fold(*empty, *there, *(observe(number, LAKE) for number in range(6, 6 + misses)))
    for one in (judgement.belief for step in steps for judgement in step.judgements):
        assert one.status is not BeliefStatus.CONFIRMED or one.confidence >= 0.5, one


def test_perfect_observations_leave_no_doubt() -> None:
    figures = tracking_belief.measure(1, noises=[replace(PERFECT, cloud=0.0)], first_seed=5)
    assert figures["confirmed_recall"] >= 0.95
