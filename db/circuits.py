"""Circuit breakers of imagery sources, shared by all workers through the ledger.

The first failure opens a circuit: observations that need it are not leased. After the retry time it is half open: one
worker's scene probes it while the others wait. Success closes the circuit, failure doubles the time to the next probe.
If the probing worker is killed, another one may probe once it has renewed its leases no more.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

#: Limits of the time from a failure to the next probe.
_MIN_OPEN_SECONDS = 0.5
_MAX_OPEN_SECONDS = 900.0

#: When the probe of the circuit ``segwatch.circuit c`` ends at the latest; workers of earlier versions renew no probe.
PROBE_ENDS = "least(c.probe_until, c.probe_alive_until)"
#: Whether the circuit ``segwatch.circuit c`` may not be tried now by this worker.
IS_BLOCKED = f"""(c.failures > 0 AND (c.retry_at > clock_timestamp()
                OR ({PROBE_ENDS} > clock_timestamp() AND c.probe_worker <> :worker)))"""

_OPEN_AMONG = text(
    f"""
    SELECT c.name, c.error, {IS_BLOCKED} AS shut,
           coalesce({PROBE_ENDS} > clock_timestamp() AND c.probe_worker = :worker, false) AS probed
    FROM segwatch.circuit c
    WHERE c.name = ANY(CAST(:names AS text[])) AND c.failures > 0 ORDER BY c.name FOR UPDATE OF c
    """  # noqa: S608 - a part of this file
)
_PROBE = text(
    """
    UPDATE segwatch.circuit
    SET probe_worker = :worker, probe_until = clock_timestamp() + make_interval(secs => :seconds),
        probe_alive_until = clock_timestamp() + make_interval(secs => :lease_seconds)
    WHERE name = ANY(CAST(:names AS text[])) AND failures > 0
    """
)
#: Whoever holds a lock on a circuit is about to record the outcome.
_RENEW = text(
    """
    UPDATE segwatch.circuit SET probe_alive_until = clock_timestamp() + make_interval(secs => :lease_seconds)
    WHERE name IN (SELECT c.name FROM segwatch.circuit c
                   WHERE c.probe_worker = :worker AND c.probe_until > clock_timestamp() FOR UPDATE SKIP LOCKED)
    """
)
#: Failures at the same time count once: the retry time set by the first one stays.
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
_SUCCEEDED = text(
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
    SELECT c.name, c.failures, c.opened_at, c.retry_at, c.error, count(o.id) AS waiting,
           c.retry_at <= clock_timestamp() AS due
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
    """A source that failed and is not tried for a while; times UTC."""

    name: str
    """See :mod:`segwatch.geo.sources.http.circuits`."""
    failures: int
    """Failures in a row."""
    opened_at: datetime
    retry_at: datetime
    error: str | None
    waiting: int
    """Number of observations known to wait for it."""
    due: bool = False
    """Whether it may be tried again now."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """A circuit that blocks an observation, and the error that opened it."""

    name: str
    error: str | None


def check_circuits(
    conn: Connection, worker: str, names: Collection[str]
) -> tuple[dict[str, Blocked], frozenset[str]]:
    """Check circuits for a worker, locking the open ones until the transaction ends.

    Returns
    -------
    tuple
        Circuits that block the worker, by name; and names of half-open circuits that it would be the first to probe.
    """
    if not names:
        return {}, frozenset()
    found = conn.execute(_OPEN_AMONG, {"names": sorted(names), "worker": worker}).all()
    shut = {row.name: Blocked(row.name, row.error) for row in found if row.shut}
    return shut, frozenset(row.name for row in found if not (row.shut or row.probed))


def start_probe(
    conn: Connection, worker: str, names: Collection[str], seconds: float, lease_seconds: float
) -> None:
    """Let a worker probe half-open circuits.

    Others wait until the outcome is recorded, but no longer than ``seconds``, nor than ``lease_seconds`` after the
    worker last called :func:`renew_probes`.
    """
    given = {"names": sorted(names), "worker": worker, "seconds": seconds, "lease_seconds": lease_seconds}
    conn.execute(_PROBE, given)


def renew_probes(conn: Connection, worker: str, lease_seconds: float) -> None:
    """Tell the others that a worker still probes."""
    conn.execute(_RENEW, {"worker": worker, "lease_seconds": lease_seconds})


def record_failure(
    conn: Connection,
    name: str,
    error: str,
    *,
    first_seconds: float,
    asked_seconds: float = 0.0,
    jitter: float = 1.0,
) -> None:
    """Record a failure, which opens the circuit for ``first_seconds``, doubled with each failed probe.

    ``asked_seconds`` is the minimum wait that the source asked for (``Retry-After``); ``jitter`` scales the wait.
    """
    values = {"name": name, "error": error, "first": first_seconds, "asked": asked_seconds, "jitter": jitter}
    limits = {"shortest": _MIN_OPEN_SECONDS, "longest": _MAX_OPEN_SECONDS}
    conn.execute(_FAILED, values | limits)


def record_success(conn: Connection, names: Collection[str]) -> int:
    """Record that sources work, which closes their circuits; returns how many were open."""
    return conn.execute(_SUCCEEDED, {"names": sorted(names)}).rowcount


def release_probes(conn: Connection, worker: str) -> None:
    """Give up the probes of a worker without an outcome, so that another worker may probe at once."""
    conn.execute(_RELEASE, {"worker": worker})


def probe_now(conn: Connection, watch: str) -> int:
    """Allow an immediate probe of the circuits that observations of a watch wait for; returns how many."""
    return conn.execute(_TRY_NOW, {"watch": watch}).rowcount


def list_open(conn: Connection, watch: str | None = None) -> list[OpenCircuit]:
    """List the open circuits: all, or those that observations of a watch wait for."""
    return [OpenCircuit(*row) for row in conn.execute(_OPEN, {"watch": watch})]
