"""Which changes alert, and when their messages may go out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from shapely.geometry.base import BaseGeometry

from segwatch.geo.antimeridian import centre, meets
from segwatch.geo.area import geodesic_m2
from segwatch.geo.crs import local_equal_area, to_local
from segwatch.geo.types.tracking import Change, TrackingStep
from segwatch.geo.types.watch import AlertRule, Digest, QuietHours


def matching(rules: Iterable[AlertRule], step: TrackingStep) -> list[tuple[Change, AlertRule]]:
    """Every pair of a change and a rule that it matches, changes first."""
    rules = tuple(rules)
    outlines = {state.track_id: state.geometry for state in step.states}
    return [
        (change, rule)
        for change in step.changes
        for rule in rules
        if matches(rule, change, change.ground(outlines.get(change.track_id)))
    ]


def matches(rule: AlertRule, change: Change, changed: BaseGeometry | None) -> bool:
    """Whether a change is of the rule's kinds, large, certain and near enough, and no unwanted baseline.

    ``changed`` is what ``change.ground`` gives. Whether the object alerted before (``rule.once``) is not known here.
    """
    return (
        change.kind in rule.kinds
        and (rule.include_baseline or not change.baseline)
        and change.score >= rule.min_score
        and (not rule.min_area_m2 or changed_m2(change) >= rule.min_area_m2)
        and (not rule.min_growth or growth(change) >= rule.min_growth)
        and (
            rule.region is None
            or (changed is not None and _meets(changed, rule.region, rule.region_distance_m))
        )
    )


def changed_m2(change: Change) -> float:
    """Ground gained or lost, whichever is larger, geodesic m²."""
    return max(geodesic_m2(part) if part is not None else 0.0 for part in (change.gained, change.lost))


def growth(change: Change) -> float:
    """Difference of the areas before and after as a share of the area before; infinite for what was not there."""
    difference = abs(change.after_m2 - change.before_m2)
    if change.before_m2 > 0:
        return difference / change.before_m2
    return float("inf") if difference else 0.0


def _meets(changed: BaseGeometry, region: BaseGeometry, distance_m: float) -> bool:
    if meets(changed, region):
        return True
    if not distance_m:
        return False
    crs = local_equal_area(centre(changed))
    try:
        return bool(to_local(changed, crs).distance(to_local(region, crs)) <= distance_m)
    except ValueError:  # on the other side of the world
        return False


def awake_from(quiet: QuietHours | None, now: datetime) -> datetime:
    """``now``, or the end of the quiet hours that it lies in; UTC."""
    if quiet is None:
        return now
    zone = ZoneInfo(quiet.timezone)
    local = now.astimezone(zone)
    begin, end = time.fromisoformat(quiet.begin), time.fromisoformat(quiet.end)
    for day in (local.date() - timedelta(days=1), local.date()):
        starts = datetime.combine(day, begin, zone)
        ends = datetime.combine(day if begin < end else day + timedelta(days=1), end, zone)
        if starts <= local < ends:
            return ends.astimezone(UTC)
    return now


def digest_at(rule: AlertRule, now: datetime) -> datetime | None:
    """When the digest goes out that an alert of ``now`` comes with, UTC; None where the rule has none.

    Quiet hours hold a digest back as they do a message.
    """
    return None if rule.digest is None else awake_from(rule.quiet, _next(rule.digest, now))


def _next(digest: Digest, now: datetime) -> datetime:
    if digest.at is None:
        return now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    zone, at = ZoneInfo(digest.timezone), time.fromisoformat(digest.at)
    today = now.astimezone(zone).date()
    # of three, because a day on which clocks are put back or forward is longer or shorter
    days = [datetime.combine(today + timedelta(days=days), at, zone).astimezone(UTC) for days in range(3)]
    return next(one for one in days if one > now)
