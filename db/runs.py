"""Runs of flows: each sends heartbeats to the ledger, so that its state does not depend on Prefect's view.

A run is lost once its lease has expired without a heartbeat. Whoever waits for a run, or for the watch that it
observes, reads this table.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import Connection, text

#: How long rows of ended runs are kept.
_KEPT_DAYS = 7
#: No run could send heartbeats while the server was down: each gets a full lease after its start.
_LOST = """(r.ended_at IS NULL AND clock_timestamp() > greatest(
    r.lease_until, pg_postmaster_start_time() + (r.lease_until - r.heartbeat_at)))"""
_COLUMNS = """r.id, r.flow, r.watch, r.worker, r.flow_run_id, r.started_at, r.heartbeat_at, r.lease_until, r.ended_at,
    r.outcome"""

_EXPIRE_HOLDER = text(
    f"""
    UPDATE segwatch.run r SET ended_at = clock_timestamp(), outcome = 'lost' WHERE {_LOST} AND r.subject = :subject
    """  # noqa: S608 - parts of this file
)
#: Prefect retries a flow run under the same id, and must not be notified that the earlier attempt is lost.
_REPLACE = text(
    """
    UPDATE segwatch.run SET ended_at = coalesce(ended_at, clock_timestamp()), outcome = 'failed'
    WHERE flow_run_id = :flow_run_id AND (ended_at IS NULL OR outcome = 'lost')
    """
)
_BEGIN = text(
    """
    INSERT INTO segwatch.run (id, flow, watch, subject, worker, flow_run_id, lease_until)
    VALUES (:id, :flow, :watch, :subject, :worker, :flow_run_id,
            clock_timestamp() + make_interval(secs => :seconds))
    ON CONFLICT (subject) WHERE ended_at IS NULL DO NOTHING
    RETURNING id
    """
)
_PRUNE = text(
    f"DELETE FROM segwatch.run WHERE ended_at < clock_timestamp() - interval '{_KEPT_DAYS} days'"  # noqa: S608
)
_HEARTBEAT = text(
    """
    UPDATE segwatch.run
    SET heartbeat_at = clock_timestamp(), lease_until = clock_timestamp() + make_interval(secs => :seconds)
    WHERE id = :id AND ended_at IS NULL
    """
)
_END = text(
    """
    UPDATE segwatch.run SET ended_at = clock_timestamp(), outcome = :outcome WHERE id = :id AND ended_at IS NULL
    """
)
_HOLDER = text(
    f"SELECT {_COLUMNS}, {_LOST} AS lost FROM segwatch.run r WHERE r.subject = :subject AND r.ended_at IS NULL"  # noqa: S608
)
_OF_FLOW_RUN = text(
    f"""
    SELECT {_COLUMNS}, {_LOST} OR r.outcome IS NOT DISTINCT FROM 'lost' AS lost FROM segwatch.run r
    WHERE r.flow_run_id = :flow_run_id ORDER BY r.started_at DESC LIMIT 1
    """  # noqa: S608 - parts of this file
)
_ALIVE = text(
    f"SELECT EXISTS (SELECT FROM segwatch.run r WHERE r.flow = :flow AND r.ended_at IS NULL AND NOT {_LOST})"  # noqa: S608
)
_ALIVE_WATCHES = text(
    f"""
    SELECT DISTINCT r.watch FROM segwatch.run r
    WHERE r.flow = ANY(CAST(:flows AS text[])) AND r.ended_at IS NULL AND NOT {_LOST}
    """  # noqa: S608 - parts of this file
)
_LOST_RUNS = text(
    f"SELECT {_COLUMNS}, true AS lost FROM segwatch.run r WHERE {_LOST} ORDER BY r.heartbeat_at"  # noqa: S608
)
_MARK_LOST = text(
    f"UPDATE segwatch.run r SET ended_at = clock_timestamp(), outcome = 'lost' WHERE {_LOST}"  # noqa: S608
)
_UNREPORTED = text(
    f"""
    SELECT {_COLUMNS}, true AS lost FROM segwatch.run r
    WHERE r.outcome = 'lost' AND r.flow_run_id IS NOT NULL AND r.reported_at IS NULL ORDER BY r.heartbeat_at
    """  # noqa: S608 - parts of this file
)
_REPORTED = text("UPDATE segwatch.run SET reported_at = clock_timestamp() WHERE id = :id")


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a flow; times UTC."""

    id: UUID
    flow: str
    """Name of the flow, such as observe or segment."""
    watch: str | None
    worker: str
    """Host and process id."""
    flow_run_id: UUID | None
    """Prefect's id; None for runs without Prefect."""
    started_at: datetime
    heartbeat_at: datetime
    lease_until: datetime
    ended_at: datetime | None
    outcome: str | None
    """completed, failed, stopped or lost; None while it runs."""
    lost: bool
    """Whether its lease has expired without a heartbeat."""

    def __str__(self) -> str:
        watch = f" of {self.watch}" if self.watch else ""
        return (
            f"{self.flow} run{watch} on {self.worker} (started {_at(self.started_at)}, "
            f"last heartbeat {_at(self.heartbeat_at)})"
        )


def begin(
    conn: Connection,
    *,
    flow: str,
    worker: str,
    seconds: float,
    watch: str | None = None,
    subject: str | None = None,
    flow_run_id: UUID | None = None,
) -> UUID | Run:
    """Register a run, whose lease lasts ``seconds`` without a heartbeat.

    Parameters
    ----------
    flow
        Name of the flow.
    worker
        Host and process id.
    watch
        Watch that it works on; None = all.
    subject
        What only one run may work on at a time. A holder whose lease has expired loses it.
    flow_run_id
        Prefect's id.

    Returns
    -------
    UUID | Run
        Id of the new run, or the run that holds the subject.
    """
    conn.execute(_PRUNE)
    if subject is not None:
        conn.execute(_EXPIRE_HOLDER, {"subject": subject})
    if flow_run_id is not None:
        conn.execute(_REPLACE, {"flow_run_id": flow_run_id})
    row = {"id": uuid4(), "flow": flow, "watch": watch, "subject": subject, "worker": worker}
    given = row | {"flow_run_id": flow_run_id, "seconds": seconds}
    while conn.execute(_BEGIN, given).first() is None:
        holder = conn.execute(_HOLDER, {"subject": subject}).first()
        if holder is not None:
            return Run(*holder)
    return UUID(str(given["id"]))


def heartbeat(conn: Connection, run_id: UUID, seconds: float) -> bool:
    """Extend the lease to so many seconds from now; False if the run was marked as lost."""
    return conn.execute(_HEARTBEAT, {"id": run_id, "seconds": seconds}).rowcount == 1


def end(conn: Connection, run_id: UUID, outcome: str) -> None:
    """Record how a run ended; a run marked as lost stays lost."""
    conn.execute(_END, {"id": run_id, "outcome": outcome})


def find_by_flow_run(conn: Connection, flow_run_id: UUID) -> Run | None:
    """Find the newest run with this id of Prefect; None if it never started."""
    found = conn.execute(_OF_FLOW_RUN, {"flow_run_id": flow_run_id}).first()
    return None if found is None else Run(*found)


def is_alive(conn: Connection, flow: str) -> bool:
    """Tell whether any run of a flow is alive."""
    return bool(conn.execute(_ALIVE, {"flow": flow}).scalar_one())


def list_watches(conn: Connection, flows: Collection[str]) -> set[str | None]:
    """List the watches that living runs of these flows work on; None = all watches."""
    return set(conn.execute(_ALIVE_WATCHES, {"flows": list(flows)}).scalars())


def list_lost(conn: Connection) -> list[Run]:
    """List runs whose lease has expired and that are not marked as lost yet."""
    return [Run(*row) for row in conn.execute(_LOST_RUNS)]


def end_lost(conn: Connection) -> list[Run]:
    """Mark runs with an expired lease as lost; returns every lost run that was not reported to Prefect yet."""
    conn.execute(_MARK_LOST)
    return [Run(*row) for row in conn.execute(_UNREPORTED)]


def mark_reported(conn: Connection, run_id: UUID) -> None:
    """Record that a lost run was reported to Prefect."""
    conn.execute(_REPORTED, {"id": run_id})


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
