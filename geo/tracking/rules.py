"""Which changes alert."""

from __future__ import annotations

from collections.abc import Iterable

from segwatch.geo.area import geodesic_m2
from segwatch.geo.types import AlertRule, Change


def matching(rules: Iterable[AlertRule], changes: Iterable[Change]) -> list[tuple[Change, AlertRule]]:
    """Every pair of a change and a rule that it matches, changes first."""
    rules = tuple(rules)
    return [(change, rule) for change in changes for rule in rules if matches(rule, change)]


def matches(rule: AlertRule, change: Change) -> bool:
    """Whether a change is of the rule's kinds, large and certain enough, and no unwanted baseline."""
    return (
        change.kind in rule.kinds
        and (rule.include_baseline or not change.baseline)
        and change.score >= rule.min_score
        and changed_m2(change) >= rule.min_area_m2
    )


def changed_m2(change: Change) -> float:
    """Ground gained or lost, whichever is larger, geodesic m²."""
    return max(geodesic_m2(part) if part is not None else 0.0 for part in (change.gained, change.lost))
