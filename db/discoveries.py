"""Outcome of the last search of each watch's catalog, which tells an outage from "nothing new"."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, text

from segwatch.db.discovery_requests import fulfil
from segwatch.geo.text.printable import sanitize

_NOW = text("SELECT clock_timestamp()")

_SUCCEEDED = text(
    """
    INSERT INTO segwatch.discovery AS d (watch_name, attempted_at, answered_at)
    SELECT name, clock_timestamp(), clock_timestamp() FROM segwatch.watch_head WHERE name = :watch
    ON CONFLICT (watch_name) DO UPDATE
    SET attempted_at = excluded.attempted_at, answered_at = excluded.answered_at, failures = 0, error = NULL
    """
)
_FAILED = text(
    """
    INSERT INTO segwatch.discovery AS d (watch_name, attempted_at, failures, error)
    SELECT name, clock_timestamp(), 1, :error FROM segwatch.watch_head WHERE name = :watch
    ON CONFLICT (watch_name) DO UPDATE
    SET attempted_at = excluded.attempted_at, failures = d.failures + 1, error = excluded.error
    """
)


def read_clock(conn: Connection) -> datetime:
    """Return the time of the database, which requests are compared with."""
    moment: datetime = conn.execute(_NOW).scalar_one()
    return moment


def record_success(conn: Connection, watch: str, *, began_at: datetime | None = None) -> None:
    """Record that the catalog of a watch answered; nothing is recorded for a watch that is not in the ledger.

    Parameters
    ----------
    began_at
        When the search began, if it searched for everything new: it fulfils the requests from before.
    """
    conn.execute(_SUCCEEDED, {"watch": watch})
    if began_at is not None:
        fulfil(conn, watch, began_at)


def record_failure(conn: Connection, watch: str, error: str) -> None:
    """Record that the search of a watch's catalog failed, and why."""
    conn.execute(_FAILED, {"watch": watch, "error": sanitize(error)})
