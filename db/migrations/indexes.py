"""Build indexes on large tables for migrations, while others write to the tables."""

from __future__ import annotations

from sqlalchemy import Connection, text

#: An index whose building was interrupted stays behind, and nothing uses it.
_LEFT_INVALID = text(
    """
    SELECT EXISTS (
        SELECT FROM pg_index i WHERE i.indexrelid = to_regclass('segwatch.' || quote_ident(:name)) AND NOT i.indisvalid)
    """
)


def build(conn: Connection, name: str, on: str) -> None:
    """Build an index CONCURRENTLY unless it exists; ``conn`` commits each statement.

    Parameters
    ----------
    name
        Name of the index, from the code of a migration.
    on
        What follows ``ON`` in CREATE INDEX, from the code of a migration.
    """
    if conn.execute(_LEFT_INVALID, {"name": name}).scalar_one():
        conn.execute(text(f"DROP INDEX CONCURRENTLY segwatch.{name}"))
    conn.execute(text(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {on}"))
