"""Trials: an instruction tried on one scene, without a watch and without a trace in any series.

A row is the request, the lease of the run that works on it, and the result, until it expires. Requests are limited and
what has expired is deleted, so that the table stays small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, delete, insert, select, text

from segwatch.db import mutexes, tables
from segwatch.db.codec import dump_watch, load_watch
from segwatch.db.errors import TrialRefused
from segwatch.geo.types.watch import Watch

#: Trials that wait or run: of one reader, and of all.
MAX_PENDING, MAX_PENDING_OF_ALL = 3, 50
#: Trials of one reader that are kept; older ones that have ended are deleted.
MAX_KEPT = 20
#: After this time a trial is deleted, whatever its state.
KEPT_HOURS = 24
#: Times that a worker may take a trial: one that is killed once may have had bad luck.
MAX_ATTEMPTS = 2
_MUTEX = "trial"
_trial = tables.trial

_PRUNE = text("DELETE FROM segwatch.trial WHERE expires_at <= clock_timestamp()")
_COUNT = text(
    """
    SELECT count(*) AS every, count(*) FILTER (WHERE reader = :reader) AS own FROM segwatch.trial
    WHERE state IN ('queued', 'running')
    """
)
_TRIM = text(
    """
    DELETE FROM segwatch.trial WHERE id IN (
        SELECT id FROM segwatch.trial WHERE reader = :reader AND state IN ('done', 'failed')
        ORDER BY requested_at DESC, id OFFSET :kept)
    """
)
_EXPIRY = text("clock_timestamp() + make_interval(hours => :hours)")
#: Of a list, results come without their geometries.
_OWN = text(
    """
    SELECT id, source, definition, state, requested_at, expires_at, started_at, finished_at, stage, tiles_done, tiles,
           reason, picture IS NOT NULL AS has_picture,
           CASE WHEN CAST(:id AS uuid) IS NULL THEN result - 'polygons' - 'observed' ELSE result END AS result
    FROM segwatch.trial
    WHERE reader = :reader AND expires_at > clock_timestamp()
      AND (CAST(:id AS uuid) IS NULL OR id = CAST(:id AS uuid))
    ORDER BY requested_at DESC, id LIMIT :limit
    """
)
#: Whose worker was lost too often; an expired lease of another one is taken again.
_GIVE_UP = text(
    """
    UPDATE segwatch.trial SET state = 'failed', finished_at = clock_timestamp(), lease_until = NULL, stage = NULL,
        reason = 'the worker was lost ' || attempts || ' times while it worked on this trial; see its log'
    WHERE state = 'running' AND lease_until <= clock_timestamp() AND attempts >= :attempts
    """
)
_TAKE = text(
    """
    UPDATE segwatch.trial t
    SET state = 'running', worker = :worker, attempts = t.attempts + 1, tiles_done = NULL, tiles = NULL, stage = NULL,
        lease_until = clock_timestamp() + make_interval(secs => :seconds),
        started_at = coalesce(t.started_at, clock_timestamp())
    FROM (
        SELECT id FROM segwatch.trial
        WHERE expires_at > clock_timestamp()
          AND (state = 'queued' OR (state = 'running' AND lease_until <= clock_timestamp()))
        ORDER BY requested_at, id LIMIT 1 FOR UPDATE SKIP LOCKED) due
    WHERE t.id = due.id RETURNING t.id, t.definition, t.until
    """
)
_WAITING = text(
    """
    SELECT EXISTS (
        SELECT FROM segwatch.trial WHERE expires_at > clock_timestamp()
        AND (state = 'queued' OR (state = 'running' AND lease_until <= clock_timestamp())))
    """
)
_REPORT = text(
    """
    UPDATE segwatch.trial SET stage = :stage, tiles_done = :done, tiles = :total,
        lease_until = clock_timestamp() + make_interval(secs => :seconds)
    WHERE id = :id AND worker = :worker AND state = 'running' RETURNING id
    """
)
_END = text(
    """
    UPDATE segwatch.trial SET state = :state, reason = :reason, result = CAST(:result AS jsonb), picture = :picture,
        finished_at = clock_timestamp(), lease_until = NULL, stage = NULL
    WHERE id = :id AND worker = :worker AND state = 'running' RETURNING id
    """
)
_PUT_BACK = text(
    """
    UPDATE segwatch.trial SET state = 'queued', lease_until = NULL, stage = NULL, worker = NULL, attempts = attempts - 1
    WHERE worker = :worker AND state = 'running' RETURNING id
    """
)


@dataclass(frozen=True, slots=True)
class Request:
    """What a reader wants to try."""

    reader: str
    """Name of the token or user."""
    source: str
    """Id of the source, as the HTTP API names it."""
    watch: Watch
    """The watch that it stands for."""
    until: datetime | None = None
    """Only scenes acquired until then; None = until it runs."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A trial that a worker holds."""

    id: UUID
    watch: Watch
    until: datetime | None


def request(conn: Connection, wanted: Request) -> UUID:
    """Queue a trial, and delete those that have expired.

    Raises
    ------
    TrialRefused
        Too many of this reader, or of all, wait or run.
    """
    mutexes.lock(conn, _MUTEX)
    prune(conn)
    counts = conn.execute(_COUNT, {"reader": wanted.reader}).one()
    if counts.own >= MAX_PENDING:
        raise TrialRefused(
            f"{counts.own} trials of {wanted.reader} wait or run already; wait for one of them to end, or delete one"
        )
    if counts.every >= MAX_PENDING_OF_ALL:
        raise TrialRefused(f"{counts.every} trials wait or run already; try again later")
    conn.execute(_TRIM, {"reader": wanted.reader, "kept": MAX_KEPT - 1 - counts.own})
    made = uuid4()
    row = {
        "id": made,
        "reader": wanted.reader,
        "source": wanted.source,
        "definition": dump_watch(wanted.watch),
        "until": wanted.until,
        "state": "queued",
        "expires_at": _EXPIRY.bindparams(hours=KEPT_HOURS),
    }
    conn.execute(insert(_trial).values(row))
    return made


def prune(conn: Connection) -> None:
    """Delete the trials that have expired."""
    conn.execute(_PRUNE)


def list_own(conn: Connection, reader: str) -> list[dict[str, Any]]:
    """List the trials of a reader without geometries, the newest first; ``watch`` is the one that each stands for."""
    rows = conn.execute(_OWN, {"reader": reader, "id": None, "limit": MAX_KEPT}).mappings()
    return [_with_watch(row) for row in rows]


def find_own(conn: Connection, reader: str, identity: UUID) -> dict[str, Any] | None:
    """Find a trial of a reader; None if there is none, or none of this reader."""
    row = conn.execute(_OWN, {"reader": reader, "id": identity, "limit": 1}).mappings().first()
    return None if row is None else _with_watch(row)


def _with_watch(row: Mapping[Any, Any]) -> dict[str, Any]:
    found = dict(row)
    return found | {"watch": load_watch(found.pop("definition"))}


def find_picture(conn: Connection, reader: str, identity: UUID) -> bytes | None:
    """Find the picture of a reader's trial; None before it is done."""
    chosen = select(_trial.c.picture).where(_trial.c.id == identity, _trial.c.reader == reader)
    return conn.execute(chosen).scalar_one_or_none()


def remove(conn: Connection, reader: str, identity: UUID) -> bool:
    """Delete a trial of a reader; the run that works on it notices. False if there is none."""
    gone = delete(_trial).where(_trial.c.id == identity, _trial.c.reader == reader).returning(_trial.c.id)
    return conn.execute(gone).first() is not None


def is_waiting(conn: Connection) -> bool:
    """Whether a worker could take a trial."""
    return bool(conn.execute(_WAITING).scalar_one())


def take(conn: Connection, worker: str, seconds: float) -> Taken | None:
    """Take the trial that waited longest, for a while; None if none waits.

    Parameters
    ----------
    seconds
        Length of the lease, which :func:`report` renews; another worker takes a trial whose lease has expired.
    """
    prune(conn)
    conn.execute(_GIVE_UP, {"attempts": MAX_ATTEMPTS})
    row = conn.execute(_TAKE, {"worker": worker, "seconds": seconds}).first()
    return None if row is None else Taken(row.id, load_watch(row.definition), row.until)


def report(
    conn: Connection, identity: UUID, worker: str, seconds: float, stage: str, tiles: tuple[int, int] | None
) -> bool:
    """Report what a worker is doing and renew its lease; False if the trial is not its any more.

    Parameters
    ----------
    tiles
        Tiles done and tiles in total; None where that is not known yet.
    """
    done, total = tiles or (None, None)
    values = {"id": identity, "worker": worker, "seconds": seconds}
    return conn.execute(_REPORT, values | {"stage": stage, "done": done, "total": total}).first() is not None


def finish(conn: Connection, identity: UUID, worker: str, result: str, picture: bytes) -> bool:
    """End a trial with its result, as JSON, and its picture, a JPEG; False if it is not the worker's any more."""
    values = {"state": "done", "reason": None, "result": result, "picture": picture}
    return conn.execute(_END, values | {"id": identity, "worker": worker}).first() is not None


def fail(conn: Connection, identity: UUID, worker: str, reason: str) -> bool:
    """End a trial without a result; False if it is not the worker's any more."""
    values = {"state": "failed", "reason": reason, "result": None, "picture": None}
    return conn.execute(_END, values | {"id": identity, "worker": worker}).first() is not None


def put_back(conn: Connection, worker: str) -> int:
    """Queue what a worker holds again, because it stops; returns how many."""
    return len(conn.execute(_PUT_BACK, {"worker": worker}).all())
