"""Backtest: what the rules of a watch would have alerted on over its history."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection

from segwatch.db import alerts, second_opinion, verdicts
from segwatch.geo.tracking.alert_rules import compute_digest_time, is_match
from segwatch.geo.types.tracking import Change
from segwatch.geo.types.watch import AlertRule, Watch


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
    rejected = verdicts.select_rejected(conn, {change.track_id for change, _ in history})
    has_conditions = any(rule.evidence for rule in watch.rules)
    evidence = second_opinion.load_changes(conn, watch.name) if has_conditions else {}
    results = []
    for rule in watch.rules:
        chosen: list[Change] = []
        alerted = set()
        for change, ground in history:
            repeated = rule.once and change.track_id in alerted
            found = evidence.get((change.track_id, change.kind.value, change.valid_at))
            if repeated or change.track_id in rejected or not is_match(rule, change, ground, found):
                continue
            alerted.add(change.track_id)
            chosen.append(change)
        days = Counter(one.valid_at.astimezone(UTC).date() for one in chosen)
        digests = len({compute_digest_time(rule, one.valid_at) for one in chosen}) if rule.digest else None
        results.append(
            RuleBacktest(rule, tuple(chosen), len(alerted), max(days.values(), default=0), digests)
        )
    return len(history), results
