"""The three database roles. Rights on tables are granted by the migration; logins by who runs the server."""

from __future__ import annotations

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from segwatch.db.errors import SchemaError

OWNER = "segwatch_owner"
"""Owns the schemas and runs migrations."""
WORKER = "segwatch_worker"
"""Runs the flows: reads and writes rows, no DDL."""
ANALYST = "segwatch_analyst"
"""Reads the views of schema ``watch``, nothing else."""
ALL = (OWNER, WORKER, ANALYST)

_MISSING = text("SELECT name FROM unnest(CAST(:names AS text[])) AS name WHERE to_regrole(name) IS NULL")
_CREATE = {
    OWNER: text("CREATE ROLE segwatch_owner NOLOGIN"),
    WORKER: text("CREATE ROLE segwatch_worker NOLOGIN"),
    ANALYST: text("CREATE ROLE segwatch_analyst NOLOGIN"),
}


def ensure(conn: Connection) -> None:
    """Create the roles that are missing, without login.

    Raises
    ------
    SchemaError
        A role is missing and this user may not create it.
    """
    missing = conn.execute(_MISSING, {"names": list(ALL)}).scalars().all()
    for name in missing:
        try:
            conn.execute(_CREATE[name])
        except ProgrammingError as error:
            todo = " ".join(f"CREATE ROLE {one};" for one in missing)
            raise SchemaError(
                f"the database has no role {name} and this user may not create it; as an administrator run: {todo}"
            ) from error
