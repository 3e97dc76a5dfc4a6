"""What remains to be done: what is free, who holds what, and what waits."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from segwatch.db import admission
from segwatch.db.admission import IS_ACTIVE, IS_ELIGIBLE, IS_FREE
from segwatch.db.circuits import PROBE_ENDS

_WAITING = text(
    f"""
    SELECT EXISTS (
        SELECT 1 FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.revision_id
        WHERE {IS_FREE}
          AND o.model_version = :model_version
          AND {IS_ELIGIBLE})
    """  # noqa: S608 - parts of this file
)
#: Seconds until the first pending observation may be leased, unless that is now.
_NEXT_ATTEMPT = text(
    f"""
    SELECT CAST(extract(epoch FROM min(greatest(o.not_before, c.at)) - clock_timestamp()) AS float8)
    FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.revision_id
    CROSS JOIN LATERAL (
        SELECT max(greatest(c.retry_at, CASE WHEN c.probe_worker <> :worker THEN {PROBE_ENDS} END)) AS at
        FROM segwatch.circuit c WHERE c.name = ANY(o.circuits) AND c.failures > 0) c
    WHERE o.state = 'pending' AND o.model_version = :model_version
      AND NOT (o.circuits && CAST(:left_alone AS text[]))
      AND {IS_ACTIVE}
      AND {IS_ELIGIBLE}
    """  # noqa: S608 - parts of this file
)
_HELD_BY_OTHERS = text(
    f"""
    SELECT o.id, o.lease_until FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.revision_id
    WHERE o.state = 'leased' AND o.lease_worker <> :worker AND o.lease_until >= clock_timestamp()
      AND o.model_version = :model_version AND {IS_ELIGIBLE}
    """  # noqa: S608 - parts of this file
)
_FREE_WATCHES = text(
    f"""
    SELECT DISTINCT w.name FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.revision_id
    WHERE o.state IN ('pending', 'leased') AND {IS_FREE} AND o.model_version = :model_version ORDER BY w.name
    """  # noqa: S608 - parts of this file
)
_UNTOUCHED = text(
    """
    SELECT o.id FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.revision_id
    WHERE o.state = 'pending' AND o.leased_at IS NULL AND o.model_version = :model_version AND w.name = :watch
    """
)
#: Open observations of a watch: free, held, or waiting for their next attempt.
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
    FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.revision_id
    CROSS JOIN LATERAL (
        SELECT {IS_FREE} AS free, o.state = 'leased' AND o.lease_until < clock_timestamp() AS expired) f
    WHERE o.state IN ('pending', 'leased') AND o.model_version = :model_version AND w.name = :watch
    """  # noqa: S608 - parts of this file
)


@dataclass(frozen=True, slots=True)
class OpenWork:
    """Observations of a watch that have no prediction yet, for one model; times UTC."""

    free: int
    """Can be leased now, including those whose lease has expired."""
    expired: int
    """Those of them whose lease has expired: their worker is gone."""
    expired_since: datetime | None
    held: int
    """Leased by workers whose lease has not expired."""
    held_until: datetime | None
    """When the last of these leases expires unless renewed."""
    workers: tuple[str, ...]
    """Workers that hold them."""
    later: int
    """Waiting for their next attempt."""
    next_at: datetime | None
    """When the first of them may be tried again."""
    leased_at: datetime | None
    """When the newest of all these leases was taken."""

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


def has_waiting(
    conn: Connection,
    *,
    model_version: str,
    watch: str | None = None,
    worker: str = "",
    left_alone: Collection[str] = (),
) -> bool:
    """Tell whether any scene can be leased now; see :func:`segwatch.db.ledger.lease`."""
    return bool(
        conn.execute(_WAITING, admission.select(conn, model_version, watch, worker, left_alone)).scalar_one()
    )


def is_due_within(
    conn: Connection,
    seconds: float,
    *,
    model_version: str,
    watch: str | None = None,
    worker: str = "",
    left_alone: Collection[str] = (),
) -> bool:
    """Tell whether the next attempt at any pending scene comes within so many seconds from now."""
    scope = admission.select(conn, model_version, watch, worker, left_alone)
    wait = conn.execute(_NEXT_ATTEMPT, scope).scalar()
    return wait is not None and wait <= seconds


def list_free(conn: Connection, *, model_version: str) -> list[str]:
    """List the watches that have scenes that can be leased now."""
    return list(conn.execute(_FREE_WATCHES, admission.select(conn, model_version, None, "")).scalars())


def list_other_leases(
    conn: Connection, worker: str, *, model_version: str, watch: str | None = None
) -> dict[UUID, datetime]:
    """List the unexpired leases of other workers: observation id -> when it expires unless renewed, UTC."""
    found = conn.execute(_HELD_BY_OTHERS, admission.select(conn, model_version, watch, worker))
    return {row.id: row.lease_until for row in found}


def read_open_work(conn: Connection, *, model_version: str, watch: str) -> OpenWork:
    """Read the open observations of a watch for one model."""
    values = {"model_version": model_version, "watch": watch, "worker": "", "left_alone": []}
    row = conn.execute(_OPEN, values).one()
    return OpenWork(**{**row._mapping, "workers": tuple(row.workers)})


def list_untouched(conn: Connection, *, model_version: str, watch: str) -> frozenset[UUID]:
    """List the pending observations of a watch that no worker has ever leased."""
    found = conn.execute(_UNTOUCHED, {"model_version": model_version, "watch": watch})
    return frozenset(row.id for row in found)
