"""How each watch is doing, for the people who keep it running."""

from __future__ import annotations

from sqlalchemy import Connection, text

from segwatch.db.analyst.rows import Rows, fetch_rows

_OPERATIONS = text("SELECT * FROM watch.operations()")


def list_operations(conn: Connection) -> Rows:
    """List how each watch is doing, by name; see the database function ``watch.operations``."""
    return fetch_rows(conn, _OPERATIONS)
