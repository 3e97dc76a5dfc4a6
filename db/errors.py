"""Errors of the ledger.

DbError
├── ClusterError         the embedded PostgreSQL cluster
│   ├── PostgresMissing  no PostgreSQL server binaries on this machine
│   ├── PostgisMissing   PostgreSQL is there, its PostGIS extension is not
│   ├── PortTaken        another program listens on the port asked for
│   ├── DiskFull         no space left for the data
│   ├── DataUnusable     the data directory cannot be used by this user or these binaries
│   ├── StartFailed      the server did not start; the message ends with its last log lines
│   └── ClusterDown      the cluster is not running
├── SchemaError          extensions, roles or migrations could not be put in place
│   └── IncompatibleSchema  this code is too old or too new for the schema of the database
├── CodecError           a stored definition cannot be read
├── NotFound             a watch, scene or observation is not in the ledger
│   ├── UnknownWatch     no watch has this name
│   └── IdNotFound       no id begins with these digits
├── IdAmbiguous          several ids begin with these digits
├── WatchRefused         a watch cannot be paused or resumed
├── TrialRefused         too many trials wait already
├── LeaseLost            the lease expired, and another worker has the observation or has finished it
├── PublishConflict      an observation cannot be published in its present state
├── MayWrite             the role of a public server may do more than read
├── TokenRefused         an access token cannot be created with this name, scope, watch or end
├── UserRefused          a login for a person who reads with SQL cannot be made or removed
├── MarkRefused          a mark on an alert is incomplete or invalid
├── LabelRefused         a label of a sample is incomplete, or a file of labels does not fit
├── UnknownPosition      a delta feed is asked to go on from where this ledger never was
├── SwitchRefused        a watch cannot be switched to a model, or back
└── ReviewRefused        a verdict about an object is incomplete or invalid
"""

from __future__ import annotations

import re

import psycopg
from sqlalchemy.exc import DBAPIError

from segwatch.geo.text.printable import sanitize

_MAX_LENGTH = 1000


class DbError(Exception):
    """Base of everything the db package raises on purpose."""


class ClusterError(DbError):
    """Something is wrong with the embedded PostgreSQL cluster."""


class PostgresMissing(ClusterError):
    """No PostgreSQL server binaries on this machine."""


class PostgisMissing(ClusterError):
    """PostgreSQL is installed, its PostGIS extension is not."""


class PortTaken(ClusterError):
    """Another program listens on the port asked for."""


class DiskFull(ClusterError):
    """No space left for the data."""


class DataUnusable(ClusterError):
    """The data directory cannot be used by this user or these binaries."""


class StartFailed(ClusterError):
    """The server did not start."""


class ClusterDown(ClusterError):
    """The cluster is not running."""


class SchemaError(DbError):
    """Extensions, roles or migrations could not be put in place."""


class IncompatibleSchema(SchemaError):
    """This code is too old or too new for the schema of the database."""


class MayWrite(DbError):
    """The role of a public server may do more than read."""


class CodecError(DbError):
    """A stored definition cannot be read."""


class NotFound(DbError):
    """A watch, scene or observation is not in the ledger."""


class UnknownWatch(NotFound):
    """No watch has this name."""

    def __init__(self, name: str, nearest: str | None = None) -> None:
        hint = "" if nearest is None else f"; did you mean {nearest}? If not,"
        super().__init__(
            f"no watch named {name!r} in the ledger{hint or ';'} store it with: segwatch apply FILE"
        )


class IdNotFound(NotFound):
    """No id begins with these digits."""


class IdAmbiguous(DbError):
    """Several ids begin with these digits; the message lists them."""


class WatchRefused(DbError):
    """A watch cannot be paused or resumed in its present state."""


class TrialRefused(DbError):
    """Too many trials of this reader, or of all, wait already."""


class InvalidCursor(DbError):
    """The place at which a page should begin is not one that a page before named."""


class LeaseLost(DbError):
    """The lease expired, and another worker has the observation or has finished it."""


class PublishConflict(DbError):
    """An observation cannot be published in its present state."""


class UnknownPosition(DbError):
    """A delta feed is asked to go on from a position that is not of this ledger's past."""


class SwitchRefused(DbError):
    """A watch cannot be switched to a model, or back."""


class ReviewRefused(DbError):
    """A verdict about an object is incomplete or invalid."""


class TokenRefused(DbError):
    """An access token cannot be made: its name is invalid or taken, it has no scope or watch, or its end is past."""


class UserRefused(DbError):
    """A login cannot be made or removed: its name is invalid or taken, its end is past, or a right is missing."""


class MarkRefused(DbError):
    """A mark on an alert is incomplete or invalid."""


class LabelRefused(DbError):
    """A label of a sample is incomplete, or a file of labels does not fit its assessment."""


def describe_error(error: BaseException) -> str:
    """Describe an exception in one line without secrets; of database errors, the first line of the server's message."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    message = str(error)
    if isinstance(error, psycopg.Error):
        message = message.strip().partition("\n")[0]
    line = " ".join(f"{type(error).__name__}: {message}".removesuffix(": ").split())
    return sanitize(line, _MAX_LENGTH)


#: SQLSTATEs of a server that cannot work now, whatever the statement: connection errors (08), no disk, memory or
#: connections left (53), shutting down or starting (57P), system errors (58), a read-only standby (25006), and
#: conflicts with other transactions (40001, 40P01, 55P03).
_UNAVAILABLE = ("08", "53", "57P", "58", "25006", "40001", "40P01", "55P03")


def is_connection_lost(error: BaseException) -> bool:
    """Tell whether the database was unreachable or unable to work, so that the statement may be tried again."""
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        error = error.orig or error
    if not isinstance(error, psycopg.Error):
        return False
    # errors of the server have a SQLSTATE; a failed or broken connection has none
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate.startswith(_UNAVAILABLE)


#: How PostgreSQL refuses a connection for good; psycopg keeps no SQLSTATE of it.
_REFUSED = re.compile(
    "authentication failed|does not exist|pg_hba.conf|not permitted to log in|no password supplied"
)


def is_server_away(error: BaseException) -> bool:
    """Tell whether the database does not answer now, and may do so later; a wrong user or password stays wrong."""
    return is_connection_lost(error) and not _REFUSED.search(str(error))


#: Errors of a database without this version's schema.
_MISSING = (
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedTable,
)


def is_schema_outdated(error: BaseException) -> bool:
    """Tell whether the database misses a table, column or function that this version needs."""
    return isinstance(error, DBAPIError) and isinstance(error.orig, _MISSING)
