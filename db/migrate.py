"""Bring the schema of a database up to date."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
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
#: Serialises concurrent upgrades of one database; roles that can only read the table can neither take nor block it.
_LOCK = text("LOCK TABLE segwatch.alembic_version IN SHARE ROW EXCLUSIVE MODE")
#: Two sessions that prepare an empty database at once collide in the system catalogs; the second one tries again.
_ATTEMPTS = 5
_COLLISIONS = (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateObject, psycopg.errors.DuplicateTable)
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
    engine = make_engine(url)
    try:
        _prepare(engine)
        with engine.begin() as conn:
            conn.execute(_LOCK)
            command.upgrade(make_config(conn), revision)
            if revision == "head":
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
    """Describe how far the schema of a database is, changing nothing."""
    engine = make_engine(url)
    try:
        with engine.connect() as conn:
            newest = ScriptDirectory.from_config(make_config(conn)).get_current_head()
            found = conn.execute(_REVISION).scalar()
    except ProgrammingError as error:
        return "none yet; run: segwatch db up" if is_schema_outdated(error) else "not shown to this role"
    finally:
        engine.dispose()
    return "up to date" if found == newest else f"at {found} instead of {newest}; run: segwatch db up"


@dataclass(frozen=True, slots=True)
class DatabaseVersions:
    """Versions of a database."""

    schema: str
    """Revision of its schema."""
    postgresql: str
    postgis: str


def find_newest_revision() -> str:
    """Find the revision of the schema that this code needs."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return str(ScriptDirectory.from_config(made).get_current_head())


def read_versions(conn: Connection) -> DatabaseVersions:
    """Read the versions of a database."""
    return DatabaseVersions(*conn.execute(_DATABASE_VERSIONS).one())


def _require(conn: Connection) -> None:
    extensions = set(conn.execute(text("SELECT extname FROM pg_extension")).scalars())
    missing = [f"CREATE EXTENSION {name};" for name in ("postgis", "btree_gist") if name not in extensions]
    if missing:
        raise SchemaError("run these as a superuser of this database, then try again:\n" + "\n".join(missing))
