"""Series: observations that may be compared with each other."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection, text

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(CAST(:series_id AS text), 0))")


def lock(conn: Connection, series_id: UUID) -> None:
    """Hold the series until the end of this transaction; waits for who holds it."""
    conn.execute(_LOCK, {"series_id": series_id})
