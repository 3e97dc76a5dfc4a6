"""Outcomes of an attempt at an observation: predicted, skipped or failed; and what is tried again."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb
from sqlalchemy import Connection, text

from segwatch.db import second_opinion
from segwatch.db.chips import save_chips
from segwatch.db.codec import to_ewkb
from segwatch.db.errors import LeaseLost
from segwatch.db.ids import make_id
from segwatch.db.observations import NEW_DAYS
from segwatch.geo.text.printable import sanitize
from segwatch.geo.types.tracking import ObservationResult

_log = logging.getLogger(__name__)

_MAX_RETRY_SECONDS = 3600.0

#: Where an earlier observation of the scene has a result, tracking has to take that back first.
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
#: Do not count attempts that say nothing about the scene.
_FORGIVE = text(
    """
    UPDATE segwatch.observation
    SET state = 'pending', committed_at = NULL, attempts = greatest(attempts - 1, 0)
    WHERE id = ANY(CAST(:ids AS uuid[])) AND state IN ('pending', 'failed')
    """
)
#: Under the current watch revision; only observations of its instruction and this model that no newer one replaces.
_RETRY = text(
    """
    UPDATE segwatch.observation o
    SET state = 'pending', attempts = 0, not_before = NULL, reason = NULL, committed_at = NULL, refusals = 0,
        refused_since = NULL, refused_at = NULL, lost_leases = 0,
        revision_id = w.id, priority = w.priority - CAST(o.version > 1 AS int)
            - CAST(o.acquired_at < clock_timestamp() - make_interval(days => :new_days) AS int)
    FROM segwatch.series s
    JOIN segwatch.watch_head h ON h.name = s.watch_name
    JOIN segwatch.watch w ON w.id = h.revision_id AND w.instruction_id = s.instruction_id
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
    "COPY segwatch.detection (id, observation_id, ordinal, target, geom, score, area_m2, evidence, shadow_share,"
    " shadow_iou) FROM STDIN"
)
_TIMINGS = frozenset({"read_at", "inferred_at"})


def skip(conn: Connection, observation_id: UUID, worker: str, reason: str) -> bool:
    """End an observation of which nothing is clear; False if the lease was lost and nothing was recorded."""
    return _end(conn, _SKIP, observation_id, worker, {"reason": sanitize(reason)})


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

    The next attempt waits ``retry_seconds``, doubled with each failure, at most an hour. ``max_attempts`` of 0 fails
    the observation at once: for errors that another attempt would not change.

    Returns
    -------
    bool
        False if the lease was lost and nothing was recorded.
    """
    values = _failure(reason, max_attempts, retry_seconds)
    return _end(conn, _FAIL, observation_id, worker, values)


def fail_held(
    conn: Connection, worker: str, reason: str, *, max_attempts: int, retry_seconds: float = 0.0
) -> int:
    """Record a failed attempt on every observation that the worker holds; returns how many."""
    values = _failure(reason, max_attempts, retry_seconds)
    return conn.execute(_FAIL, {"id": None, "worker": worker, **values}).rowcount


def forgive(conn: Connection, observation_ids: Collection[UUID]) -> int:
    """Uncount the last attempt on observations that nobody holds, keeping their wait; returns how many."""
    return conn.execute(_FORGIVE, {"ids": list(observation_ids)}).rowcount


def retry(conn: Connection, watch: str, *, model_version: str) -> int:
    """Queue the failed observations of a watch again, with all attempts; returns how many."""
    given = {"watch": watch, "model_version": model_version, "new_days": NEW_DAYS}
    return conn.execute(_RETRY, given).rowcount


def _failure(reason: str, max_attempts: int, retry_seconds: float) -> dict[str, Any]:
    return {
        "reason": sanitize(reason),
        "max_attempts": max_attempts,
        "retry_seconds": retry_seconds,
        "longest": _MAX_RETRY_SECONDS,
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
    """Store a prediction: observed footprint, detections, chips and times. The observation then waits to be tracked.

    ``timings`` may have ``read_at`` and ``inferred_at`` (UTC); ``evidence`` is the path of its quicklook.

    Raises
    ------
    LeaseLost
        The worker has lost the lease; nothing is stored.
    """
    unknown = set(timings) - _TIMINGS
    if unknown:
        raise ValueError(f"unknown timings {sorted(unknown)}; known: {sorted(_TIMINGS)}")
    values = {
        "id": observation_id,
        "worker": worker,
        "footprint": to_ewkb(result.footprint),
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
    _copy_detections(conn, observation_id, result)
    second_opinion.save(conn, observation_id, result)
    save_chips(conn, observation_id, result.chips)


def _copy_detections(conn: Connection, observation_id: UUID, result: ObservationResult) -> None:
    driver: Any = conn.connection.driver_connection
    compared = result.shadow.objects if result.shadow is not None else ()
    with driver.cursor() as cursor, cursor.copy(_COPY_DETECTIONS) as copy:
        for ordinal, one in enumerate(result.detections):
            identity = make_id("detection", observation_id, ordinal)
            geom = to_ewkb(one.geometry)
            evidence = None if one.evidence is None else Jsonb(one.evidence.to_json())
            agreement = compared[ordinal] if compared else (None, None)
            row = (identity, observation_id, ordinal, one.target, geom, one.score, one.area_m2, evidence)
            copy.write_row((*row, *agreement))
