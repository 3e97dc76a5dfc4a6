"""A scene whose outlines contradict each other tells nothing about shapes, and raises no alert about them."""

from __future__ import annotations

from collections.abc import Sequence

from shapely.affinity import translate
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from segwatch.geo.tracking.alert_rules import list_judged_changes, match_changes
from segwatch.geo.tracking.registration import UNCERTAIN
from segwatch.geo.types.belief import BeliefStatus
from segwatch.geo.types.tracking import ChangeKind, TrackingStep
from segwatch.geo.types.watch import AlertRule, AlertStatus
from tests.support.tracked_fields import fold, observe

LAKES = [box(x, y, x + 100, y + 100) for x in (-800, -400, 0, 400) for y in (-600, 200)]
#: Each lies elsewhere by up to 60 m, and the first has grown, too.
NOISY = [translate(one, 30 * (-1) ** number * (number % 3)) for number, one in enumerate(LAKES)]
NOISY[0] = box(-800, -600, -640, -500)
#: That lake alone has grown.
GROWN = [NOISY[0], *LAKES[1:]]
FIRST_EVIDENCE = AlertRule("all", tuple(ChangeKind), status=AlertStatus.PROVISIONAL, confidence=0.0)


def fold_after_quiet(*scenes: Sequence[BaseGeometry]) -> list[TrackingStep]:
    return fold(*(observe(number, *shapes) for number, shapes in enumerate([*[LAKES] * 4, *scenes])))


def count_alerts(steps: Sequence[TrackingStep]) -> list[int]:
    """Count the alerts of a rule that asks for the first evidence, by scene."""
    return [len(match_changes([FIRST_EVIDENCE], one)) for one in list_judged_changes(steps)]


def test_a_noisy_scene_raises_no_alert_and_neither_does_the_next_quiet_one() -> None:
    steps = fold_after_quiet(NOISY, LAKES, LAKES, LAKES)
    assert steps[4].shift == UNCERTAIN
    assert steps[4].changes
    assert {one.belief.observations_for for one in steps[4].judgements} == {0}
    assert count_alerts(steps) == [0] * 8
    newest = {(one.change_scene_id, one.track_id, one.kind): one for step in steps for one in step.judgements}
    assert {one.belief.status for one in newest.values()} == {BeliefStatus.REFUTED}


def test_what_a_noisy_scene_raises_alerts_once_a_quiet_one_shows_it() -> None:
    steps = fold_after_quiet(NOISY, GROWN, GROWN)
    assert count_alerts(steps)[:5] == [0] * 5
    grown = steps[4].detection_tracks[0]
    matched = [
        (scene, found.change.kind)
        for scene, changes in enumerate(list_judged_changes(steps))
        for found, _ in match_changes([FIRST_EVIDENCE], changes)
        if found.change.track_id == grown
    ]
    # the scene after the noisy one is compared with its outlines, and agrees with them as little
    assert steps[5].shift == UNCERTAIN != steps[6].shift
    assert matched == [(6, ChangeKind.GREW)]


def test_a_noisy_scene_still_shows_that_an_object_is_new() -> None:
    steps = fold_after_quiet([*NOISY, box(600, 600, 700, 700)])
    assert steps[4].shift == UNCERTAIN
    assert count_alerts(steps) == [0] * 4 + [1]
