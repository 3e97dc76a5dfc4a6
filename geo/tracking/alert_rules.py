"""Match changes with alert rules, and compute when their messages may be sent."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from shapely.geometry.base import BaseGeometry

from segwatch.geo.antimeridian import compute_centre, intersects
from segwatch.geo.area import compute_area_m2
from segwatch.geo.crs import make_local_equal_area, to_crs
from segwatch.geo.tracking import evidence_conditions
from segwatch.geo.types.belief import Belief, BeliefStatus
from segwatch.geo.types.evidence import ChangeEvidence
from segwatch.geo.types.tracking import Change, ChangeKey, OpenChange, TrackingStep
from segwatch.geo.types.watch import AlertRule, AlertStatus, Digest, QuietHours


@dataclass(frozen=True, slots=True)
class JudgedChange:
    """A change that an observation raised or judged again."""

    change: Change
    scene_id: UUID
    """Scene that raised it."""
    belief: Belief | None
    """Belief after the observation; None = not judged, as for the baseline."""
    ground: BaseGeometry | None
    """Area that it changed, or the whole object if that is not known, EPSG:4326."""
    before: Belief | None = None
    """Belief before the observation; None for a change that the observation raised."""
    evidence: ChangeEvidence | None = None
    """Its spectral evidence; None where the source has no bands for it."""


def list_judged_changes(
    steps: Iterable[TrackingStep],
    open_before: Iterable[OpenChange] = (),
    refuted: Container[ChangeKey] = (),
) -> list[list[JudgedChange]]:
    """List, for each step, the changes that it raises and the earlier ones that it judges again.

    Parameters
    ----------
    steps
        Successive steps of one series.
    open_before
        Earlier changes that the steps may judge again, as given to the fold.
    refuted
        Those among them that later observations had refuted by the last time rules were applied, so that a rule they
        satisfied earlier raised no alert: rules see them as new.
    """
    known = {_identify(one.scene_id, one.change): _open_change(one) for one in open_before}
    believed = {key: None if key in refuted else one.belief for key, one in known.items()}
    listed = []
    for step in steps:
        geometries = {state.track_id: state.geometry for state in step.states}
        beliefs = {(one.change_scene_id, one.track_id, one.kind): one.belief for one in step.judgements}
        shown = {
            _identify(step.scene_id, one): JudgedChange(
                one, step.scene_id, None, one.ground(geometries.get(one.track_id))
            )
            for one in step.changes
        }
        shown |= {key: replace(known[key], before=believed[key]) for key in beliefs if key not in shown}
        judged = {key: replace(one, belief=beliefs.get(key)) for key, one in shown.items()}
        known |= judged
        believed |= {key: one.belief for key, one in judged.items()}
        listed.append(list(judged.values()))
    return listed


def list_restored_changes(
    steps: Iterable[TrackingStep], open_before: Iterable[OpenChange], refuted: Container[ChangeKey]
) -> list[JudgedChange]:
    """List the refuted changes whose refutation no step repeats, with the belief before the steps; new to all rules.

    The parameters are those of :func:`list_judged_changes`.
    """
    judged = {(one.change_scene_id, one.track_id, one.kind) for step in steps for one in step.judgements}
    known = ((_identify(one.scene_id, one.change), one) for one in open_before)
    return [_open_change(one) for key, one in known if key in refuted and key not in judged]


def _open_change(one: OpenChange) -> JudgedChange:
    evidence = one.judgement.evidence
    ground = one.change.ground(None if evidence is None else evidence.region)
    return JudgedChange(one.change, one.scene_id, one.judgement.belief, ground)


def _identify(scene_id: UUID, change: Change) -> ChangeKey:
    return scene_id, change.track_id, change.kind


def match_changes(
    rules: Iterable[AlertRule], changes: Iterable[JudgedChange]
) -> list[tuple[JudgedChange, AlertRule]]:
    """Return every pair of a change and a rule that it matches and now satisfies, in order of changes, then of rules.

    A change that satisfied a rule before the observation is left out, also if the rule is new: rules look ahead only.
    As its confidence may fall and rise, a change may satisfy a rule for a second time: who raises alerts skips pairs
    that alerted already.
    """
    rules = tuple(rules)
    return [
        (one, rule)
        for one in changes
        for rule in rules
        if is_sure_enough(rule, one.change, one.belief)
        and (one.before is None or not is_sure_enough(rule, one.change, one.before))
        and is_match(rule, one.change, one.ground, one.evidence)
    ]


def is_sure_enough(rule: AlertRule, change: Change, belief: Belief | None) -> bool:
    """Return whether a belief has the status and confidence that a rule asks for.

    The baseline is not judged and suffices any rule that includes it. Other changes without a belief suffice only rules
    that ask for none. A change that no observation shows yet suffices no rule: a scene whose outlines contradict each
    other raises changes of shape, and tells nothing about shapes.
    """
    if belief is None:
        return change.baseline or (rule.status is AlertStatus.PROVISIONAL and rule.confidence <= 0)
    decided = belief.status is BeliefStatus.CONFIRMED or (
        belief.status is BeliefStatus.PROVISIONAL
        and rule.status is AlertStatus.PROVISIONAL
        and belief.observations_for > 0
    )
    return decided and belief.confidence >= rule.confidence


def is_match(
    rule: AlertRule, change: Change, changed: BaseGeometry | None, evidence: ChangeEvidence | None = None
) -> bool:
    """Return whether a change matches a rule: kind, baseline, score, area, growth, region and spectral evidence.

    Not checked here: the belief, see :func:`is_sure_enough`, and ``rule.once``, which needs the alerts of the object so
    far.

    Parameters
    ----------
    rule
        Alert rule of the watch.
    change
        Change to test.
    changed
        Result of ``change.ground``: changed area, EPSG:4326; None never matches a rule with a region.
    evidence
        Spectral evidence of the change; None never matches a rule with conditions on it.
    """
    return (
        change.kind in rule.kinds
        and (rule.include_baseline or not change.baseline)
        and change.score >= rule.min_score
        and (not rule.min_area_m2 or compute_changed_m2(change) >= rule.min_area_m2)
        and (not rule.min_growth or compute_growth(change) >= rule.min_growth)
        and (
            rule.region is None
            or (changed is not None and _is_within_distance(changed, rule.region, rule.region_distance_m))
        )
        and all(evidence_conditions.holds(one, evidence) for one in rule.evidence)
    )


def compute_changed_m2(change: Change) -> float:
    """Compute the geodesic area gained or lost, whichever is larger, m²."""
    return max(compute_area_m2(part) if part is not None else 0.0 for part in (change.gained, change.lost))


def compute_growth(change: Change) -> float:
    """Compute the change of area as a share of the area before; infinite for a new object."""
    difference = abs(change.after_m2 - change.before_m2)
    if change.before_m2 > 0:
        return difference / change.before_m2
    return float("inf") if difference else 0.0


def _is_within_distance(changed: BaseGeometry, region: BaseGeometry, distance_m: float) -> bool:
    if intersects(changed, region):
        return True
    if not distance_m:
        return False
    crs = make_local_equal_area(compute_centre(changed))
    try:
        return bool(to_crs(changed, crs).distance(to_crs(region, crs)) <= distance_m)
    except ValueError:  # the region is outside the projection: on the other side of the earth
        return False


def end_quiet_hours(quiet: QuietHours | None, now: datetime) -> datetime:
    """Compute the earliest send time of a message: the end of the quiet hours that ``now`` lies in, or ``now``; UTC."""
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


def compute_digest_time(rule: AlertRule, now: datetime) -> datetime | None:
    """Compute the send time of the next digest (UTC), quiet hours included; None if the rule has no digest."""
    return None if rule.digest is None else end_quiet_hours(rule.quiet, _find_next(rule.digest, now))


def _find_next(digest: Digest, now: datetime) -> datetime:
    if digest.at is None:
        return now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    zone, at = ZoneInfo(digest.timezone), time.fromisoformat(digest.at)
    today = now.astimezone(zone).date()
    # three candidates, because days on which clocks change are longer or shorter
    days = [datetime.combine(today + timedelta(days=days), at, zone).astimezone(UTC) for days in range(3)]
    return next(one for one in days if one > now)
