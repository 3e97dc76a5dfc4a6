"""The queue: lease the best scene, stay alive, and end each observation as inferred, skipped or failed.

A lease is a worker's name and a time. It is ours until another worker takes it after that time; who lost
it changes nothing any more. A lease counts as an attempt once its worker says what became of it. Leases that run out
say nothing about the scene, as workers are killed for many reasons; only a scene whose leases ran out
:data:`MAX_LOST_LEASES` times in a row is taken to kill its workers. Neither does a source or a machine that fails:
see :func:`segwatch.db.admission.refuse`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from shapely.errors import ShapelyError
from sqlalchemy import Connection, Row, text

from segwatch.db import admission, scenes
from segwatch.db.admission import FREE, WHOSE
from segwatch.db.codec import hex_ewkb, load_watch
from segwatch.db.errors import CodecError, DbError, LeaseLost, words
from segwatch.db.ids import make_id
from segwatch.geo.text.printable import clean
from segwatch.geo.types.scene import Scene
from segwatch.geo.types.tracking import Detection, ObservationResult
from segwatch.geo.types.watch import Watch

_log = logging.getLogger(__name__)

_DEFAULT_MAX_ATTEMPTS = 3
_LONGEST_WAIT_SECONDS = 3600.0

#: How long the outcome of a probe is waited for: reading a scene takes no longer where the source works.
PROBE_SECONDS = 600.0
#: A worker is killed more often than that by no machine that works at all.
MAX_LOST_LEASES = 10

#: A scene that kills its workers ends here; nobody else would end it.
_GIVE_UP = text(
    """
    UPDATE segwatch.observation o
    SET state = 'failed', lease_worker = NULL, lease_until = NULL, committed_at = clock_timestamp(),
        attempts = o.attempts + 1, lost_leases = o.lost_leases + 1,
        reason = 'the worker died or hung: ' || o.lost_leases + 1 || ' lease(s) ran out, the last of ' || o.lease_worker
    WHERE o.id IN (
        SELECT e.id FROM segwatch.observation e
        WHERE e.state = 'leased' AND e.lease_until < clock_timestamp() AND e.lost_leases + 1 >= :max_lost
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
    WHERE {FREE}
      AND o.model_version = :model_version
      AND {WHOSE}
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
          AND {FREE}
          AND {WHOSE}
        ORDER BY o.id FOR UPDATE OF o SKIP LOCKED
    )
    UPDATE segwatch.observation o
    SET state = 'leased', lease_worker = :worker, leased_at = clock_timestamp(),
        attempts = o.attempts + (CASE WHEN o.state = 'leased' THEN 0 ELSE 1 END),
        lost_leases = o.lost_leases + (CASE WHEN o.state = 'leased' THEN 1 ELSE 0 END),
        lease_until = clock_timestamp() + make_interval(secs => :seconds), not_before = NULL
    FROM mine, segwatch.watch w
    WHERE o.id = mine.id AND w.id = o.watch_id
    RETURNING o.id, o.watch_id, o.attempts, o.items, o.refused_at, w.definition
    """  # noqa: S608 - parts of this file
)
_WAITING = text(
    f"""
    SELECT EXISTS (
        SELECT 1 FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.watch_id
        WHERE {FREE}
          AND o.model_version = :model_version
          AND {WHOSE})
    """  # noqa: S608 - parts of this file
)
_HELD_BY_OTHERS = text(
    f"""
    SELECT o.id, o.lease_until FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.watch_id
    WHERE o.state = 'leased' AND o.lease_worker <> :worker AND o.lease_until >= clock_timestamp()
      AND o.model_version = :model_version AND {WHOSE}
    """  # noqa: S608 - parts of this file
)
_UNTOUCHED = text(
    """
    SELECT o.id FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.watch_id
    WHERE o.state = 'pending' AND o.leased_at IS NULL AND o.model_version = :model_version AND w.name = :watch
    """
)
#: What is open of a watch: free, held, or waiting for its next attempt.
_OPEN = text(
    f"""
    SELECT count(*) FILTER (WHERE f.free) AS free,
           count(*) FILTER (WHERE f.expired) AS expired, min(o.lease_until) FILTER (WHERE f.expired) AS expired_since,
           count(*) FILTER (WHERE o.state = 'leased' AND NOT f.expired) AS held,
           max(o.lease_until) FILTER (WHERE o.state = 'leased' AND NOT f.expired) AS held_until,
           coalesce(array_agg(DISTINCT o.lease_worker ORDER BY o.lease_worker)
                    FILTER (WHERE o.state = 'leased' AND NOT f.expired), '{{}}') AS workers,
           count(*) FILTER (WHERE o.state = 'pending' AND NOT f.free) AS later,
           min(o.not_before) FILTER (WHERE o.state = 'pending' AND NOT f.free) AS next_at,
           max(o.leased_at) AS leased_at
    FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.watch_id
    CROSS JOIN LATERAL (
        SELECT {FREE} AS free, o.state = 'leased' AND o.lease_until < clock_timestamp() AS expired) f
    WHERE o.state IN ('pending', 'leased') AND o.model_version = :model_version AND w.name = :watch
    """  # noqa: S608 - parts of this file
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
        lease_worker = NULL, lease_until = NULL, lost_leases = 0
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
    SET state = 'pending', attempts = 0, not_before = NULL, reason = NULL, committed_at = NULL, refusals = 0,
        refused_since = NULL, refused_at = NULL, lost_leases = 0,
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
    SET state = 'inferred', reason = NULL, lease_worker = NULL, lease_until = NULL, refusals = 0,
        refused_since = NULL, refused_at = NULL, lost_leases = 0,
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


#: Names of the circuits that a watch needs closed to read a scene.
CircuitsOf = Callable[[Scene, Watch], Collection[str]]


def _no_circuits(scene: Scene, watch: Watch) -> Collection[str]:
    return ()


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


@dataclass(frozen=True, slots=True)
class OpenWork:
    """Observations of a watch that are not answered yet, for one model; times UTC."""

    free: int
    """Can be leased now, those with an expired lease included."""
    expired: int
    """Of these, the leases of workers that are gone."""
    expired_since: datetime | None
    held: int
    """Leased by workers that are alive, as far as anybody knows."""
    held_until: datetime | None
    """When the last of these leases expires unless it is renewed."""
    workers: tuple[str, ...]
    """Who holds them."""
    later: int
    """Wait for their next attempt."""
    next_at: datetime | None
    """When the first of them may be tried."""
    leased_at: datetime | None
    """When the newest lease on what is open was taken."""

    def __str__(self) -> str:
        parts = []
        if self.free > self.expired:
            parts.append(f"{self.free - self.expired} scene(s) wait and no worker holds them")
        if self.expired and self.expired_since is not None:
            since = f"{self.expired_since:%Y-%m-%d %H:%M:%S} UTC"
            parts.append(f"{self.expired} scene(s) have a lease that expired, the oldest at {since}")
        if self.held and self.held_until is not None:
            until = f"{self.held_until:%Y-%m-%d %H:%M:%S} UTC"
            parts.append(f"{self.held} scene(s) are held by {', '.join(self.workers)} until {until}")
        if self.later:
            when = f", the first at {self.next_at:%Y-%m-%d %H:%M:%S} UTC" if self.next_at else ""
            parts.append(f"{self.later} scene(s) wait for their next attempt{when}")
        return "; ".join(parts) or "nothing is left"


def lease(
    conn: Connection,
    *,
    worker: str,
    seconds: float,
    model_version: str,
    watch: str | None = None,
    max_attempts: int = _DEFAULT_MAX_ATTEMPTS,
    retry_seconds: float = 0.0,
    circuits_of: CircuitsOf = _no_circuits,
    left_alone: Collection[str] = (),
) -> SceneLease | None:
    """Lease the best scene (highest priority, then oldest) that no other worker holds; None if there is none.

    With ``watch``: of this watch, or of others that have a higher priority.

    Observations whose lease ran out :data:`MAX_LOST_LEASES` times end as failed on the way. Those that cannot be read
    out of the ledger are a failed attempt each, and the next best scene takes their place.

    Parameters
    ----------
    circuits_of
        Names of the circuits that a watch needs closed to read a scene.
    left_alone
        Circuits that this worker does not try.
    """
    for row in conn.execute(_GIVE_UP, {"max_lost": MAX_LOST_LEASES}):
        _log.warning("observation %s failed: its lease ran out %d time(s)", row.id, MAX_LOST_LEASES)
    wanted = _wanted(conn, model_version, watch, worker, left_alone)
    while (best := conn.execute(_BEST, wanted).first()) is not None:
        given = wanted | {
            "scene_id": best.scene_id,
            "items": best.items,
            "seconds": seconds,
        }
        rows = sorted(conn.execute(_TAKE, given), key=lambda row: str(row.id))
        found, unreadable = _read(conn, best.scene_id, rows)
        for observation_id, reason in unreadable.items():
            fail(conn, observation_id, worker, reason, max_attempts=max_attempts, retry_seconds=retry_seconds)
        if found is not None and (admitted := _admitted(conn, found, rows, wanted, circuits_of)):
            return admitted
    return None


def _admitted(
    conn: Connection,
    found: SceneLease,
    rows: Sequence[Row[Any]],
    wanted: Mapping[str, Any],
    circuits_of: CircuitsOf,
) -> SceneLease | None:
    """What is left of a lease without what waits for an open circuit; None where nothing is."""
    needs = {one.id: circuits_of(found.scene, one.watch) for one in found.observations}
    refused_at = max((row.refused_at for row in rows if row.refused_at is not None), default=None)
    admitted = admission.admit(conn, wanted, needs, refused_at, PROBE_SECONDS)
    left = tuple(one for one in found.observations if one.id in admitted)
    return SceneLease(found.scene_id, found.scene, left) if left else None


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


def waiting(
    conn: Connection,
    *,
    model_version: str,
    watch: str | None = None,
    worker: str = "",
    left_alone: Collection[str] = (),
) -> bool:
    """Whether anything can be leased now; see :func:`lease`."""
    return bool(conn.execute(_WAITING, _wanted(conn, model_version, watch, worker, left_alone)).scalar_one())


def held_by_others(
    conn: Connection, worker: str, *, model_version: str, watch: str | None = None
) -> dict[UUID, datetime]:
    """Leases of other workers that hold, and until when: they are free then unless their worker renews them."""
    found = conn.execute(_HELD_BY_OTHERS, _wanted(conn, model_version, watch, worker))
    return {row.id: row.lease_until for row in found}


def open_work(conn: Connection, *, model_version: str, watch: str) -> OpenWork:
    """What is left of a watch for one model."""
    values = {"model_version": model_version, "watch": watch, "worker": "", "left_alone": []}
    row = conn.execute(_OPEN, values).one()
    return OpenWork(**{**row._mapping, "workers": tuple(row.workers)})


def untouched(conn: Connection, *, model_version: str, watch: str) -> frozenset[UUID]:
    """Pending observations of a watch that no worker has ever taken up."""
    found = conn.execute(_UNTOUCHED, {"model_version": model_version, "watch": watch})
    return frozenset(row.id for row in found)


def _wanted(
    conn: Connection,
    model_version: str,
    watch: str | None,
    worker: str,
    left_alone: Collection[str] = (),
) -> dict[str, Any]:
    """Whose observations a run takes: all, or its own watch's and those that are more urgent.

    So a worker that is busy with years of monitoring turns to the event of today after the scene at hand.
    """
    above = None if watch is None else conn.execute(_PRIORITY, {"watch": watch}).scalar()
    return {
        "model_version": model_version,
        "watch": watch,
        "above": above,
        "worker": worker,
        "left_alone": sorted(left_alone),
    }


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
