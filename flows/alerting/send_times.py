"""Earliest send time of a rule's messages."""

from __future__ import annotations

from datetime import UTC, datetime

from segwatch.db.raising import SendTime
from segwatch.geo.tracking.alert_rules import compute_digest_time, end_quiet_hours
from segwatch.geo.types.watch import AlertRule


def compute_send_time(rule: AlertRule) -> SendTime:
    """Compute when messages of a rule that are written now may be sent, given its quiet hours and digest."""
    now = datetime.now(UTC)
    return SendTime(end_quiet_hours(rule.quiet, now), compute_digest_time(rule, now))
