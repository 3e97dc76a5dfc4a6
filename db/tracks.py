"""Series in order: what is ready, which objects it meets, and publishing a step in one transaction.

Track states are bitemporal. A new state closes the recorded range of the rows it supersedes, adds their
truncated copies and itself, all with one recorded time; no other row is touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, select, text

from segwatch.db import ground, publishing, series, tables
from segwatch.db.codec import from_ewkb, hex_ewkb, load_watch, track_state
from segwatch.db.errors import NotFound, PublishConflict
from segwatch.geo.types.tracking import Detection, TrackedObservation, TrackingStep, TrackState
from segwatch.geo.types.watch import Watch

_WATCH_NAMES = text("SELECT id, watch_name FROM segwatch.series WHERE id = ANY(CAST(:ids AS uuid[]))")
_READY_SERIES = text(
    "SELECT DISTINCT series_id FROM segwatch.observation WHERE state = 'inferred' ORDER BY series_id"
)
#: The earliest answered observation, unless an earlier one is still to come. It is late where something at its
#: place or after it was published, or where the same scene was looked at more than once.
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
    JOIN segwatch.watch w ON w.id = o.watch_id
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
           t.missed_since, t.visible_share, t.alive, t.merged_into
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
    """The next observation of a series, with what tracking needs to know."""

    observation: TrackedObservation
    watch: Watch
    origin: tuple[float, float]
    """Longitude and latitude of the series' local projection."""
    first: bool
    """Whether it is the first of its series."""
    since: datetime | None
    """When the series took over another's objects, if it did."""


@dataclass(frozen=True, slots=True)
class LateObservations:
    """Answers that change what is published already: see :mod:`segwatch.db.late_observations`."""

    origin: tuple[float, float]
    """Longitude and latitude of the series' local projection."""
    since: datetime | None
    """When the series took over another's objects, if it did."""


def ready_series(conn: Connection) -> list[UUID]:
    """Series with answered observations that are not published."""
    return list(conn.execute(_READY_SERIES).scalars())


def watch_names(conn: Connection, series_ids: Sequence[UUID]) -> dict[UUID, str]:
    """The watch of each series."""
    rows = conn.execute(_WATCH_NAMES, {"ids": list(series_ids)})
    return {row.id: row.watch_name for row in rows}


def next_ready(conn: Connection, series_id: UUID) -> ReadyObservation | LateObservations | None:
    """The next observation whose earlier ones are all final; None when there is none."""
    series.lock(conn, series_id)
    row = conn.execute(_NEXT, {"series_id": series_id}).first()
    if row is None:
        return None
    origin = (row.origin_lon, row.origin_lat)
    if row.late:
        return LateObservations(origin, row.seed_valid_at)
    observation = TrackedObservation(
        row.id, row.scene_id, row.acquired_at, from_ewkb(row.footprint), detections(conn, row.id)
    )
    return ReadyObservation(observation, load_watch(row.definition), origin, row.first, row.seed_valid_at)


def detections(conn: Connection, observation_id: UUID) -> tuple[Detection, ...]:
    """What an observation found, in its order."""
    table = tables.detection.c
    query = (
        select(table.target, table.geom, table.score, table.area_m2)
        .where(table.observation_id == observation_id)
        .order_by(table.ordinal)
    )
    rows = conn.execute(query)
    return tuple(Detection(row.target, from_ewkb(row.geom.data), row.score, row.area_m2) for row in rows)


def live(conn: Connection, series_id: UUID, where: BaseGeometry) -> list[TrackState]:
    """Present states of the objects that are there, disappeared ones included, merged ones not."""
    values = {"series_id": series_id, "footprint": hex_ewkb(where)}
    return [track_state(row) for row in conn.execute(_LIVE, values)]


def publish(
    conn: Connection,
    series_id: UUID,
    observation_id: UUID,
    step: TrackingStep,
    alerts: Sequence[publishing.Chosen],
    object_ids: Mapping[UUID, UUID] | None = None,
) -> int:
    """Publish an observation and what it did to its series, in the caller's transaction.

    An observation that is published already stays as it is. ``object_ids`` names the first identity of objects
    that the series takes over with it.

    Returns
    -------
    int
        How many alerts were raised: one a change and rule, none about objects that a review rejected.

    Raises
    ------
    NotFound
        The series has no such observation.
    PublishConflict
        It was not answered, the step belongs to another observation, or a newer one is published: late ones
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
    now = publishing.moment(conn, series_id)
    publishing.add_tracks(conn, series_id, step, object_ids)
    ground.save(conn, series_id, [(observation_id, step.new_ground)])
    count = _write(conn, row.acquired_at, now, step, alerts)
    publishing.finish(conn, observation_id, now)
    return count


def _write(
    conn: Connection,
    acquired_at: datetime,
    now: datetime,
    step: TrackingStep,
    alerts: Sequence[publishing.Chosen],
) -> int:
    publishing.add_states(conn, step, acquired_at, now)
    publishing.add_lineage(conn, step)
    publishing.add_changes(conn, step, now)
    publishing.link_detections(conn, step)
    return publishing.add_alerts(conn, step, alerts, now)
