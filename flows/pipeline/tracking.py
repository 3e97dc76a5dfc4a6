"""Fold finished observations into their series, and publish each in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Self
from uuid import UUID

from sqlalchemy import Connection, Engine

from segwatch.db import chips, fold_memory, ground, late_observations, series, tracks
from segwatch.db.errors import describe_error
from segwatch.db.fold_memory import FoldPlace, FoldStart
from segwatch.db.raising import RuleMatch
from segwatch.flows.alerting.send_times import compute_send_time
from segwatch.flows.errors import FlowError
from segwatch.flows.failures.reasons import Reasons
from segwatch.flows.pipeline.change_evidence import ChangeMeter
from segwatch.flows.runtime import stopping
from segwatch.flows.telemetry import tracing
from segwatch.geo.tracking.alert_rules import (
    JudgedChange,
    list_judged_changes,
    list_restored_changes,
    match_changes,
)
from segwatch.geo.tracking.ground import ObservedGround
from segwatch.geo.tracking.reach import widen_to_past, widen_to_reach
from segwatch.geo.tracking.series import FoldInput, fold_series, inherit_tracks
from segwatch.geo.types.tracking import GroundPiece, TrackedObservation, TrackingStep, TrackState
from segwatch.geo.types.watch import Watch

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class WatchCounts:
    """What was tracked of one watch."""

    observations: int = 0
    alerts: int = 0


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
    watches: dict[str, WatchCounts] = field(default_factory=dict)
    """Of each watch with an observation that was tracked."""

    def add(self, more: TrackingCounts, watch: str) -> None:
        """Add further counts, of one watch."""
        of_watch = self.watches.setdefault(watch, WatchCounts())
        of_watch.observations += more.observations
        of_watch.alerts += more.alerts
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
            if not _publish_series(engine, series_id, watches[series_id], total):
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


def _publish_series(engine: Engine, series_id: UUID, watch: str, total: TrackingCounts) -> bool:
    """Publish the ready observations of a series; False if another database session is tracking it."""
    while not stopping.stop_requested.is_set():
        step = TrackingCounts()
        with tracing.span("publish observation", watch=watch, series=str(series_id)), engine.begin() as conn:
            if not series.try_lock(conn, series_id):
                return False
            published = _publish_next(conn, series_id, step)
            tracing.annotate(observations=step.observations, alerts=step.alerts)
        if not published:
            break
        # only after the commit: a failed transaction published nothing
        total.add(step, watch)
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
    observation = ready.observation
    tolerance_m = ready.watch.tracking.tolerance_m
    where = widen_to_reach(observation.footprint, tolerance_m)
    before = seeds.states or tracks.load_live(conn, series_id, where)
    place = FoldPlace(
        [observation.footprint],
        where,
        widen_to_past(observation.footprint, [state.geometry for state in before], tolerance_m),
        [state.track_id for state in before],
        [chip.cell for chip in observation.chips],
    )
    start = FoldStart(observation.acquired_at, observation.scene_id)
    memory = fold_memory.load_memory(conn, series_id, start, place)
    meter = ChangeMeter(conn, series_id, [observation])
    (step,) = fold_series(
        before,
        [_to_look(observation, ready.watch, ready.first)],
        series_id=series_id,
        origin=ready.origin,
        since=ready.since,
        observed_before=ground.load_near(conn, series_id, where),
        counts_before=memory.counts,
        open_before=memory.open_changes,
        past=memory.past,
        references=memory.references,
        find_unchanged=meter.measure,
    )
    evidence = meter.measured
    (judged,) = list_judged_changes([step], memory.open_changes)
    judged = evidence.add_to(conn, ready.watch.rules, judged)
    total.alerts += tracks.publish(
        conn,
        series_id,
        observation.id,
        step,
        _choose_alerts(ready.watch, judged),
        seeds.object_ids,
        open_before=memory.open_changes,
        turn=compute_send_time,
    )
    evidence.save(conn)
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
    old = late_observations.load_past(conn, series_id, tracks.load_detections, widen_to_reach, widen_to_past)
    looks = [_to_look(one.observation, one.watch, one.first) for one in old.looks]
    first = bool(looks) and looks[0].first
    seeds = _Seeds.of(conn, series_id, late.since) if first and late.since else _Seeds()
    before = seeds.states or old.before
    meter = ChangeMeter(conn, series_id, [one.observation for one in looks], old.replaced)
    steps = fold_series(
        before,
        looks,
        series_id=series_id,
        origin=late.origin,
        since=late.since,
        observed_before=old.seen,
        counts_before=old.memory.counts,
        open_before=old.memory.open_changes,
        past=old.memory.past,
        references=old.memory.references,
        find_unchanged=meter.measure,
    )
    refuted = frozenset(old.refuted.values())
    judged = list_judged_changes(steps, old.memory.open_changes, refuted)
    evidence = meter.measured
    restored = list_restored_changes(steps, old.memory.open_changes, refuted)
    chosen = [
        (observation_id, _choose_alerts(watch, evidence.add_to(conn, watch.rules, changes)))
        for (observation_id, watch), changes in zip(
            [*((one.observation.id, one.watch) for one in old.looks), old.newest],
            [*judged, restored],
            strict=True,
        )
    ]
    total.alerts += late_observations.publish(
        conn, series_id, old, steps, chosen, compute_send_time, seeds.object_ids
    )
    evidence.save(conn)
    total.observations += len(old.arriving)
    for step in steps:
        if step.observation_id in old.arriving:
            _count(total, step)
    _log.info("series %s: %d late observation(s), %d folded again", series_id, len(old.arriving), len(looks))


def _to_look(observation: TrackedObservation, watch: Watch, first: bool) -> FoldInput:
    return FoldInput(observation, watch.tracking, first, watch.min_polygon_m2)


def _ensure_ground(conn: Connection, series_id: UUID) -> None:
    """Compute the area a series has observed so far if it is not stored: for a new series, or one of an old version.

    A new series takes over ground and reference chips of the series before.
    """
    if ground.is_computed(conn, series_id):
        return
    before = ground.find_predecessor(conn, series_id)
    if before is not None:
        series.lock(conn, before)
        _ensure_ground(conn, before)
        ground.inherit_ground(conn, series_id)
        chips.inherit_references(conn, series_id)
    seen = ObservedGround()
    for observation_id, footprint in ground.list_published(conn, series_id):
        piece = seen.find_new(footprint).new_to_series
        seen.add(GroundPiece(observation_id, piece))
        ground.save_ground(conn, series_id, [(observation_id, piece)])


def _choose_alerts(watch: Watch, changes: Sequence[JudgedChange]) -> list[RuleMatch]:
    chosen = [
        RuleMatch(one.change, one.scene_id, rule, compute_send_time(rule), one.evidence)
        for one, rule in match_changes(watch.rules, changes)
    ]
    tracing.annotate(messages=(str(message) for one in chosen for message in one.message_ids.values()))
    return chosen


def _count(total: TrackingCounts, step: TrackingStep) -> None:
    for change in step.changes:
        total.changes[change.kind.value] = total.changes.get(change.kind.value, 0) + 1
