"""What one observation shows and the next ones contradict did not happen, and neither did what undoes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from shapely.affinity import translate
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from segwatch.geo.types.belief import Belief, BeliefStatus
from segwatch.geo.types.tracking import ChangeKind, TrackingStep
from tests.support.tracked_fields import LAKE, POND, START, fold, observe

SMALL, LARGE, MOVED = box(-300, -300, -200, -100), box(-300, -300, 0, -100), translate(LAKE, 60, 0)
PARTS = box(-300, -300, -210, -100), box(-190, -300, -100, -100)

Scene = tuple[BaseGeometry, ...]


def fold_scenes(scenes: Sequence[Scene], days: float = 5) -> list[TrackingStep]:
    """Fold scenes so many days apart."""
    seen = [observe(number, *shapes) for number, shapes in enumerate(scenes)]
    return fold(*(replace(one, acquired_at=START + n * timedelta(days=days)) for n, one in enumerate(seen)))


def find_newest(steps: Sequence[TrackingStep]) -> dict[tuple[int, ChangeKind], Belief]:
    """Return the newest belief of each change, by the number of the scene that raised it and its kind."""
    scenes = {step.scene_id: number for number, step in enumerate(steps)}
    return {(scenes[one.change_scene_id], one.kind): one.belief for step in steps for one in step.judgements}


@pytest.mark.parametrize(
    ("usual", "odd", "first", "second"),
    [
        ((LAKE,), (SMALL,), ChangeKind.SHRANK, ChangeKind.GREW),
        ((LAKE,), (LARGE,), ChangeKind.GREW, ChangeKind.SHRANK),
        ((LAKE,), PARTS, ChangeKind.SPLIT, ChangeKind.MERGED),
        (PARTS, (LAKE,), ChangeKind.MERGED, ChangeKind.SPLIT),
        ((LAKE,), (MOVED,), ChangeKind.MOVED, ChangeKind.MOVED),
    ],
)
def test_a_change_that_one_scene_shows_and_its_undoing_are_refuted(
    usual: Scene, odd: Scene, first: ChangeKind, second: ChangeKind
) -> None:
    steps = fold_scenes([(*usual, POND)] * 4 + [(*odd, POND)] + [(*usual, POND)] * 2)
    newest = find_newest(steps)
    assert {number: one.status for number, one in newest.items()} == {
        (4, first): BeliefStatus.REFUTED,
        (5, second): BeliefStatus.REFUTED,
    }
    # after one observation that contradicts it, it may still have happened
    assert {one.status for one in find_newest(steps[:6]).values()} == {BeliefStatus.PROVISIONAL}


@pytest.mark.parametrize("gone", [2, 3])
def test_an_object_that_was_only_missed_did_not_reappear(gone: int) -> None:
    steps = fold_scenes([(LAKE, POND)] * 6 + [(LAKE,)] * gone + [(LAKE, POND)] * 2)
    newest = find_newest(steps)
    assert newest[7, ChangeKind.DISAPPEARED].status is BeliefStatus.REFUTED
    assert newest[6 + gone, ChangeKind.REAPPEARED].status is BeliefStatus.REFUTED


@pytest.mark.parametrize("days", [1, 5, 16, 60, 365])
@pytest.mark.parametrize("empty", [1, 4])
def test_a_false_detection_of_one_scene_is_refuted_however_far_apart_scenes_are(
    days: float, empty: int
) -> None:
    steps = fold_scenes([(LAKE,)] * empty + [(LAKE, POND)] + [(LAKE,)] * 2, days)
    newest = find_newest(steps)
    assert newest[empty, ChangeKind.APPEARED].status is BeliefStatus.REFUTED
    # nor did it disappear
    assert {one.status for one in newest.values()} == {BeliefStatus.REFUTED}


# scenes some days apart: in a day, two wrong observations are about as likely as two changes
@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), st.integers(2, 5), st.integers(2, 4), st.floats(5, 60), st.booleans())
@example(4, 2, 2, 5.0, False)
def test_a_true_loss_and_a_true_growth_after_it_are_both_confirmed(
    before: int, between: int, after: int, days: float, grows_first: bool
) -> None:
    """Two observations in each state suffice: what happened is no noise because it is undone later."""
    kinds = [ChangeKind.SHRANK, ChangeKind.GREW]
    steps = fold_scenes(
        [(LAKE, POND)] * before
        + [(LARGE if grows_first else SMALL, POND)] * between
        + [(LAKE, POND)] * after,
        days,
    )
    newest = find_newest(steps)
    assert {number: one.status for number, one in newest.items()} == {
        (before, kinds[grows_first]): BeliefStatus.CONFIRMED,
        (before + between, kinds[not grows_first]): BeliefStatus.CONFIRMED,
    }


def test_a_true_reappearance_is_confirmed_once_the_object_was_gone_for_long() -> None:
    steps = fold_scenes([(LAKE, POND)] * 6 + [(LAKE,)] * 7 + [(LAKE, POND)] * 2)
    newest = find_newest(steps)
    assert newest[7, ChangeKind.DISAPPEARED].status is BeliefStatus.CONFIRMED
    assert newest[13, ChangeKind.REAPPEARED].status is BeliefStatus.CONFIRMED
