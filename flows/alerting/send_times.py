"""Earliest send time of a rule's messages."""

from __future__ import annotations

from datetime import UTC, datetime

from segwatch.db.publishing import Turn
from segwatch.geo.tracking.alert_rules import awake_from, digest_at
from segwatch.geo.types.watch import AlertRule


def turn(rule: AlertRule) -> Turn:
    """Compute when messages of a rule that are written now may be sent, given its quiet hours and digest."""
    now = datetime.now(UTC)
    return Turn(awake_from(rule.quiet, now), digest_at(rule, now))
