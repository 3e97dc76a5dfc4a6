"""The three database roles. Migrations grant their rights; whoever runs the server gives them logins."""

from __future__ import annotations

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from segwatch.db.errors import MayWrite, SchemaError

OWNER = "segwatch_owner"
"""Owns the schemas and runs migrations."""
WORKER = "segwatch_worker"
"""Runs the flows: reads and writes rows, no DDL."""
ANALYST = "segwatch_analyst"
"""Reads the views of schema ``watch`` and nothing else."""
ALL = (OWNER, WORKER, ANALYST)

_MISSING = text("SELECT name FROM unnest(CAST(:names AS text[])) AS name WHERE to_regrole(name) IS NULL")
_CREATE = {
    OWNER: text("CREATE ROLE segwatch_owner NOLOGIN"),
    WORKER: text("CREATE ROLE segwatch_worker NOLOGIN"),
    ANALYST: text("CREATE ROLE segwatch_analyst NOLOGIN"),
}
#: Membership counts even without inherited rights, as SET ROLE would give them.
_MAY_WRITE = text(
    """
    SELECT current_user, rolsuper OR EXISTS (
        SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname IN ('segwatch', 'watch') AND c.relkind IN ('r', 'p', 'v', 'm')
          AND (pg_has_role(c.relowner, 'MEMBER')
               OR has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')))
        OR EXISTS (
        SELECT FROM pg_roles w WHERE w.rolname = 'segwatch_worker' AND pg_has_role(w.oid, 'MEMBER'))
    FROM pg_roles WHERE rolname = current_user
    """
)


def ensure_roles(conn: Connection) -> None:
    """Create missing roles, without login.

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
            if isinstance(error.orig, psycopg.errors.DuplicateObject):
                raise  # another session created it at the same time
            todo = " ".join(f"CREATE ROLE {one};" for one in missing)
            raise SchemaError(
                f"the database has no role {name} and this user may not create it; as an administrator run: {todo}"
            ) from error


def require_reader(conn: Connection) -> None:
    """Check that this user cannot change the ledger.

    Raises
    ------
    MayWrite
        It can; the message says how to make a role that cannot.
    """
    name, may_write = conn.execute(_MAY_WRITE).one()
    if may_write:
        raise MayWrite(
            f"the map answers anyone who asks, and the role {name} may change the ledger; as an administrator run: "
            "CREATE ROLE segwatch_map LOGIN PASSWORD '...' IN ROLE segwatch_analyst; and set SEGWATCH_ANALYST_URL to "
            "the postgresql:// URL of that role"
        )
