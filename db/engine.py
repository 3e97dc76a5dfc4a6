"""SQLAlchemy engines with the session settings that every segwatch connection relies on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.conninfo import make_conninfo
from psycopg.types.datetime import TimestamptzLoader
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError

from segwatch.db.errors import DbError

_OPTIONS = " ".join(
    (
        "-c timezone=UTC",
        # compiling the views takes longer than running them
        "-c jit=off",
        "-c statement_timeout=300s",
        "-c lock_timeout=60s",
        # a worker that hangs inside a transaction must not hold row locks for ever
        "-c idle_in_transaction_session_timeout=600s",
        # a client machine that has vanished must not hold locks for TCP's default of two hours; ignored on Unix sockets
        "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3",
    )
)
_CONNECT_SECONDS = 10
#: TCP keepalives that detect a vanished server: seconds, and number of probes.
_KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}


def to_driver_url(url: str | URL) -> URL:
    """Convert a URL to one with the psycopg driver; accepts ``postgresql://`` and ``postgres://``.

    Raises
    ------
    DbError
        The URL is invalid or not of PostgreSQL.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # the text and the parser's message may contain the password
        raise DbError(
            "the database URL cannot be parsed; use postgresql://user@host:port/database, the port a number"
        ) from None
    if parsed.get_backend_name() not in {"postgresql", "postgres"}:
        raise DbError(f"the database URL is for {parsed.get_backend_name()}; segwatch needs postgresql://")
    return parsed.set(drivername="postgresql+psycopg")


def to_libpq(url: str | URL) -> tuple[str, str | None]:
    """Convert a URL to a libpq connection string without password, and the password.

    Raises
    ------
    DbError
        The URL is invalid, not of PostgreSQL, or has an unknown option.
    """
    parsed = to_driver_url(url)
    _, arguments = parsed.get_dialect()().create_connect_args(parsed)
    given = dict(arguments)
    password = given.pop("password", None)
    try:
        return make_conninfo(**given), password
    except psycopg.ProgrammingError as error:
        raise DbError(f"the database URL: {error}") from error


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Limits of connections that answer requests, where somebody waits."""

    connections: int
    """Size of the pool, which has one for every request that may run at once."""
    statement_seconds: int
    connect_seconds: int = 3
    pool_seconds: float = 2.0
    """Maximum wait for a connection; a request whose client has gone holds its own until its statement ends."""
    lost_seconds: int = 10
    """Time without acknowledgement after which a connection counts as lost."""

    @property
    def options(self) -> str:
        """Session settings for the server."""
        return f"-c timezone=UTC -c jit=off -c statement_timeout={self.statement_seconds}s -c lock_timeout=2s"

    @property
    def connect_args(self) -> dict[str, int]:
        """Options for libpq; ``tcp_user_timeout`` is in milliseconds."""
        return {
            "connect_timeout": self.connect_seconds,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": self.lost_seconds * 1000,
        }


def make_engine(
    url: str | URL,
    *,
    application_name: str = "segwatch",
    read_only: bool = False,
    patience: RequestLimits | None = None,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Engine:
    """Make an engine on UTC, with timeouts on connecting, statements, locks and idle transactions.

    Errors of the engine contain neither parameters nor rows: addresses of channels hold keys, and errors end up in logs
    and in Prefect's database.

    Parameters
    ----------
    read_only
        Start every transaction read-only. Protects against mistakes; only the role's rights protect against people.
    patience
        Short limits, for servers that answer requests; None = those of workers.
    settings
        Session settings that every session starts with and returns to.

    Raises
    ------
    DbError
        The URL is invalid or not of PostgreSQL.
    """
    limits = _OPTIONS if patience is None else patience.options
    if read_only:
        settings = {**settings, "default_transaction_read_only": "on"}
    options = " ".join((limits, *(f"-c {name}={value}" for name, value in settings.items())))
    pool: dict[str, Any] = {"pool_size": 5}
    if patience is not None:
        pool = {"pool_size": patience.connections, "max_overflow": 0, "pool_timeout": patience.pool_seconds}
    engine = create_engine(
        to_driver_url(url),
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "options": options,
            "connect_timeout": _CONNECT_SECONDS,
            "application_name": application_name,
            **_KEEPALIVES,
            **({} if patience is None else patience.connect_args),
        },
        **pool,
    )
    event.listen(engine, "handle_error", _without_rows)
    event.listen(engine, "connect", _bounded_times)
    return engine


class _BoundedTimestamp(TimestamptzLoader):
    """Clamp times beyond Python's calendar, such as ``infinity``, to its first or last moment.

    One such row must not make all others unreadable.
    """

    def load(self, data: Buffer) -> datetime:
        try:
            return super().load(data)
        except psycopg.DataError:
            written = bytes(data)
            early = written.endswith(b"BC") or written == b"-infinity"
            return (datetime.min if early else datetime.max).replace(tzinfo=UTC)


def _bounded_times(connection: psycopg.Connection, _: object) -> None:
    connection.adapters.register_loader("timestamptz", _BoundedTimestamp)


def _without_rows(context: ExceptionContext) -> None:
    """Remove the details that the server adds to an error: they quote the refused row."""
    driver = context.original_exception
    if not isinstance(driver, psycopg.Error):
        return
    for detail in (driver.diag.message_detail, driver.diag.context):
        for error in (driver, context.sqlalchemy_exception):
            if detail and error is not None:
                error.args = tuple(str(one).replace(detail, "(not shown)") for one in error.args)
