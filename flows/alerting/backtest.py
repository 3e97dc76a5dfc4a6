"""What a watch's rules would have said about its history."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection

from segwatch.db import alerts, verdicts
from segwatch.geo.tracking.alert_rules import digest_at, matches
from segwatch.geo.types.tracking import Change
from segwatch.geo.types.watch import AlertRule, Watch


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """One rule's part."""

    rule: AlertRule
    alerts: tuple[Change, ...]
    """What would have alerted, in the order in which it became known."""
    objects: int
    busiest_day: int
    """Most alerts about one day's imagery."""
    digests: int | None
    """Messages they would have come in, a channel, had every scene been known at once; None = one each."""


def rehearse(
    conn: Connection, watch: Watch, *, since: datetime | None = None, until: datetime | None = None
) -> tuple[int, list[Rehearsed]]:
    """How many changes the ledger holds for the watch's name, and what each of its rules makes of them.

    Objects that a review rejected stay silent. Quiet hours and limits delay messages; of these only digests, whose
    number they change, are looked at here.
    """
    history = list(alerts.changes(conn, watch.name, since, until))
    silent = verdicts.rejected(conn, {change.track_id for change, _ in history})
    results = []
    for rule in watch.rules:
        chosen: list[Change] = []
        said = set()
        for change, ground in history:
            told = rule.once and change.track_id in said
            if told or change.track_id in silent or not matches(rule, change, ground):
                continue
            said.add(change.track_id)
            chosen.append(change)
        days = Counter(one.valid_at.astimezone(UTC).date() for one in chosen)
        digests = len({digest_at(rule, one.valid_at) for one in chosen}) if rule.digest else None
        results.append(Rehearsed(rule, tuple(chosen), len(said), max(days.values(), default=0), digests))
    return len(history), results
