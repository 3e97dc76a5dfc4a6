"""Circuits: an outage of a source is found once, told, and tried again by one scene at a time.

A circuit opens with the first failure. While it is open, nothing that depends on it is leased. Once its rest is over it
is half open: one worker's scene probes it, the others go on waiting. The probe's answer closes it, its failure doubles
the rest. A probe whose worker is killed is given up after a while, and another one takes its place.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

#: The shortest and the longest rest, seconds.
_SHORTEST_REST_SECONDS = 0.5
_LONGEST_REST_SECONDS = 900.0

#: Of ``segwatch.circuit c``: nobody but the prober may try it now.
IS_BLOCKED = """(c.failures > 0 AND (c.retry_at > clock_timestamp()
                OR (c.probe_until > clock_timestamp() AND c.probe_worker <> :worker)))"""

_OPEN_AMONG = text(
    f"""
    SELECT c.name, c.error, {IS_BLOCKED} AS shut,
           coalesce(c.probe_until > clock_timestamp() AND c.probe_worker = :worker, false) AS probed
    FROM segwatch.circuit c
    WHERE c.name = ANY(CAST(:names AS text[])) AND c.failures > 0 ORDER BY c.name FOR UPDATE OF c
    """  # noqa: S608 - a part of this file
)
_PROBE = text(
    """
    UPDATE segwatch.circuit
    SET probe_worker = :worker, probe_until = clock_timestamp() + make_interval(secs => :seconds)
    WHERE name = ANY(CAST(:names AS text[])) AND failures > 0
    """
)
#: What fails together counts once: the rest that began with the first failure holds for all.
_FAILED = text(
    """
    INSERT INTO segwatch.circuit AS c (name, failures, opened_at, retry_at, error)
    VALUES (:name, 1, clock_timestamp(),
            clock_timestamp() + make_interval(secs => greatest(:asked, :shortest, :first * :jitter)), :error)
    ON CONFLICT (name) DO UPDATE
    SET error = excluded.error, probe_worker = NULL, probe_until = NULL,
        opened_at = CASE WHEN c.failures = 0 THEN excluded.opened_at ELSE c.opened_at END,
        failures = CASE WHEN c.retry_at > clock_timestamp() THEN c.failures ELSE c.failures + 1 END,
        retry_at = greatest(
            clock_timestamp() + make_interval(secs => :asked),
            CASE WHEN c.retry_at > clock_timestamp() THEN c.retry_at
                 ELSE clock_timestamp() + make_interval(secs => greatest(:shortest, least(
                     :longest, :first * power(2.0, least(c.failures, 20)) * :jitter))) END)
    """
)
_ANSWERED = text(
    """
    UPDATE segwatch.circuit
    SET failures = 0, opened_at = NULL, retry_at = NULL, probe_worker = NULL, probe_until = NULL, error = NULL,
        closed_at = clock_timestamp()
    WHERE name = ANY(CAST(:names AS text[])) AND failures > 0
    """
)
_RELEASE = text(
    """
    UPDATE segwatch.circuit SET probe_worker = NULL, probe_until = NULL
    WHERE probe_worker = :worker AND probe_until IS NOT NULL
    """
)
_TRY_NOW = text(
    """
    UPDATE segwatch.circuit c SET retry_at = clock_timestamp()
    WHERE c.failures > 0 AND c.retry_at > clock_timestamp() AND EXISTS (
        SELECT 1 FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.revision_id
        WHERE w.name = :watch AND o.state = 'pending' AND c.name = ANY(o.circuits))
    """
)
_OPEN = text(
    """
    SELECT c.name, c.failures, c.opened_at, c.retry_at, c.error, count(o.id) AS waiting
    FROM segwatch.circuit c
    LEFT JOIN segwatch.observation o ON o.state = 'pending' AND c.name = ANY(o.circuits)
        AND (CAST(:watch AS text) IS NULL OR EXISTS (
            SELECT 1 FROM segwatch.watch w WHERE w.id = o.revision_id AND w.name = :watch))
    WHERE c.failures > 0
    GROUP BY c.name
    HAVING CAST(:watch AS text) IS NULL OR count(o.id) > 0
    ORDER BY c.name
    """
)


@dataclass(frozen=True, slots=True)
class OpenCircuit:
    """A source that failed and is left alone for a while; times UTC."""

    name: str
    """See :mod:`segwatch.geo.sources.http.circuits`."""
    failures: int
    """In a row."""
    opened_at: datetime
    retry_at: datetime
    error: str | None
    waiting: int
    """Observations that are known to wait for it."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why something may not be tried now."""

    name: str
    error: str | None


def check_circuits(
    conn: Connection, worker: str, names: Collection[str]
) -> tuple[dict[str, Blocked], frozenset[str]]:
    """Which of these a worker must not use now, and which it would be the first to probe.

    They are locked until the transaction ends.
    """
    if not names:
        return {}, frozenset()
    found = conn.execute(_OPEN_AMONG, {"names": sorted(names), "worker": worker}).all()
    shut = {row.name: Blocked(row.name, row.error) for row in found if row.shut}
    return shut, frozenset(row.name for row in found if not (row.shut or row.probed))


def start_probe(conn: Connection, worker: str, names: Collection[str], seconds: float) -> None:
    """Let a worker try half-open circuits; the others wait for ``seconds``, or until the outcome is recorded."""
    conn.execute(_PROBE, {"names": sorted(names), "worker": worker, "seconds": seconds})


def failed(
    conn: Connection,
    name: str,
    error: str,
    *,
    first_seconds: float,
    asked_seconds: float = 0.0,
    jitter: float = 1.0,
) -> None:
    """Record a failure: the circuit is open, for ``first_seconds`` at first, doubled by each probe that fails.

    ``asked_seconds`` is how long the source itself asks to be left alone.
    """
    values = {"name": name, "error": error, "first": first_seconds, "asked": asked_seconds, "jitter": jitter}
    limits = {"shortest": _SHORTEST_REST_SECONDS, "longest": _LONGEST_REST_SECONDS}
    conn.execute(_FAILED, values | limits)


def answered(conn: Connection, names: Collection[str]) -> int:
    """Record that these work; how many were open."""
    return conn.execute(_ANSWERED, {"names": sorted(names)}).rowcount


def release(conn: Connection, worker: str) -> None:
    """Give up the probes of a worker without an outcome; another worker may probe at once."""
    conn.execute(_RELEASE, {"worker": worker})


def try_now(conn: Connection, watch: str) -> int:
    """Let the circuits that observations of a watch wait for be probed at once; how many."""
    return conn.execute(_TRY_NOW, {"watch": watch}).rowcount


def open_now(conn: Connection, watch: str | None = None) -> list[OpenCircuit]:
    """Circuits that are open: all, or those that observations of a watch wait for."""
    return [OpenCircuit(*row) for row in conn.execute(_OPEN, {"watch": watch})]
