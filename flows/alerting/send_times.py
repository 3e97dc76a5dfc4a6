"""When what a rule says may go out now."""

from __future__ import annotations

from datetime import UTC, datetime

from segwatch.db.publishing import Turn
from segwatch.geo.tracking.alert_rules import awake_from, digest_at
from segwatch.geo.types.watch import AlertRule


def turn(rule: AlertRule) -> Turn:
    """The rule may have quiet hours, or a digest."""
    now = datetime.now(UTC)
    return Turn(awake_from(rule.quiet, now), digest_at(rule, now))
