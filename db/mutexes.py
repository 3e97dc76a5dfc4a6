"""Mutual exclusion by row locks: only a role that may update the rows can hold one.

Advisory locks will not do. Any user of the database can take any of them, and whoever holds one stops the work that
waits for it without a trace.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

#: The row is there from the migration on; tests empty the table.
_ADD = text("INSERT INTO segwatch.mutex (name) VALUES (:name) ON CONFLICT DO NOTHING")
_LOCK = text("SELECT name FROM segwatch.mutex WHERE name = :name FOR UPDATE")
_TRY_LOCK = text("SELECT name FROM segwatch.mutex WHERE name = :name FOR UPDATE SKIP LOCKED")


def lock(conn: Connection, name: str) -> None:
    """Hold the mutex until the end of this transaction; waits for whoever holds it."""
    conn.execute(_ADD, {"name": name})
    conn.execute(_LOCK, {"name": name})


def try_lock(conn: Connection, name: str) -> bool:
    """Hold the mutex until the end of this transaction; False if another session holds it."""
    conn.execute(_ADD, {"name": name})
    return conn.execute(_TRY_LOCK, {"name": name}).first() is not None
