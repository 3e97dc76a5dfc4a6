"""Which versions of the code work with the schema of a database.

An upgrade migrates the database first, and workers of the version before go on meanwhile: the schema says from which
migration on the code works with it (``segwatch.works_from()``). Code never works with a schema older than its own.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, text

from segwatch.db.errors import IncompatibleSchema
from segwatch.db.migrate import find_newest_revision, list_revisions

_REVISION = text("SELECT version_num FROM segwatch.alembic_version")
_WORKS_FROM = text("SELECT segwatch.works_from()")


@dataclass(frozen=True, slots=True)
class CodeVersion:
    """Migrations that a version of the code has."""

    newest: str
    known: Collection[str]
    """All of them, the newest included."""


def read_code_version() -> CodeVersion:
    """Read which migrations this code has."""
    return CodeVersion(find_newest_revision(), frozenset(list_revisions()))


def require_compatible(conn: Connection, code: CodeVersion | None = None) -> None:
    """Check that code works with the schema of a database.

    Parameters
    ----------
    code
        None = this code.

    Raises
    ------
    IncompatibleSchema
        It does not; the message says which of the two is to be upgraded.
    """
    code = code or read_code_version()
    found = conn.execute(_REVISION).scalar()
    if found == code.newest:
        return
    if found is None or found in code.known:
        raise IncompatibleSchema(
            f"this segwatch is too new for the database: it needs the schema {code.newest}, the database has "
            f"{found or 'none'}; run: segwatch db up"
        )
    oldest = conn.execute(_WORKS_FROM).scalar()
    if oldest not in code.known:
        raise IncompatibleSchema(
            f"this segwatch is too old for the database: it knows schemas up to {code.newest}, the database has "
            f"{found}, which works with segwatch from schema {oldest} on; install the version that upgraded it"
        )
