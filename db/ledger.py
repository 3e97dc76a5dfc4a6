"""The queue: lease the best scene, stay alive, and end each observation as inferred, skipped or failed.

A lease is a worker's name and a time. It is ours until another worker takes it after that time; who lost
it changes nothing any more. Every lease counts as an attempt, so a scene that kills its worker ends too.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from shapely.errors import ShapelyError
from sqlalchemy import Connection, Row, text

from segwatch.db import scenes
from segwatch.db.codec import hex_ewkb, load_watch
from segwatch.db.errors import CodecError, DbError, LeaseLost, words
from segwatch.db.ids import make_id
from segwatch.geo.printable import clean
from segwatch.geo.types import Detection, ObservationResult, Scene, Watch

_log = logging.getLogger(__name__)

_DEFAULT_MAX_ATTEMPTS = 3
_LONGEST_WAIT_SECONDS = 3600.0

#: What nobody holds, and need not wait after a failure.
_FREE = """((o.state = 'pending' AND (o.not_before IS NULL OR o.not_before <= clock_timestamp()))
            OR (o.state = 'leased' AND o.lease_until < clock_timestamp()))"""
#: All, or the watch's own and what is more urgent.
_WHOSE = "(CAST(:watch AS text) IS NULL OR w.name = :watch OR o.priority > CAST(:above AS int))"

#: An expired lease whose attempts are used up ends here; nobody else would end it.
_GIVE_UP = text(
    """
    UPDATE segwatch.observation o
    SET state = 'failed', lease_worker = NULL, lease_until = NULL, committed_at = clock_timestamp(),
        reason = 'the worker died or hung: ' || o.attempts || ' lease(s) ran out, the last of ' || o.lease_worker
    WHERE o.id IN (
        SELECT e.id FROM segwatch.observation e
        WHERE e.state = 'leased' AND e.lease_until < clock_timestamp() AND e.attempts >= :max_attempts
        ORDER BY e.id FOR UPDATE SKIP LOCKED)
    RETURNING o.id
    """
)
_PRIORITY = text(
    """
    SELECT w.priority FROM segwatch.watch_head h JOIN segwatch.watch w ON w.id = h.watch_id WHERE h.name = :watch
    """
)
_BEST = text(
    f"""
    SELECT o.scene_id, o.items FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.watch_id
    WHERE {_FREE}
      AND o.model_version = :model_version
      AND {_WHOSE}
    ORDER BY o.priority DESC, o.acquired_at, o.scene_id, o.id
    LIMIT 1 FOR UPDATE OF o SKIP LOCKED
    """  # noqa: S608 - parts of this file
)
_TAKE = text(
    f"""
    WITH mine AS (
        SELECT o.id FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.watch_id
        WHERE o.scene_id = :scene_id AND o.model_version = :model_version
          -- what one watch reads may be what another one's profile cannot: only those of the same pixels go together
          AND o.items = CAST(:items AS uuid[])
          AND {_FREE}
          AND {_WHOSE}
        ORDER BY o.id FOR UPDATE OF o SKIP LOCKED
    )
    UPDATE segwatch.observation o
    SET state = 'leased', lease_worker = :worker, leased_at = clock_timestamp(), attempts = o.attempts + 1,
        lease_until = clock_timestamp() + make_interval(secs => :seconds), not_before = NULL
    FROM mine, segwatch.watch w
    WHERE o.id = mine.id AND w.id = o.watch_id
    RETURNING o.id, o.watch_id, o.attempts, o.items, w.definition
    """  # noqa: S608 - parts of this file
)
_WAITING = text(
    f"""
    SELECT EXISTS (
        SELECT 1 FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.watch_id
        WHERE {_FREE}
          AND o.model_version = :model_version
          AND {_WHOSE})
    """  # noqa: S608 - parts of this file
)
_HELD_BY_OTHERS = text(
    f"""
    SELECT o.id, o.lease_until FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.watch_id
    WHERE o.state = 'leased' AND o.lease_worker <> :worker AND o.lease_until >= clock_timestamp()
      AND o.model_version = :model_version AND {_WHOSE}
    """  # noqa: S608 - parts of this file
)
_UNTOUCHED = text(
    """
    SELECT o.id FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.watch_id
    WHERE o.state = 'pending' AND o.leased_at IS NULL AND o.model_version = :model_version AND w.name = :watch
    """
)
_RENEW = text(
    """
    UPDATE segwatch.observation SET lease_until = clock_timestamp() + make_interval(secs => :seconds)
    WHERE state = 'leased' AND lease_worker = :worker
    """
)
#: Stopping when told to is no attempt.
_RELEASE = text(
    """
    UPDATE segwatch.observation
    SET state = 'pending', lease_worker = NULL, lease_until = NULL, attempts = greatest(attempts - 1, 0)
    WHERE state = 'leased' AND lease_worker = :worker
    """
)
#: Where an earlier look at the scene was answered, tracking takes that back first.
_SKIP = text(
    """
    UPDATE segwatch.observation o
    SET state = CASE WHEN e.earlier THEN 'inferred' ELSE 'skipped' END, reason = :reason, lease_worker = NULL,
        lease_until = NULL, committed_at = CASE WHEN e.earlier THEN NULL ELSE clock_timestamp() END
    FROM (SELECT EXISTS (
        SELECT 1 FROM segwatch.observation n
        JOIN segwatch.observation p ON p.series_id = n.series_id AND p.scene_id = n.scene_id
        WHERE n.id = :id AND p.version < n.version AND p.superseded_at IS NULL
          AND p.state IN ('inferred', 'observed')) AS earlier) e
    WHERE o.id = :id AND o.state = 'leased' AND o.lease_worker = :worker
    """
)
#: Each failure doubles the wait.
_FAIL = text(
    """
    UPDATE segwatch.observation
    SET state = CASE WHEN attempts >= :max_attempts THEN 'failed' ELSE 'pending' END, reason = :reason,
        committed_at = CASE WHEN attempts >= :max_attempts THEN clock_timestamp() END,
        not_before = CASE WHEN attempts < :max_attempts THEN clock_timestamp() + make_interval(
            secs => least(:longest, :retry_seconds * power(2.0, least(greatest(attempts - 1, 0), 30)))) END,
        lease_worker = NULL, lease_until = NULL
    WHERE (CAST(:id AS uuid) IS NULL OR id = :id) AND state = 'leased' AND lease_worker = :worker
    """
)
#: Attempts that say nothing about the scene are not counted.
_FORGIVE = text(
    """
    UPDATE segwatch.observation
    SET state = 'pending', committed_at = NULL, attempts = greatest(attempts - 1, 0)
    WHERE id = ANY(CAST(:ids AS uuid[])) AND state IN ('pending', 'failed')
    """
)
#: By the watch as it is now, and only what a worker of this model would take up and nothing newer has replaced.
_RETRY = text(
    """
    UPDATE segwatch.observation o
    SET state = 'pending', attempts = 0, not_before = NULL, reason = NULL, committed_at = NULL,
        watch_id = w.id, priority = w.priority - (CASE WHEN o.version > 1 THEN 1 ELSE 0 END)
    FROM segwatch.series s
    JOIN segwatch.watch_head h ON h.name = s.watch_name
    JOIN segwatch.watch w ON w.id = h.watch_id AND w.instruction_id = s.instruction_id
    WHERE s.watch_name = :watch AND s.model_version = :model_version AND o.series_id = s.id AND o.state = 'failed'
      AND NOT EXISTS (
          SELECT 1 FROM segwatch.observation n
          WHERE n.series_id = o.series_id AND n.scene_id = o.scene_id AND n.version > o.version)
    """
)
_SAVE = text(
    """
    UPDATE segwatch.observation
    SET state = 'inferred', reason = NULL, lease_worker = NULL, lease_until = NULL,
        footprint = CAST(:footprint AS geometry), answer = :answer, tiles = :tiles, tiles_failed = :tiles_failed,
        clear_share = :clear_share, bytes_read = :bytes_read, compute_seconds = :compute_seconds, evidence = :evidence,
        area_km2 = ST_Area(CAST(CAST(:footprint AS geometry) AS geography)) / 1e6,
        read_at = coalesce(:read_at, read_at), inferred_at = coalesce(:inferred_at, clock_timestamp())
    WHERE id = :id AND state = 'leased' AND lease_worker = :worker
    """
)
_COPY_DETECTIONS = (
    "COPY segwatch.detection (id, observation_id, ordinal, target, geom, score, area_m2) FROM STDIN"
)
_TIMINGS = frozenset({"read_at", "inferred_at"})


@dataclass(frozen=True, slots=True)
class LeasedObservation:
    """One instruction to answer on a leased scene."""

    id: UUID
    watch_revision_id: UUID
    watch: Watch
    attempts: int
    """Attempts with this one."""


@dataclass(frozen=True, slots=True)
class SceneLease:
    """A scene and everything pending on it for one model."""

    scene_id: UUID
    scene: Scene
    """With the versions of items that the observations answer for."""
    observations: tuple[LeasedObservation, ...]


def lease(
    conn: Connection,
    *,
    worker: str,
    seconds: float,
    model_version: str,
    watch: str | None = None,
    max_attempts: int = _DEFAULT_MAX_ATTEMPTS,
    retry_seconds: float = 0.0,
) -> SceneLease | None:
    """Lease the best scene (highest priority, then oldest) that no other worker holds; None if there is none.

    With ``watch``: of this watch, or of others that have a higher priority.

    Observations whose lease ran out ``max_attempts`` times end as failed on the way. Those that cannot be read out of
    the ledger are a failed attempt each, and the next best scene takes their place.
    """
    for row in conn.execute(_GIVE_UP, {"max_attempts": max_attempts}):
        _log.warning("observation %s failed: its lease ran out %d time(s)", row.id, max_attempts)
    wanted = _wanted(conn, model_version, watch)
    while (best := conn.execute(_BEST, wanted).first()) is not None:
        given = wanted | {
            "scene_id": best.scene_id,
            "items": best.items,
            "worker": worker,
            "seconds": seconds,
        }
        rows = sorted(conn.execute(_TAKE, given), key=lambda row: str(row.id))
        found, unreadable = _read(conn, best.scene_id, rows)
        for observation_id, reason in unreadable.items():
            fail(conn, observation_id, worker, reason, max_attempts=max_attempts, retry_seconds=retry_seconds)
        if found is not None:
            return found
    return None


def _read(
    conn: Connection, scene_id: UUID, rows: Sequence[Row[Any]]
) -> tuple[SceneLease | None, dict[UUID, str]]:
    """What was taken of a scene, and why some of it cannot be read."""
    observations, unreadable = [], {}
    for row in rows:
        try:
            watch = load_watch(row.definition)
        except CodecError as error:
            unreadable[row.id] = words(error)
        else:
            observations.append(LeasedObservation(row.id, row.watch_id, watch, row.attempts))
    if not observations:
        return None, unreadable
    versions = {version for row in rows if row.id not in unreadable for version in row.items}
    try:
        scene = scenes.load(conn, scene_id, versions)
    except (DbError, ShapelyError, KeyError, TypeError, ValueError) as error:
        return None, unreadable | {one.id: words(error) for one in observations}
    return SceneLease(scene_id, scene, tuple(observations)), unreadable


def waiting(conn: Connection, *, model_version: str, watch: str | None = None) -> bool:
    """Whether anything can be leased now."""
    return bool(conn.execute(_WAITING, _wanted(conn, model_version, watch)).scalar_one())


def held_by_others(
    conn: Connection, worker: str, *, model_version: str, watch: str | None = None
) -> dict[UUID, datetime]:
    """Leases of other workers that hold, and until when: they are free then unless their worker renews them."""
    found = conn.execute(_HELD_BY_OTHERS, _wanted(conn, model_version, watch) | {"worker": worker})
    return {row.id: row.lease_until for row in found}


def untouched(conn: Connection, *, model_version: str, watch: str) -> frozenset[UUID]:
    """Pending observations of a watch that no worker has ever taken up."""
    found = conn.execute(_UNTOUCHED, {"model_version": model_version, "watch": watch})
    return frozenset(row.id for row in found)


def _wanted(conn: Connection, model_version: str, watch: str | None) -> dict[str, Any]:
    """Whose observations a run takes: all, or its own watch's and those that are more urgent.

    So a worker that is busy with years of monitoring turns to the event of today after the scene at hand.
    """
    above = None if watch is None else conn.execute(_PRIORITY, {"watch": watch}).scalar()
    return {"model_version": model_version, "watch": watch, "above": above}


def renew(conn: Connection, worker: str, seconds: float) -> int:
    """Prolong what this worker still holds; how many observations that is."""
    return conn.execute(_RENEW, {"worker": worker, "seconds": seconds}).rowcount


def release(conn: Connection, worker: str) -> int:
    """Give back what this worker still holds, uncounted; how many observations that is."""
    return conn.execute(_RELEASE, {"worker": worker}).rowcount


def skip(conn: Connection, observation_id: UUID, worker: str, reason: str) -> bool:
    """End an observation on which nothing can be seen; False when the lease was lost and nothing changed."""
    return _end(conn, _SKIP, observation_id, worker, {"reason": clean(reason)})


def fail(
    conn: Connection,
    observation_id: UUID,
    worker: str,
    reason: str,
    *,
    max_attempts: int,
    retry_seconds: float = 0.0,
) -> bool:
    """Record a failed attempt: pending again until the attempts are used up, then failed.

    The next attempt waits ``retry_seconds``, doubled by every failure, at most an hour. With ``max_attempts`` of 0
    there is none: what another attempt would not change has failed.

    False when the lease was lost and nothing changed.
    """
    values = _failure(reason, max_attempts, retry_seconds)
    return _end(conn, _FAIL, observation_id, worker, values)


def fail_held(
    conn: Connection, worker: str, reason: str, *, max_attempts: int, retry_seconds: float = 0.0
) -> int:
    """Record a failed attempt on whatever this worker still holds; how many observations that is."""
    values = _failure(reason, max_attempts, retry_seconds)
    return conn.execute(_FAIL, {"id": None, "worker": worker, **values}).rowcount


def forgive(conn: Connection, observation_ids: Collection[UUID]) -> int:
    """Do not count the last attempt on these, which nobody holds; they wait as long as if it were counted."""
    return conn.execute(_FORGIVE, {"ids": list(observation_ids)}).rowcount


def retry(conn: Connection, watch: str, *, model_version: str) -> int:
    """Queue what failed of a watch again, with all attempts ahead; how many observations that is."""
    return conn.execute(_RETRY, {"watch": watch, "model_version": model_version}).rowcount


def _failure(reason: str, max_attempts: int, retry_seconds: float) -> dict[str, Any]:
    return {
        "reason": clean(reason),
        "max_attempts": max_attempts,
        "retry_seconds": retry_seconds,
        "longest": _LONGEST_WAIT_SECONDS,
    }


def _end(conn: Connection, statement: Any, observation_id: UUID, worker: str, values: dict[str, Any]) -> bool:
    done = conn.execute(statement, {"id": observation_id, "worker": worker, **values}).rowcount == 1
    if not done:
        _log.warning("observation %s is not leased by %s any more; nothing recorded", observation_id, worker)
    return done


def save(
    conn: Connection,
    observation_id: UUID,
    worker: str,
    result: ObservationResult,
    timings: Mapping[str, datetime],
    *,
    evidence: str | None = None,
) -> None:
    """Store an answer: footprint, detections and times; the observation is inferred and waits for its turn.

    ``timings`` may have ``read_at`` and ``inferred_at``; ``evidence`` is the path of a picture of it.

    Raises
    ------
    LeaseLost
        The lease is not this worker's any more; nothing is stored.
    """
    unknown = set(timings) - _TIMINGS
    if unknown:
        raise ValueError(f"unknown timings {sorted(unknown)}; known: {sorted(_TIMINGS)}")
    values = {
        "id": observation_id,
        "worker": worker,
        "footprint": hex_ewkb(result.footprint),
        "answer": result.answer,
        "tiles": result.tiles,
        "tiles_failed": result.tiles_failed,
        "clear_share": result.clear_share,
        "bytes_read": result.bytes_read,
        "compute_seconds": result.compute_seconds,
        "read_at": timings.get("read_at"),
        "inferred_at": timings.get("inferred_at"),
        "evidence": evidence,
    }
    if conn.execute(_SAVE, values).rowcount != 1:
        raise LeaseLost(
            f"observation {observation_id} is not leased by {worker} any more; its result is dropped"
        )
    _copy_detections(conn, observation_id, result.detections)


def _copy_detections(conn: Connection, observation_id: UUID, detections: tuple[Detection, ...]) -> None:
    driver: Any = conn.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(_COPY_DETECTIONS) as copy:
        for ordinal, one in enumerate(detections):
            identity = make_id("detection", observation_id, ordinal)
            geom = hex_ewkb(one.geometry)
            copy.write_row((identity, observation_id, ordinal, one.target, geom, one.score, one.area_m2))
