"""Backtest: what the rules of a watch would have alerted on over its history, and what waiting for certainty costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from statistics import median
from uuid import UUID

from sqlalchemy import Connection

from segwatch.db import alerts, verdicts
from segwatch.db.alerts import RecordedChange
from segwatch.geo.tracking.alert_rules import compute_digest_time, is_match, is_sure_enough
from segwatch.geo.types.belief import SETTLED_CONFIDENCE, Belief, BeliefStatus
from segwatch.geo.types.tracking import Change
from segwatch.geo.types.watch import AlertRule, AlertStatus, Watch

#: What the trade compares, beside the rule's own choice.
_CHOICES = (
    (AlertStatus.PROVISIONAL, 0.0),
    (AlertStatus.PROVISIONAL, 0.5),
    (AlertStatus.CONFIRMED, 0.8),
    (AlertStatus.CONFIRMED, 0.85),
    (AlertStatus.CONFIRMED, 0.9),
    (AlertStatus.CONFIRMED, SETTLED_CONFIDENCE),
)


@dataclass(frozen=True, slots=True)
class Trade:
    """What a rule would have alerted on with one choice of status and confidence."""

    status: AlertStatus
    confidence: float
    chosen: bool
    """Whether this is the rule's own choice."""
    alerts: int
    refuted: int
    """Alerts whose change was refuted by now."""
    not_alerted: int
    """Matching changes that were not refuted and never became sure enough."""
    delay_observations: float | None
    """Median number of observations of the place between the first one that shows the change and the alert; None
    without alerts."""
    delay_days: float | None
    """Median time from the change on the ground, as far as observed, to the alert, days; None without alerts."""


@dataclass(frozen=True, slots=True)
class RuleBacktest:
    """Backtest of one rule."""

    rule: AlertRule
    alerts: tuple[Change, ...]
    """Changes that would have alerted, in the order in which they were recorded."""
    objects: int
    busiest_day: int
    """Largest number of alerts on the imagery of one day."""
    digests: int | None
    """Number of digests per channel, had every scene been known at once; None = one message per alert."""
    not_judged: int
    """Changes that match but for the belief that they never got: they were recorded before segwatch judged."""
    trade: tuple[Trade, ...]
    """For each choice of status and confidence, least sure first."""


def backtest_rules(
    conn: Connection, watch: Watch, *, since: datetime | None = None, until: datetime | None = None
) -> tuple[int, list[RuleBacktest]]:
    """Apply the rules of a watch to the changes that the ledger has for its name.

    Objects that a review rejected do not alert. Quiet hours and rate limits only delay messages and are ignored.

    Returns
    -------
    int
        Number of changes in the ledger.
    list[RuleBacktest]
        One entry per rule.
    """
    history = list(alerts.list_changes(conn, watch.name, since, until))
    rejected = verdicts.select_rejected(conn, {one.change.track_id for one in history})
    return len(history), [_backtest(rule, history, rejected) for rule in watch.rules]


def _backtest(rule: AlertRule, history: Sequence[RecordedChange], rejected: Collection[UUID]) -> RuleBacktest:
    matched = [
        one
        for one in history
        if one.change.track_id not in rejected and is_match(rule, one.change, one.ground, one.evidence)
    ]
    chosen = [one.change for one, _ in _raise_alerts(rule, matched)]
    days = Counter(one.valid_at.astimezone(UTC).date() for one in chosen)
    return RuleBacktest(
        rule,
        tuple(chosen),
        len({one.track_id for one in chosen}),
        max(days.values(), default=0),
        len({compute_digest_time(rule, one.valid_at) for one in chosen}) if rule.digest else None,
        sum(not one.beliefs and not one.change.baseline for one in matched),
        tuple(compute_trade(rule, matched)),
    )


def compute_trade(rule: AlertRule, matched: Sequence[RecordedChange]) -> list[Trade]:
    """Compute alerts, refuted alerts and delays of a rule for several choices of status and confidence.

    Parameters
    ----------
    matched
        Changes that match the rule whatever their belief, in the order in which they were recorded.
    """
    own = (rule.status, rule.confidence)
    choices = sorted({*_CHOICES, own}, key=lambda one: (one[0] is AlertStatus.CONFIRMED, one[1]))
    return [
        _compute_trade(
            replace(rule, status=status, confidence=confidence), matched, (status, confidence) == own
        )
        for status, confidence in choices
    ]


def _compute_trade(rule: AlertRule, matched: Sequence[RecordedChange], chosen: bool) -> Trade:
    raised = _raise_alerts(rule, matched)
    refuted = sum(_is_refuted(one) for one, _ in raised)
    judged = [(one, one.beliefs[at].acquired_at, at) for one, at in raised if one.beliefs]
    days = [(alerted - one.change.valid_at) / timedelta(days=1) for one, alerted, _ in judged]
    return Trade(
        rule.status,
        rule.confidence,
        chosen,
        len(raised),
        refuted,
        sum(not _is_refuted(one) and _find_alert(rule, one) is None for one in matched),
        float(median(one.waited + at for one, _, at in judged)) if judged else None,
        median(days) if days else None,
    )


def _is_refuted(one: RecordedChange) -> bool:
    return bool(one.beliefs) and one.beliefs[-1].belief.status is BeliefStatus.REFUTED


def _raise_alerts(rule: AlertRule, matched: Sequence[RecordedChange]) -> list[tuple[RecordedChange, int]]:
    """Raise the alerts of a rule: each change with the position of the belief that first satisfies it."""
    alerted: set[UUID] = set()
    raised = []
    for one in matched:
        at = _find_alert(rule, one)
        if at is None or (rule.once and one.change.track_id in alerted):
            continue
        alerted.add(one.change.track_id)
        raised.append((one, at))
    return raised


def _find_alert(rule: AlertRule, one: RecordedChange) -> int | None:
    beliefs: list[Belief | None] = [each.belief for each in one.beliefs]
    return next(
        (at for at, belief in enumerate(beliefs or [None]) if is_sure_enough(rule, one.change, belief)), None
    )
