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
├── CodecError           a stored definition cannot be read
├── NotFound             a watch, scene or observation is not in the ledger
├── LeaseLost            the lease ran out and the observation belongs to another worker, or is done
├── PublishConflict      an observation cannot be published in its present state
├── MayWrite             a role that serves anyone who asks may do more than read
├── TokenRefused         an access token that says too little or nothing sensible
└── ReviewRefused        a verdict about an object lacks something or makes no sense
"""

from __future__ import annotations

import psycopg
from sqlalchemy.exc import DBAPIError

from segwatch.geo.text.printable import clean

_LONGEST_WORDS = 1000


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


class MayWrite(DbError):
    """A role that serves anyone who asks may do more than read."""


class CodecError(DbError):
    """A stored definition cannot be read."""


class NotFound(DbError):
    """A watch, scene or observation is not in the ledger."""


class LeaseLost(DbError):
    """The lease ran out and the observation belongs to another worker, or is done."""


class PublishConflict(DbError):
    """An observation cannot be published in its present state."""


class ReviewRefused(DbError):
    """A verdict about an object lacks something or makes no sense."""


class TokenRefused(DbError):
    """An access token that cannot be named, may do nothing, or has ended already."""


class MarkRefused(DbError):
    """A mark on an alert that says too little or too much."""


def words(error: BaseException) -> str:
    """An exception in one line that can be stored and shown; of the database's own, what the server said first."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    said = str(error)
    if isinstance(error, psycopg.Error):
        said = said.strip().partition("\n")[0]
    line = " ".join(f"{type(error).__name__}: {said}".removesuffix(": ").split())
    return clean(line, _LONGEST_WORDS)


#: Classes and codes of SQLSTATE that tell of the server and not of what was asked: the connection (08), no disk,
#: memory or connections left (53), a server that goes down or comes up (57P), its files (58), a standby that was
#: promoted or not yet (25006), and what others held at the same time (40001, 40P01, 55P03).
_AWAY = ("08", "53", "57P", "58", "25006", "40001", "40P01", "55P03")


def connection_lost(error: BaseException) -> bool:
    """Whether the database was not there, or could not work: nothing is wrong with what was asked of it."""
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        error = error.orig or error
    if not isinstance(error, psycopg.Error):
        return False
    # what the server itself refuses has a state; a connection that is cut or not made has none
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate.startswith(_AWAY)


#: What a database says that has another schema than this version of segwatch, or none.
_LACKING = (
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedTable,
)


def schema_lacking(error: BaseException) -> bool:
    """Whether the database lacks a table, column or function that this version works with."""
    return isinstance(error, DBAPIError) and isinstance(error.orig, _LACKING)
