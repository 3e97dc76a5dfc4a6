"""Tracking in order: the next observation of a series, the objects that it meets, and publishing a step.

Track states are bitemporal. A new state closes the recorded range of the rows it supersedes and adds their truncated
copies and itself, all with one recorded time and in one transaction; no other row is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, select, text

from segwatch.db import (
    chips,
    corrections,
    fold_memory,
    ground,
    judgements,
    publishing,
    raising,
    series,
    summaries,
    tables,
)
from segwatch.db.codec import from_ewkb, load_track_state, load_watch, to_ewkb
from segwatch.db.errors import NotFound, PublishConflict
from segwatch.db.raising import RuleMatch, SendTime
from segwatch.geo.types.evidence import SpectralEvidence
from segwatch.geo.types.tracking import Detection, OpenChange, TrackedObservation, TrackingStep, TrackState
from segwatch.geo.types.watch import AlertRule, Watch

_WATCH_NAMES = text("SELECT id, watch_name FROM segwatch.series WHERE id = ANY(CAST(:ids AS uuid[]))")
_READY_SERIES = text(
    "SELECT DISTINCT series_id FROM segwatch.observation WHERE state = 'inferred' ORDER BY series_id"
)
#: The earliest predicted observation, unless an earlier one is still open. It is late if an observation of its time or
#: later is published, or if its scene has other versions.
_NEXT = text(
    """
    SELECT o.id, o.scene_id, o.acquired_at, o.footprint, w.definition, s.origin_lon, s.origin_lat, s.seed_valid_at,
           EXISTS (SELECT 1 FROM segwatch.observation p
                   WHERE p.series_id = o.series_id AND p.id <> o.id AND p.superseded_at IS NULL
                     AND (p.state = 'observed' AND (p.acquired_at, p.scene_id) >= (o.acquired_at, o.scene_id)
                          OR p.scene_id = o.scene_id AND p.state IN ('inferred', 'skipped'))) AS late,
           NOT EXISTS (SELECT 1 FROM segwatch.observation p
                       WHERE p.series_id = o.series_id AND p.state = 'observed'
                         AND p.superseded_at IS NULL) AS first
    FROM segwatch.observation o
    JOIN segwatch.watch w ON w.id = o.revision_id
    JOIN segwatch.series s ON s.id = o.series_id
    WHERE o.series_id = :series_id AND o.state = 'inferred'
      AND NOT EXISTS (SELECT 1 FROM segwatch.unanswered p
                      WHERE p.series_id = o.series_id
                        AND (p.acquired_at, p.scene_id) < (o.acquired_at, o.scene_id))
    ORDER BY o.acquired_at, o.scene_id LIMIT 1
    """
)
_LIVE = text(
    """
    SELECT t.track_id, k.target, t.geom, t.area_m2, t.score, t.first_seen, t.last_seen, t.last_looked, t.misses,
           t.missed_since, t.visible_share, t.alive, t.merged_into, t.confidence, t.status,
           t.observations_for, t.observations_against
    FROM segwatch.track_state t JOIN segwatch.track k ON k.id = t.track_id
    WHERE k.series_id = :series_id AND upper_inf(t.valid) AND upper_inf(t.recorded) AND t.merged_into IS NULL
      AND ST_Intersects(t.geom, CAST(:footprint AS geometry))
    ORDER BY t.track_id
    """
)
_LOCKED = text(
    """
    SELECT o.state, o.acquired_at,
           EXISTS (SELECT 1 FROM segwatch.observation p
                   WHERE p.series_id = o.series_id AND p.id <> o.id AND p.state = 'observed'
                     AND p.superseded_at IS NULL
                     AND (p.acquired_at, p.scene_id) >= (o.acquired_at, o.scene_id)) AS late
    FROM segwatch.observation o WHERE o.id = :id AND o.series_id = :series_id FOR UPDATE
    """
)


@dataclass(frozen=True, slots=True)
class ReadyObservation:
    """The next observation of a series, with what tracking needs."""

    observation: TrackedObservation
    watch: Watch
    origin: tuple[float, float]
    """Longitude and latitude (degrees) of the origin of the series' local projection."""
    first: bool
    """True for the first observation of the series."""
    since: datetime | None
    """Acquisition time of the scene at which the series took over another one's objects, UTC; None if it did not."""


@dataclass(frozen=True, slots=True)
class LateObservations:
    """Observations that change what is already published: see :mod:`segwatch.db.late_observations`."""

    origin: tuple[float, float]
    """Longitude and latitude (degrees) of the origin of the series' local projection."""
    since: datetime | None
    """Acquisition time of the scene at which the series took over another one's objects, UTC; None if it did not."""


def list_ready_series(conn: Connection) -> list[UUID]:
    """List the series that have observations to track."""
    return list(conn.execute(_READY_SERIES).scalars())


def read_watch_names(conn: Connection, series_ids: Sequence[UUID]) -> dict[UUID, str]:
    """Read the name of the watch of each series."""
    rows = conn.execute(_WATCH_NAMES, {"ids": list(series_ids)})
    return {row.id: row.watch_name for row in rows}


def read_next_ready(conn: Connection, series_id: UUID) -> ReadyObservation | LateObservations | None:
    """Read the next observation of a series whose earlier ones are all final; None if there is none."""
    series.lock(conn, series_id)
    row = conn.execute(_NEXT, {"series_id": series_id}).first()
    if row is None:
        return None
    origin = (row.origin_lon, row.origin_lat)
    if row.late:
        return LateObservations(origin, row.seed_valid_at)
    observation = TrackedObservation(
        row.id,
        row.scene_id,
        row.acquired_at,
        from_ewkb(row.footprint),
        load_detections(conn, row.id),
        chips.load_chips(conn, [row.id]).get(row.id, ()),
    )
    return ReadyObservation(observation, load_watch(row.definition), origin, row.first, row.seed_valid_at)


def load_detections(conn: Connection, observation_id: UUID) -> tuple[Detection, ...]:
    """Load the detections of an observation in order."""
    table = tables.detection.c
    query = (
        select(table.target, table.geom, table.score, table.area_m2, table.evidence)
        .where(table.observation_id == observation_id)
        .order_by(table.ordinal)
    )
    rows = conn.execute(query)
    return tuple(
        Detection(
            row.target,
            from_ewkb(row.geom.data),
            row.score,
            row.area_m2,
            None if row.evidence is None else SpectralEvidence.from_json(row.evidence),
        )
        for row in rows
    )


def load_live(conn: Connection, series_id: UUID, where: BaseGeometry) -> list[TrackState]:
    """Load the current states of objects that meet a geometry, with disappeared but without merged ones."""
    values = {"series_id": series_id, "footprint": to_ewkb(where)}
    return [load_track_state(row) for row in conn.execute(_LIVE, values)]


def publish(
    conn: Connection,
    series_id: UUID,
    observation_id: UUID,
    step: TrackingStep,
    alerts: Sequence[RuleMatch],
    object_ids: Mapping[UUID, UUID] | None = None,
    *,
    open_before: Sequence[OpenChange] = (),
    turn: Callable[[AlertRule], SendTime] | None = None,
) -> int:
    """Publish an observation and its tracking step in the caller's transaction.

    An observation that is published already stays as it is.

    Parameters
    ----------
    alerts
        Changes that satisfy a rule after this observation.
    object_ids
        Object ids of tracks that the series takes over, by track.
    open_before
        Open changes that the step was folded with.
    turn
        Returns the earliest send time of a rule; messages that follow alerts wait like alerts. None = send at once.

    Returns
    -------
    int
        Number of alerts raised: one per change and rule, none about rejected objects.

    Raises
    ------
    NotFound
        The series has no such observation.
    PublishConflict
        It has no prediction, the step belongs to another observation, or a later one is published: late observations
        are published by :mod:`segwatch.db.late_observations`.
    """
    series.lock(conn, series_id)
    row = conn.execute(_LOCKED, {"id": observation_id, "series_id": series_id}).first()
    if row is None:
        raise NotFound(f"series {series_id} has no observation {observation_id}")
    if step.observation_id != observation_id:
        raise PublishConflict(f"the step is of observation {step.observation_id}, not of {observation_id}")
    if row.state == "observed":
        return 0
    if row.state != "inferred":
        raise PublishConflict(
            f"observation {observation_id} is {row.state}; only an inferred one can be published"
        )
    if row.late:
        raise PublishConflict(f"observation {observation_id} is late; derive its series anew from it on")
    now = publishing.next_recorded_time(conn, series_id)
    publishing.add_tracks(conn, series_id, step, object_ids)
    ground.save_ground(conn, series_id, [(observation_id, step.new_ground)])
    fold_memory.save_memory(conn, {observation_id}, [step])
    changes = _write(conn, row.acquired_at, now, step)
    published = judgements.PublishedStep(step, row.acquired_at)
    judged = judgements.save_judgements(conn, {observation_id}, [published], open_before, now)
    count = raising.add_alerts(conn, observation_id, alerts, now)
    due = sorted({change_id for change_id, _ in judged})
    corrections.follow_up(conn, due, turn or (lambda _: SendTime(now)), now)
    publishing.finish_observation(conn, observation_id, now)
    touched = [state.track_id for state in step.states]
    summaries.follow_fold(conn, series_id, changes, [observation_id], touched)
    return count


def _write(
    conn: Connection, acquired_at: datetime, now: datetime, step: TrackingStep
) -> summaries.StateChanges:
    changes = publishing.add_states(conn, step, acquired_at, now)
    publishing.add_lineage(conn, step)
    publishing.add_changes(conn, step, now)
    publishing.link_detections(conn, step)
    return changes
