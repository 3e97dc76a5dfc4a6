"""Leases: take the best free scene; renew or give back what a worker holds.

A lease is a worker's name and a time. It belongs to the worker until another one takes the scene after that time;
whoever lost a lease can record nothing any more. A lease counts as an attempt once its worker records an outcome. An
expired lease says nothing about the scene, as workers are killed for many reasons; only a scene whose leases expire
:data:`MAX_LOST_LEASES` times in a row is taken to kill its workers. Failures of a source or machine are not counted
either: see :func:`segwatch.db.admission.refuse`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from shapely.errors import ShapelyError
from sqlalchemy import Connection, Row, text

from segwatch.db import admission, circuits, scenes
from segwatch.db.admission import IS_ELIGIBLE, IS_FREE
from segwatch.db.codec import load_watch
from segwatch.db.errors import CodecError, DbError, describe_error
from segwatch.db.ledger.outcomes import fail
from segwatch.geo.types.scene import Scene
from segwatch.geo.types.watch import Watch

_log = logging.getLogger(__name__)

_DEFAULT_MAX_ATTEMPTS = 3
#: Maximum wait for the outcome of a probe; where a source works, reading a scene takes less.
PROBE_SECONDS = 600.0
#: No working machine loses its workers so often in a row: the scene kills them.
MAX_LOST_LEASES = 10

#: Fail scenes that kill their workers: no worker lives to do it.
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
_BEST = text(
    f"""
    SELECT o.scene_id, o.items FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.revision_id
    WHERE {IS_FREE}
      AND o.model_version = :model_version
      AND {IS_ELIGIBLE}
    ORDER BY o.priority DESC, o.acquired_at, o.scene_id, o.id
    LIMIT 1 FOR UPDATE OF o SKIP LOCKED
    """  # noqa: S608 - parts of this file
)
_TAKE = text(
    f"""
    WITH mine AS (
        SELECT o.id FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.revision_id
        WHERE o.scene_id = :scene_id AND o.model_version = :model_version
          -- profiles may read different items: only observations of the same pixels are leased together
          AND o.items = CAST(:items AS uuid[])
          AND {IS_FREE}
          AND {IS_ELIGIBLE}
        ORDER BY o.id FOR UPDATE OF o SKIP LOCKED
    )
    UPDATE segwatch.observation o
    SET state = 'leased', lease_worker = :worker, leased_at = clock_timestamp(),
        attempts = o.attempts + (CASE WHEN o.state = 'leased' THEN 0 ELSE 1 END),
        lost_leases = o.lost_leases + (CASE WHEN o.state = 'leased' THEN 1 ELSE 0 END),
        lease_until = clock_timestamp() + make_interval(secs => :seconds), not_before = NULL
    FROM mine, segwatch.watch w
    WHERE o.id = mine.id AND w.id = o.revision_id
    RETURNING o.id, o.attempts, o.items, o.refused_at, w.definition
    """  # noqa: S608 - parts of this file
)
_RENEW = text(
    """
    UPDATE segwatch.observation SET lease_until = clock_timestamp() + make_interval(secs => :seconds)
    WHERE state = 'leased' AND lease_worker = :worker
    """
)
#: A worker that is told to stop has not made an attempt.
_RELEASE = text(
    """
    UPDATE segwatch.observation
    SET state = 'pending', lease_worker = NULL, lease_until = NULL, attempts = greatest(attempts - 1, 0)
    WHERE state = 'leased' AND lease_worker = :worker
    """
)

#: Returns the names of the circuits that must be closed for a watch to read a scene.
CircuitsOf = Callable[[Scene, Watch], Collection[str]]


def _no_circuits(scene: Scene, watch: Watch) -> Collection[str]:
    return ()


@dataclass(frozen=True, slots=True)
class LeasedObservation:
    """One instruction to predict on a leased scene."""

    id: UUID
    watch: Watch
    attempts: int
    """Number of attempts, this one included."""


@dataclass(frozen=True, slots=True)
class SceneLease:
    """A scene and all pending observations of it, for one model."""

    scene_id: UUID
    scene: Scene
    """With the item versions that the observations use."""
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
    circuits_of: CircuitsOf = _no_circuits,
    left_alone: Collection[str] = (),
) -> SceneLease | None:
    """Lease the best free scene: highest priority, then oldest. None if no scene is free.

    Observations whose lease expired :data:`MAX_LOST_LEASES` times fail on the way. Observations that cannot be loaded
    from the ledger count a failed attempt, and the next best scene is leased instead.

    Parameters
    ----------
    worker
        Name of the worker that holds the lease.
    seconds
        Length of the lease.
    watch
        Lease scenes of this watch, or of watches of higher priority; None = of all watches.
    circuits_of
        Returns the names of the circuits that must be closed for a watch to read a scene.
    left_alone
        Circuits that this worker does not try for now.
    """
    for row in conn.execute(_GIVE_UP, {"max_lost": MAX_LOST_LEASES}):
        _log.warning("observation %s failed: its lease ran out %d time(s)", row.id, MAX_LOST_LEASES)
    wanted = admission.select(conn, model_version, watch, worker, left_alone)
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
        if found is not None and (admitted := _admitted(conn, found, rows, wanted, circuits_of, seconds)):
            return admitted
    return None


def _admitted(
    conn: Connection,
    found: SceneLease,
    rows: Sequence[Row[Any]],
    wanted: Mapping[str, Any],
    circuits_of: CircuitsOf,
    seconds: float,
) -> SceneLease | None:
    """Give back observations that wait for an open circuit; None if no observation is left."""
    needs = {one.id: circuits_of(found.scene, one.watch) for one in found.observations}
    refused_at = max((row.refused_at for row in rows if row.refused_at is not None), default=None)
    admitted = admission.admit(conn, wanted, needs, refused_at, PROBE_SECONDS, seconds)
    left = tuple(one for one in found.observations if one.id in admitted)
    return SceneLease(found.scene_id, found.scene, left) if left else None


def _read(
    conn: Connection, scene_id: UUID, rows: Sequence[Row[Any]]
) -> tuple[SceneLease | None, dict[UUID, str]]:
    """Load leased observations of a scene; and why others cannot be loaded, by id."""
    observations, unreadable = [], {}
    for row in rows:
        try:
            watch = load_watch(row.definition)
        except CodecError as error:
            unreadable[row.id] = describe_error(error)
        else:
            observations.append(LeasedObservation(row.id, watch, row.attempts))
    if not observations:
        return None, unreadable
    versions = {version for row in rows if row.id not in unreadable for version in row.items}
    try:
        scene = scenes.load(conn, scene_id, versions)
    except (DbError, ShapelyError, KeyError, TypeError, ValueError) as error:
        return None, unreadable | {one.id: describe_error(error) for one in observations}
    return SceneLease(scene_id, scene, tuple(observations)), unreadable


def renew(conn: Connection, worker: str, seconds: float) -> int:
    """Extend the worker's leases, and its probes, to so many seconds from now; returns how many leases it holds."""
    renewed = conn.execute(_RENEW, {"worker": worker, "seconds": seconds}).rowcount
    circuits.renew_probes(conn, worker, seconds)
    return renewed


def release(conn: Connection, worker: str) -> int:
    """Give back the worker's leases without counting attempts; returns how many."""
    return conn.execute(_RELEASE, {"worker": worker}).rowcount
