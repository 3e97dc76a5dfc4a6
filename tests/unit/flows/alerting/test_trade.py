"""What a rule pays for certainty: alerts that wait, and alerts that never come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from shapely.geometry import box

from segwatch.db.alerts import RecordedBelief, RecordedChange
from segwatch.flows.alerting.backtest import Trade, compute_trade
from segwatch.geo.types.belief import Belief, BeliefStatus
from segwatch.geo.types.tracking import Change, ChangeKind
from segwatch.geo.types.watch import AlertRule, AlertStatus

START = datetime(2024, 1, 1, tzinfo=UTC)
LAKE = box(10, 50, 10.01, 50.01)
PROVISIONAL, CONFIRMED, REFUTED = BeliefStatus


def recorded(
    number: int, *beliefs: tuple[int, float, BeliefStatus], track: int | None = None
) -> RecordedChange:
    """Make a change with beliefs: day, confidence and status."""
    change = Change(UUID(int=track or number), ChangeKind.APPEARED, "water", START, 0, 1e4, LAKE, None, 0.8)
    said = (
        RecordedBelief(START + timedelta(days=day), Belief(sure, status, 1, 0))
        for day, sure, status in beliefs
    )
    return RecordedChange(change, LAKE, tuple(said))


HISTORY = [
    recorded(1, (0, 0.6, PROVISIONAL), (5, 0.85, PROVISIONAL), (10, 0.94, CONFIRMED)),
    recorded(2, (0, 0.9, CONFIRMED)),
    recorded(3, (0, 0.5, PROVISIONAL), (5, 0.1, REFUTED)),
    recorded(4, (0, 0.6, PROVISIONAL), (15, 0.92, CONFIRMED)),
    recorded(5, (0, 0.4, PROVISIONAL)),
    recorded(6),
]


def trade(rule: AlertRule) -> dict[tuple[str, float], Trade]:
    return {(one.status.value, one.confidence): one for one in compute_trade(rule, HISTORY)}


def test_certainty_costs_time_and_saves_alerts_that_are_refuted() -> None:
    made = trade(AlertRule("r", tuple(ChangeKind), status=AlertStatus.CONFIRMED, confidence=0.8))
    first = made["provisional", 0.0]
    assert (first.alerts, first.refuted, first.not_alerted) == (6, 1, 0), "what nobody judged alerts at once"
    assert (first.delay_observations, first.delay_days) == (0, 0)
    sure = made["confirmed", 0.8]
    assert (sure.alerts, sure.refuted, sure.not_alerted) == (3, 0, 2)
    assert (sure.delay_observations, sure.delay_days) == (1, 10)
    surest = made["confirmed", 0.94]
    assert (surest.alerts, surest.not_alerted, surest.delay_observations, surest.delay_days) == (1, 4, 2, 10)
    assert [key for key, one in made.items() if one.chosen] == [("confirmed", 0.8)]


def test_the_rules_own_choice_is_compared_too_and_once_counts_once() -> None:
    made = trade(AlertRule("r", tuple(ChangeKind), status=AlertStatus.PROVISIONAL, confidence=0.55))
    assert (made["provisional", 0.55].alerts, made["provisional", 0.55].chosen) == (3, True)
    assert list(made)[:3] == [("provisional", 0.0), ("provisional", 0.5), ("provisional", 0.55)]
    again = [HISTORY[1], recorded(7, (0, 0.9, CONFIRMED), track=2)]
    once = compute_trade(AlertRule("r", tuple(ChangeKind), once=True), again)
    assert {one.alerts for one in once} == {0, 1}
