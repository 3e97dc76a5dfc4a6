"""Work that may be stuck: free scenes, lost runs, expired leases and held series. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from segwatch.db import runs
from segwatch.db.runs import Run

#: Free scenes behind no open circuit, and since when: found, given back, or due for another attempt.
_IDLE = text(
    """
    SELECT w.name AS watch, count(*) AS scenes,
           min(greatest(o.discovered_at, o.not_before, o.leased_at,
                        (SELECT max(c.closed_at) FROM segwatch.circuit c WHERE c.name = ANY(o.circuits)))) AS since
    FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.revision_id
    WHERE o.state = 'pending' AND (o.not_before IS NULL OR o.not_before <= clock_timestamp())
      AND NOT EXISTS (SELECT 1 FROM segwatch.circuit c WHERE c.name = ANY(o.circuits) AND c.failures > 0)
    GROUP BY w.name ORDER BY w.name
    """
)
_MESSAGES = text(
    """
    SELECT count(*) AS messages, min(lease_until) AS since FROM segwatch.delivery
    WHERE state = 'pending' AND lease_until < clock_timestamp()
    """
)
_SERIES = text(
    """
    SELECT s.watch_name AS watch, a.pid, a.xact_start AS since FROM pg_stat_activity a
    JOIN segwatch.series s ON a.application_name = 'segwatch track ' || s.id
    WHERE a.datname = current_database() AND a.xact_start IS NOT NULL
      AND pg_has_role(a.usesysid, 'segwatch_worker', 'MEMBER')
    ORDER BY a.xact_start
    """
)


@dataclass(frozen=True, slots=True)
class IdleScenes:
    """Scenes of a watch that any worker could lease."""

    watch: str
    scenes: int
    since: datetime
    """When the first of them became free, UTC."""


@dataclass(frozen=True, slots=True)
class HeldSeries:
    """A series that a session is tracking."""

    watch: str
    pid: int
    """Process id of the session on the database server."""
    since: datetime
    """When its transaction began, UTC."""


@dataclass(frozen=True, slots=True)
class StuckWork:
    """Work that may be stuck at one moment; the doctor judges how long is too long."""

    lost_runs: tuple[Run, ...] = ()
    idle: tuple[IdleScenes, ...] = ()
    segmenting: bool = False
    """Whether any segment run is alive."""
    expired_messages: int = 0
    """Deliveries whose lease has expired: their courier is gone."""
    expired_since: datetime | None = None
    held_series: tuple[HeldSeries, ...] = ()


def read(conn: Connection) -> StuckWork:
    """Read what may be stuck now."""
    messages = conn.execute(_MESSAGES).one()
    return StuckWork(
        lost_runs=tuple(runs.list_lost(conn)),
        idle=tuple(IdleScenes(*row) for row in conn.execute(_IDLE)),
        segmenting=runs.is_alive(conn, "segment") or runs.is_alive(conn, "run"),
        expired_messages=messages.messages,
        expired_since=messages.since,
        held_series=tuple(HeldSeries(*row) for row in conn.execute(_SERIES)),
    )
