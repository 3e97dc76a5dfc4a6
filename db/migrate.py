"""Bring the schema of a database up to date while workers and readers go on.

Each migration is a transaction of its own, which waits for a lock only briefly: whoever asks for a table after it waits
as long. A migration that met a lock is run again. Indexes on large tables are built beforehand, outside of any
transaction, by the function ``build_indexes(conn)`` of a migration, which may run more than once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from segwatch.db import accuracies, roles, summaries
from segwatch.db.engine import make_engine
from segwatch.db.errors import SchemaError, is_schema_outdated
from segwatch.db.tables import SCHEMA

#: As Alembic would create it; created first, so that it can be locked.
_VERSIONS = text(
    """
    CREATE TABLE IF NOT EXISTS segwatch.alembic_version (
        version_num varchar(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY)
    """
)
#: Serialises upgrades of one database, those of earlier versions included; roles that can only read the table can
#: neither take nor block it. Neither who holds it nor who waits for it has a snapshot, for which an index that is built
#: meanwhile would wait.
_LOCK = text("LOCK TABLE segwatch.alembic_version IN SHARE UPDATE EXCLUSIVE MODE NOWAIT")
#: Maximum wait of a migration for one lock, and so of those who ask for the same table after it.
MAX_LOCK_WAIT_MS = 500
_BRIEFLY = text(f"SET LOCAL lock_timeout = '{MAX_LOCK_WAIT_MS}ms'")
#: How long a migration that meets locks is tried again, and the pause in which others get their turn.
_LOCKED_SECONDS, _PAUSE_SECONDS = 60.0, 0.5
#: An index on a large table takes longer than statements of workers may; the lock is held without a statement.
_SETTINGS = {"statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
#: Two sessions that prepare an empty database at once collide in the system catalogs; the second one tries again.
_ATTEMPTS = 5
_COLLISIONS = (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateObject, psycopg.errors.DuplicateTable)
#: A lock that another session holds, or that both wait for.
_LOCKED = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
_DATABASE_VERSIONS = text(
    """
    SELECT (SELECT version_num FROM segwatch.alembic_version) AS schema,
           current_setting('server_version') AS postgresql, postgis_lib_version() AS postgis
    """
)
_REVISION = text("SELECT version_num FROM segwatch.alembic_version")


def make_config(connection: Connection) -> Config:
    """Make Alembic's configuration without a file."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    made.attributes["connection"] = connection
    return made


def upgrade(url: str, revision: str = "head") -> None:
    """Create or upgrade the schema with the owner's rights; repeating it changes nothing.

    Raises
    ------
    SchemaError
        An extension, a role or a right is missing; the message gives the statements that add it.
    """
    engine = make_engine(url, settings=_SETTINGS)
    try:
        _prepare(engine)
        with engine.connect() as guard:
            _retry_locked(lambda: _lock(guard))
            for script in _list_pending(engine, revision):
                if hasattr(script.module, "build_indexes"):
                    _retry_locked(partial(_build_indexes, engine, script))
                _retry_locked(partial(_migrate, engine, script.revision))
            if revision == "head":
                with engine.begin() as conn:
                    accuracies.save_missing(conn)
                    summaries.build_missing(conn)
    except (CommandError, ProgrammingError) as error:
        raise SchemaError(f"the schema could not be brought to {revision}: {error}") from error
    except OperationalError as error:
        if not isinstance(error.orig, psycopg.errors.LockNotAvailable):
            raise
        raise SchemaError(
            "another session has held the ledger's tables or views for a minute: wait for another upgrade, or end the "
            "transactions that SELECT pid, usename, xact_start FROM pg_stat_activity shows, then try again"
        ) from error
    finally:
        engine.dispose()


def _list_pending(engine: Engine, revision: str) -> list[Script]:
    """List the migrations up to a revision that the database does not have, the first one first."""
    with engine.connect() as conn:
        found = conn.execute(_REVISION).scalar()
    return list(reversed(list(_open_scripts().iterate_revisions(revision, found or "base"))))


def _lock(guard: Connection) -> None:
    try:
        guard.execute(_LOCK)
    except OperationalError:
        guard.rollback()
        raise


def _build_indexes(engine: Engine, script: Script) -> None:
    """Let a migration build its indexes, each statement on its own."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        script.module.build_indexes(conn)


def _migrate(engine: Engine, revision: str) -> None:
    with engine.begin() as conn:
        conn.execute(_BRIEFLY)
        command.upgrade(make_config(conn), revision)


def _retry_locked(work: Callable[[], None]) -> None:
    """Do work that begins a transaction; while another session holds a lock that it needs, do it again."""
    deadline = time.monotonic() + _LOCKED_SECONDS
    while True:
        try:
            work()
        except OperationalError as error:
            if not isinstance(error.orig, _LOCKED) or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _prepare(engine: Engine) -> None:
    """Check the extensions, and create the roles, the schema and the table to lock."""
    for left in reversed(range(_ATTEMPTS)):
        try:
            with engine.begin() as conn:
                _require(conn)
                roles.ensure_roles(conn)
                conn.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
                conn.execute(_VERSIONS)
        except (IntegrityError, ProgrammingError) as error:
            if not left or not isinstance(error.orig, _COLLISIONS):
                raise
        else:
            return


def describe_state(url: str) -> str:
    """Describe how far the schema of a database is, changing nothing.

    The text begins with "up to date" where this code needs no more.
    """
    engine = make_engine(url)
    try:
        with engine.connect() as conn:
            found = conn.execute(_REVISION).scalar()
    except ProgrammingError as error:
        return "none yet; run: segwatch db up" if is_schema_outdated(error) else "not shown to this role"
    finally:
        engine.dispose()
    newest = find_newest_revision()
    if found == newest:
        return "up to date"
    if found is None or found in list_revisions():
        return f"at {found} instead of {newest}; run: segwatch db up"
    return f"up to date for this version, at {found} by a newer one; install that version here, too"


@dataclass(frozen=True, slots=True)
class DatabaseVersions:
    """Versions of a database."""

    schema: str
    """Revision of its schema."""
    postgresql: str
    postgis: str


def find_newest_revision() -> str:
    """Find the revision of the schema that this code needs."""
    return str(_open_scripts().get_current_head())


def list_revisions() -> list[str]:
    """List the revisions of the schema that this code knows, the first one first."""
    return [one.revision for one in reversed(list(_open_scripts().walk_revisions()))]


def _open_scripts() -> ScriptDirectory:
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return ScriptDirectory.from_config(made)


def read_versions(conn: Connection) -> DatabaseVersions:
    """Read the versions of a database."""
    return DatabaseVersions(*conn.execute(_DATABASE_VERSIONS).one())


def _require(conn: Connection) -> None:
    extensions = set(conn.execute(text("SELECT extname FROM pg_extension")).scalars())
    missing = [f"CREATE EXTENSION {name};" for name in ("postgis", "btree_gist") if name not in extensions]
    if missing:
        raise SchemaError("run these as a superuser of this database, then try again:\n" + "\n".join(missing))
