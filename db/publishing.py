"""Rows that publishing an observation adds: tracks, states, lineage and changes.

Alerts follow in :mod:`segwatch.db.raising`.

Called by :mod:`segwatch.db.tracks` and :mod:`segwatch.db.late_observations`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.range import TimestamptzRange
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, case, or_, text
from sqlalchemy.dialects.postgresql import insert

from segwatch.db import tables, verdicts
from segwatch.db.codec import to_ewkb
from segwatch.db.errors import PublishConflict
from segwatch.db.ids import make_id
from segwatch.db.summaries import StateChanges
from segwatch.db.timeline import Segment, build_entries
from segwatch.geo.types.tracking import Change, TrackingStep

#: Later than everything recorded in the series, even within one transaction or if the clock was set back.
_RECORDED_TIME = text(
    """
    UPDATE segwatch.series
    SET recorded_to = greatest(clock_timestamp(), recorded_to + interval '1 microsecond')
    WHERE id = :series_id RETURNING recorded_to
    """
)
#: An observation without footprint was skipped: it only replaced the result of an earlier version.
_FINISH = text(
    """
    UPDATE segwatch.observation
    SET state = CASE WHEN footprint IS NULL THEN 'skipped' ELSE 'observed' END, committed_at = :now
    WHERE id = :id
    """
)
_TRACKS = text(
    """
    INSERT INTO segwatch.track (id, series_id, target, object_id)
    SELECT n.id, :series_id, n.target, n.object_id
    FROM unnest(CAST(:ids AS uuid[]), CAST(:targets AS text[]), CAST(:objects AS uuid[])) AS n(id, target, object_id)
    WHERE NOT EXISTS (SELECT 1 FROM segwatch.track k WHERE k.id = n.id)
    ORDER BY n.id
    RETURNING id
    """
)
_SUPERSEDED = text(
    """
    SELECT t.id, t.track_id, t.observation_id, lower(t.valid) AS valid_from, n.valid_from AS valid_to
    FROM segwatch.track_state t
    JOIN unnest(CAST(:tracks AS uuid[]), CAST(:starts AS timestamptz[])) AS n(track_id, valid_from)
      ON n.track_id = t.track_id
    WHERE upper_inf(t.recorded) AND t.valid && tstzrange(n.valid_from, NULL)
    ORDER BY t.id FOR UPDATE OF t
    """
)
_CLOSE = text(
    """
    UPDATE segwatch.track_state SET recorded = tstzrange(lower(recorded), :now)
    WHERE id = ANY(CAST(:ids AS uuid[]))
    """
)
_TRUNCATED = text(
    """
    INSERT INTO segwatch.track_state (id, track_id, observation_id, valid, recorded, geom, area_m2, score,
        first_seen, last_seen, last_looked, misses, missed_since, visible_share, alive, merged_into, change,
        confidence, status, observations_for, observations_against)
    SELECT n.id, t.track_id, t.observation_id, tstzrange(lower(t.valid), n.valid_to), tstzrange(:now, NULL), t.geom,
        t.area_m2, t.score, t.first_seen, t.last_seen, t.last_looked, t.misses, t.missed_since, t.visible_share,
        t.alive, t.merged_into, t.change, t.confidence, t.status, t.observations_for, t.observations_against
    FROM unnest(CAST(:old AS uuid[]), CAST(:new AS uuid[]), CAST(:ends AS timestamptz[])) AS n(old, id, valid_to)
    JOIN segwatch.track_state t ON t.id = n.old
    """
)
_COPY_STATES = (
    "COPY segwatch.track_state (id, track_id, observation_id, valid, recorded, geom, area_m2, score, first_seen,"
    " last_seen, last_looked, misses, missed_since, visible_share, alive, merged_into, change,"
    " confidence, status, observations_for, observations_against) FROM STDIN"
)
_LINK = text(
    """
    UPDATE segwatch.detection d SET track_id = n.track_id
    FROM unnest(CAST(:ordinals AS int[]), CAST(:tracks AS uuid[])) AS n(ordinal, track_id)
    WHERE d.observation_id = :id AND d.ordinal = n.ordinal
    """
)


def next_recorded_time(conn: Connection, series_id: UUID) -> datetime:
    """Return the recorded time for what is published now, UTC.

    The connection must hold the lock of the series: then recorded times of a series are committed in their order.
    """
    now: datetime = conn.execute(_RECORDED_TIME, {"series_id": series_id}).scalar_one()
    return now


def finish_observation(conn: Connection, observation_id: UUID, now: datetime) -> None:
    """Mark the observation as published."""
    conn.execute(_FINISH, {"id": observation_id, "now": now})


def add_tracks(
    conn: Connection, series_id: UUID, step: TrackingStep, object_ids: Mapping[UUID, UUID] | None = None
) -> None:
    """Add the new tracks of a step, with the verdicts about their ground carried over.

    ``object_ids`` gives the object id of tracks taken over from another series.
    """
    targets = {state.track_id: state.target for state in step.states}
    if targets:
        first = object_ids or {}
        values = {
            "ids": list(targets),
            "targets": list(targets.values()),
            "objects": [first.get(track_id, track_id) for track_id in targets],
            "series_id": series_id,
        }
        new = set(conn.execute(_TRACKS, values).scalars())
        verdicts.carry_over(conn, {one.track_id: one.geometry for one in step.states if one.track_id in new})


def add_states(conn: Connection, step: TrackingStep, acquired_at: datetime, now: datetime) -> StateChanges:
    """Close superseded states and add new ones; see :mod:`segwatch.db.tracks`."""
    added = build_entries(step, acquired_at)
    starts = {track_id: entry.start for track_id, entry in added.items()}
    if not starts:
        return StateChanges()
    old = conn.execute(_SUPERSEDED, {"tracks": list(starts), "starts": list(starts.values())}).all()
    conn.execute(_CLOSE, {"ids": [row.id for row in old], "now": now})
    kept = [row for row in old if row.valid_from < row.valid_to]
    truncated = [make_state_id(row.track_id, row.observation_id, row.valid_from, now) for row in kept]
    if kept:
        values = {
            "old": [row.id for row in kept],
            "new": truncated,
            "ends": [row.valid_to for row in kept],
            "now": now,
        }
        conn.execute(_TRUNCATED, values)
    new = copy_states(conn, [Segment(entry, None) for entry in added.values()], now)
    return StateChanges(tuple(row.id for row in old), (*truncated, *new))


def copy_states(conn: Connection, segments: Iterable[Segment], now: datetime) -> list[UUID]:
    """Add segments of track states, recorded from ``now`` on; returns their ids."""
    driver: Any = conn.connection.driver_connection
    added: list[UUID] = []
    with driver.cursor() as cursor, cursor.copy(_COPY_STATES) as copy:
        for segment in segments:
            entry = segment.entry
            identity = make_state_id(entry.state.track_id, entry.observation_id, entry.start, now)
            copy.write_row((identity, *_state_row(segment, now)))
            added.append(identity)
    return added


def make_state_id(track_id: UUID, observation_id: UUID, valid_from: datetime, now: datetime) -> UUID:
    """Make the id of a row of ``track_state``."""
    return make_id("track_state", track_id, observation_id, valid_from.timestamp(), now.timestamp())


def _state_row(segment: Segment, now: datetime) -> tuple[object, ...]:
    """Build a row of ``track_state`` without its id."""
    entry = segment.entry
    state = entry.state
    return (
        state.track_id,
        entry.observation_id,
        TimestamptzRange(entry.start, segment.end, "[)"),
        TimestamptzRange(now, None, "[)"),
        to_ewkb(state.geometry),
        state.area_m2,
        state.score,
        state.first_seen,
        state.last_seen,
        state.last_looked,
        state.misses,
        state.missed_since,
        state.visible_share,
        state.alive,
        state.merged_into,
        entry.change,
        state.belief.confidence,
        state.belief.status.value,
        state.belief.observations_for,
        state.belief.observations_against,
    )


def add_lineage(conn: Connection, step: TrackingStep) -> None:
    """Add the lineage of a step: which track came from which."""
    rows = [
        {
            "parent": one.parent,
            "child": one.child,
            "kind": one.kind.value,
            "valid_at": one.valid_at,
            "observation_id": step.observation_id,
        }
        for one in step.lineage
    ]
    if rows:
        # a retracted row holds again
        again = insert(tables.track_lineage)
        conn.execute(
            again.on_conflict_do_update(
                index_elements=["parent", "child", "kind"],
                set_={
                    "valid_at": again.excluded.valid_at,
                    "observation_id": again.excluded.observation_id,
                    "retracted_at": None,
                },
            ),
            rows,
        )


def make_change_id(scene_id: UUID, change: Change) -> UUID:
    """Make the id of a change: which scene shows what change of which track, and by how much.

    It does not depend on the version of the observation, so observing a scene again alerts nobody twice. Areas count
    with four digits: versions of one outline differ by rounding, and a square millimetre must not retract a change.
    """
    sizes = [f"{one:.4g}" for one in (change.before_m2, change.after_m2, change.score)]
    return make_id(
        "change", scene_id, change.track_id, change.kind.value, change.valid_at, *sizes, change.baseline
    )


def compute_geometries(step: TrackingStep, among: Collection[UUID]) -> dict[UUID, str]:
    """Compute the geometries of changes of a step whose ids are ``among``: id -> hex EWKB, as stored."""
    outlines = {state.track_id: state.geometry for state in step.states}
    named = {make_change_id(step.scene_id, one): one for one in step.changes}
    found = {
        identity: _stored(_ground(one, outlines.get(one.track_id)))
        for identity, one in named.items()
        if identity in among
    }
    return {identity: ground for identity, ground in found.items() if ground is not None}


def add_changes(conn: Connection, step: TrackingStep, now: datetime) -> None:
    """Store the changes of a step; a known change gets its newest geometry and areas."""
    outlines = {state.track_id: state.geometry for state in step.states}
    rows = []
    for one in step.changes:
        geometry = _ground(one, outlines.get(one.track_id))
        rows.append(
            {
                "id": make_change_id(step.scene_id, one),
                "track_id": one.track_id,
                "observation_id": step.observation_id,
                "kind": one.kind.value,
                "target": one.target,
                "valid_at": one.valid_at,
                "recorded_at": now,
                "altered_at": now,
                "before_m2": one.before_m2,
                "after_m2": one.after_m2,
                "gained": _stored(one.gained),
                "lost": _stored(one.lost),
                "geom": _stored(geometry),
                "score": one.score,
                "baseline": one.baseline,
            }
        )
    if rows:
        # folding in a late scene may give the same change other vertices and rounding, and a newer version of the
        # observation may show it
        added = insert(tables.change)
        measured = ("observation_id", "gained", "lost", "geom", "before_m2", "after_m2", "score")
        anew: dict[str, Any] = {name: added.excluded[name] for name in measured}
        stored = tables.change.c
        differs = or_(*(stored[name].is_distinct_from(added.excluded[name]) for name in measured))
        anew["altered_at"] = case((differs, added.excluded.altered_at), else_=stored.altered_at)
        conn.execute(added.on_conflict_do_update(index_elements=["id"], set_=anew), rows)


def _ground(change: Change, outline: BaseGeometry | None) -> BaseGeometry:
    ground = change.ground(outline)
    if ground is None:
        raise PublishConflict(
            f"track {change.track_id} {change.kind.value}, but the step has no state for it"
        )
    return ground


def _stored(geometry: BaseGeometry | None) -> str | None:
    return None if geometry is None or geometry.is_empty else to_ewkb(geometry)


def link_detections(conn: Connection, step: TrackingStep) -> None:
    """Link the detections of a step to their tracks."""
    linked = [(ordinal, track) for ordinal, track in enumerate(step.detection_tracks) if track is not None]
    if linked:
        ordinals, tracks = zip(*linked, strict=True)
        conn.execute(_LINK, {"id": step.observation_id, "ordinals": list(ordinals), "tracks": list(tracks)})
