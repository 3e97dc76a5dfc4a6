"""Mutual exclusion by row locks: only roles that may update the rows can hold one.

Advisory locks are not used: any user of the database could take one and block work without a trace.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

#: The migration adds the row, but a restored or truncated table may lack it.
_ADD = text("INSERT INTO segwatch.mutex (name) VALUES (:name) ON CONFLICT DO NOTHING")
_LOCK = text("SELECT name FROM segwatch.mutex WHERE name = :name FOR UPDATE")
_SHARE = text("SELECT name FROM segwatch.mutex WHERE name = :name FOR SHARE")
_TRY_LOCK = text("SELECT name FROM segwatch.mutex WHERE name = :name FOR UPDATE SKIP LOCKED")


def lock(conn: Connection, name: str) -> None:
    """Take the mutex until the end of the transaction, waiting for another holder."""
    conn.execute(_ADD, {"name": name})
    conn.execute(_LOCK, {"name": name})


def try_lock(conn: Connection, name: str) -> bool:
    """Take the mutex until the end of the transaction; False if another session holds it."""
    conn.execute(_ADD, {"name": name})
    return conn.execute(_TRY_LOCK, {"name": name}).first() is not None


def share(conn: Connection, name: str) -> None:
    """Keep others from taking the mutex until the end of the transaction; any number of sessions may share it."""
    if conn.execute(_SHARE, {"name": name}).first() is None:
        conn.execute(_ADD, {"name": name})
        conn.execute(_SHARE, {"name": name})
