"""Which judgements of a change satisfy a rule."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from shapely.geometry import box

from segwatch.geo.tracking.alert_rules import is_sure_enough, list_judged_changes, match_changes
from segwatch.geo.types.belief import Belief, BeliefStatus, Evidence
from segwatch.geo.types.tracking import Change, ChangeKind, Judgement, OpenChange, TrackingStep
from segwatch.geo.types.watch import AlertRule, AlertStatus

DAY = datetime(2024, 1, 1, tzinfo=UTC)
LAKE = box(10, 50, 10.01, 50.01)
GREW = Change(UUID(int=1), ChangeKind.GREW, "water", DAY, 1e4, 2e4, LAKE, None, 0.8)
MOVED = Change(UUID(int=2), ChangeKind.MOVED, "water", DAY, 1e4, 1e4, None, None, 0.8)
SCENES = [UUID(int=100 + number) for number in range(3)]
PROVISIONAL, CONFIRMED, REFUTED = BeliefStatus


def rule(status: str = "provisional", confidence: float = 0.0) -> AlertRule:
    return AlertRule("r", tuple(ChangeKind), status=AlertStatus(status), confidence=confidence)


def judge(change: Change, status: BeliefStatus, confidence: float) -> Judgement:
    evidence = Evidence(LAKE, True, DAY) if status is PROVISIONAL else None
    belief = Belief(confidence, status, 1, 0)
    return Judgement(SCENES[0], change.track_id, change.kind, belief, DAY, DAY, (), evidence)


def step(number: int, changes: tuple[Change, ...], *judgements: Judgement) -> TrackingStep:
    return TrackingStep(UUID(int=number), SCENES[number], (), changes, (), (), judgements=judgements)


@pytest.mark.parametrize(
    ("asked", "status", "confidence", "enough"),
    [
        (rule(), PROVISIONAL, 0.1, True),
        (rule(), CONFIRMED, 0.9, True),
        (rule(), REFUTED, 0.0, False),
        (rule("provisional", 0.5), PROVISIONAL, 0.4, False),
        (rule("provisional", 0.5), PROVISIONAL, 0.5, True),
        (rule("provisional", 0.5), CONFIRMED, 0.9, True),
        (rule("confirmed", 0.8), PROVISIONAL, 0.79, False),
        (rule("confirmed", 0.8), CONFIRMED, 0.8, True),
        (rule("confirmed", 0.95), CONFIRMED, 0.9, False),
    ],
)
def test_a_rule_gets_the_status_and_confidence_that_it_asks_for(
    asked: AlertRule, status: BeliefStatus, confidence: float, enough: bool
) -> None:
    assert is_sure_enough(asked, GREW, Belief(confidence, status, 1)) == enough


def test_a_change_that_no_observation_shows_yet_alerts_no_rule() -> None:
    assert not is_sure_enough(rule(), GREW, Belief(0.5, PROVISIONAL, observations_for=0))


def test_what_is_not_judged_alerts_rules_that_ask_for_nothing_and_the_baseline_is_never_judged() -> None:
    baseline = Change(UUID(int=3), ChangeKind.APPEARED, "water", DAY, 0, 1e4, LAKE, None, 0.8, baseline=True)
    assert is_sure_enough(rule(), GREW, None)
    assert not is_sure_enough(rule("provisional", 0.1), GREW, None)
    assert not is_sure_enough(rule("confirmed", 0.0), GREW, None)
    assert is_sure_enough(rule("confirmed", 0.9), baseline, None)


def test_later_observations_judge_earlier_changes_again() -> None:
    steps = [
        step(0, (GREW, MOVED), judge(GREW, PROVISIONAL, 0.5), judge(MOVED, PROVISIONAL, 0.5)),
        step(1, ()),
        step(2, (), judge(GREW, CONFIRMED, 0.9)),
    ]
    listed = list_judged_changes(steps)
    assert [[(one.change.kind.value, one.scene_id == SCENES[0]) for one in some] for some in listed] == [
        [("grew", True), ("moved", True)],
        [],
        [("grew", True)],
    ]
    sure = rule("confirmed", 0.8)
    assert [[one.change for one, _ in match_changes([sure], some)] for some in listed] == [[], [], [GREW]]
    fast = rule()
    assert [len(match_changes([fast], some)) for some in listed] == [2, 0, 0], "it was enough before"


def test_changes_that_were_open_before_lie_where_they_did() -> None:
    before = [OpenChange(one, SCENES[0], judge(one, PROVISIONAL, 0.5), LAKE) for one in (GREW, MOVED)]
    (listed,) = list_judged_changes([step(1, (), judge(MOVED, CONFIRMED, 0.9))], before)
    (moved,) = listed
    assert (moved.change, moved.ground) == (MOVED, LAKE), "without gained and lost ground, the judged region"
