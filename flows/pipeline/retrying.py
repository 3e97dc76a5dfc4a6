"""Queue what failed again."""

from __future__ import annotations

from sqlalchemy import Connection

from segwatch.db import circuits, ledger, watches


def requeue_failed(conn: Connection, watch: str, model_version: str) -> int:
    """Queue the failed observations of a watch again, with all attempts, and retry scenes that wait for a source.

    Returns
    -------
    int
        Number of observations queued.

    Raises
    ------
    segwatch.db.errors.UnknownWatch
        No watch has this name.
    """
    watches.require(conn, watch)
    count = ledger.retry(conn, watch, model_version=model_version)
    circuits.probe_now(conn, watch)
    return count
