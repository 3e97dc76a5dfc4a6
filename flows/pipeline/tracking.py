"""Fold finished observations into their series, and publish each in one transaction."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Self
from uuid import UUID

from sqlalchemy import Connection, Engine

from segwatch.db import ground, late_observations, series, tracks
from segwatch.db.errors import describe_error
from segwatch.db.publishing import RuleMatch
from segwatch.flows.alerting.send_times import compute_send_time
from segwatch.flows.errors import FlowError
from segwatch.flows.failures.reasons import Reasons
from segwatch.flows.pipeline.change_evidence import EvidenceOfChanges, measure_changes
from segwatch.flows.runtime import stopping
from segwatch.geo.tracking.alert_rules import match_changes
from segwatch.geo.tracking.ground import ObservedGround, compute_search_area, widen_footprint
from segwatch.geo.tracking.series import FoldInput, fold_series, inherit_tracks
from segwatch.geo.types.tracking import GroundPiece, TrackedObservation, TrackingStep, TrackState
from segwatch.geo.types.watch import Watch

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class TrackingCounts:
    """Counts of one pass over the series with finished observations."""

    observations: int = 0
    alerts: int = 0
    changes: dict[str, int] = field(default_factory=dict)
    """Changes by kind."""
    skipped: int = 0
    """Series that another database session was tracking."""
    reasons: Reasons = field(default_factory=Reasons)
    """Which series these are, and which session tracks them -> how many."""

    def add(self, more: TrackingCounts) -> None:
        """Add further counts."""
        self.observations += more.observations
        self.alerts += more.alerts
        for kind, count in more.changes.items():
            self.changes[kind] = self.changes.get(kind, 0) + count


def track_ready(engine: Engine) -> TrackingCounts:
    """Publish every observation that is ready, series by series, oldest first.

    An observation waits while an earlier one of its series is still pending or leased, so that order inside a series
    is kept however many workers predict. After a crash the next pass continues after the last commit. A series that
    another database session is tracking is skipped and counted.

    Raises
    ------
    FlowError
        Some series could not be tracked; raised after all others were, with the reason for each.
    """
    total = TrackingCounts()
    with engine.connect() as conn:
        waiting = tracks.list_ready_series(conn)
        watches = tracks.read_watch_names(conn, waiting)
    failed = []
    for series_id in waiting:
        try:
            if not _publish_series(engine, series_id, total):
                _skip(engine, series_id, watches[series_id], total)
        except Exception as error:
            # one series must not keep the others from being tracked
            where = f"series {series_id} of watch {watches[series_id]}"
            _log.exception("%s could not be tracked", where)
            failed.append(f"{where}: {describe_error(error)}")
    if total.observations:
        _log.info("track %s", asdict(total))
    if failed:
        raise FlowError(
            f"{len(failed)} of {len(waiting)} series could not be tracked; their results stay queued:\n"
            + "\n".join(failed)
        )
    return total


def _publish_series(engine: Engine, series_id: UUID, total: TrackingCounts) -> bool:
    """Publish the ready observations of a series; False if another database session is tracking it."""
    while not stopping.stop_requested.is_set():
        step = TrackingCounts()
        with engine.begin() as conn:
            if not series.try_lock(conn, series_id):
                return False
            published = _publish_next(conn, series_id, step)
        if not published:
            break
        # only after the commit: a failed transaction published nothing
        total.add(step)
    return True


def _skip(engine: Engine, series_id: UUID, watch: str, total: TrackingCounts) -> None:
    with engine.connect() as conn:
        holder = series.find_holder(conn, series_id)
    # Reasons merges texts that differ only in numbers, so the watch's name comes first
    reason = f"watch {watch}: another tracker holds series {series_id} ({holder or 'it has just ended'})"
    _log.warning("%s", reason)
    total.skipped += 1
    total.reasons.add(reason)


def _publish_next(conn: Connection, series_id: UUID, total: TrackingCounts) -> bool:
    """Publish the next observation in this transaction, which has locked the series; False when none is ready."""
    ready = tracks.read_next_ready(conn, series_id)
    if ready is None:
        return False
    _ensure_ground(conn, series_id)
    if isinstance(ready, tracks.LateObservations):
        _publish_late(conn, series_id, ready, total)
        return True
    seeds = _Seeds.of(conn, series_id, ready.since) if ready.first and ready.since else _Seeds()
    footprint = ready.observation.footprint
    new = ObservedGround(ground.load_near(conn, series_id, footprint)).find_new(footprint)
    where = compute_search_area(footprint, ready.watch.tracking.tolerance_m, new)
    live = seeds.states or tracks.load_live(conn, series_id, where)
    look = replace(_to_look(ready.observation, ready.watch, ready.first), new=new)
    (step,) = fold_series(live, [look], series_id=series_id, origin=ready.origin, since=ready.since)
    evidence = measure_changes(conn, series_id, [ready.observation], [step])
    alerts = _choose_alerts(ready.watch, step, evidence)
    total.alerts += tracks.publish(conn, series_id, ready.observation.id, step, alerts, seeds.object_ids)
    evidence.save(conn, [step])
    total.observations += 1
    _count(total, step)
    return True


@dataclass(frozen=True, slots=True)
class _Seeds:
    """The track states that a series takes over from its predecessor, under its own track ids."""

    states: tuple[TrackState, ...] = ()
    object_ids: dict[UUID, UUID] = field(default_factory=dict)

    @classmethod
    def of(cls, conn: Connection, series_id: UUID, since: datetime) -> Self:
        before = series.load_seeds(conn, series_id)
        states = inherit_tracks(before.states, series_id, since)
        first = {states[track_id].track_id: one for track_id, one in before.object_ids.items()}
        return cls(tuple(states.values()), first)


def _publish_late(
    conn: Connection, series_id: UUID, late: tracks.LateObservations, total: TrackingCounts
) -> None:
    """Fold the series again from its earliest late observation on, and publish the difference."""
    old = late_observations.load_past(conn, series_id, tracks.load_detections, widen_footprint)
    looks = [_to_look(one.observation, one.watch, one.first) for one in old.looks]
    first = bool(looks) and looks[0].first
    seeds = _Seeds.of(conn, series_id, late.since) if first and late.since else _Seeds()
    before = seeds.states or old.before
    steps = fold_series(
        before, looks, series_id=series_id, origin=late.origin, since=late.since, observed_before=old.seen
    )
    evidence = measure_changes(conn, series_id, [one.observation for one in looks], steps, old.replaced)
    chosen = {
        step.observation_id: _choose_alerts(look.watch, step, evidence)
        for look, step in zip(old.looks, steps, strict=True)
    }
    total.alerts += late_observations.publish(
        conn, series_id, old, steps, chosen, compute_send_time, seeds.object_ids
    )
    evidence.save(conn, steps)
    total.observations += len(old.arriving)
    for step in steps:
        if step.observation_id in old.arriving:
            _count(total, step)
    _log.info("series %s: %d late observation(s), %d folded again", series_id, len(old.arriving), len(looks))


def _to_look(observation: TrackedObservation, watch: Watch, first: bool) -> FoldInput:
    return FoldInput(observation, watch.tracking, first, watch.min_polygon_m2)


def _ensure_ground(conn: Connection, series_id: UUID) -> None:
    """Compute the area a series has observed so far if it is not stored: for a new series, or one of an old version."""
    if ground.is_computed(conn, series_id):
        return
    before = ground.find_predecessor(conn, series_id)
    if before is not None:
        series.lock(conn, before)
        _ensure_ground(conn, before)
        ground.inherit_ground(conn, series_id)
    seen = ObservedGround()
    for observation_id, footprint in ground.list_published(conn, series_id):
        piece = seen.find_new(footprint).new_to_series
        seen.add(GroundPiece(observation_id, piece))
        ground.save_ground(conn, series_id, [(observation_id, piece)])


def _choose_alerts(watch: Watch, step: TrackingStep, evidence: EvidenceOfChanges) -> list[RuleMatch]:
    matches = match_changes(watch.rules, step, evidence.list_for(step))
    return [RuleMatch(change, rule, compute_send_time(rule)) for change, rule in matches]


def _count(total: TrackingCounts, step: TrackingStep) -> None:
    for change in step.changes:
        total.changes[change.kind.value] = total.changes.get(change.kind.value, 0) + 1
