"""SQLAlchemy engines with the settings every segwatch connection relies on."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError

from segwatch.db.errors import DbError

_OPTIONS = " ".join(
    (
        "-c timezone=UTC",
        "-c statement_timeout=300s",
        "-c lock_timeout=60s",
        # a worker that hangs inside a transaction must not hold row locks for ever
        "-c idle_in_transaction_session_timeout=600s",
    )
)
_CONNECT_SECONDS = 10


def driver_url(url: str | URL) -> URL:
    """The URL with the psycopg driver; ``postgresql://`` and ``postgres://`` are accepted.

    Raises
    ------
    DbError
        Not a PostgreSQL URL.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # what could not be parsed may hold the password, also in the words of the error
        raise DbError(
            "the database URL cannot be parsed; use postgresql://user@host:port/database, the port a number"
        ) from None
    if parsed.get_backend_name() not in {"postgresql", "postgres"}:
        raise DbError(f"the database URL is for {parsed.get_backend_name()}; segwatch needs postgresql://")
    return parsed.set(drivername="postgresql+psycopg")


def for_libpq(url: str | URL) -> tuple[str, str | None]:
    """The same database as programs of libpq name it: a connection string without the password, and the password.

    Raises
    ------
    DbError
        Not a PostgreSQL URL, or with an option that there is not.
    """
    parsed = driver_url(url)
    _, arguments = parsed.get_dialect()().create_connect_args(parsed)
    given = dict(arguments)
    password = given.pop("password", None)
    try:
        return make_conninfo(**given), password
    except psycopg.ProgrammingError as error:
        raise DbError(f"the database URL: {error}") from error


def make_engine(
    url: str | URL,
    *,
    application_name: str = "segwatch",
    read_only: bool = False,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Engine:
    """Engine on UTC, with timeouts on connecting, statements, locks and idle transactions.

    ``settings`` are those that every session begins with, and goes back to.
    ``read_only`` guards against oversights; what a role may do guards against people.

    Its errors show neither the values of statements nor rows: addresses of channels hold keys, and errors end in logs
    and in Prefect's database.

    Raises
    ------
    DbError
        Not a PostgreSQL URL.
    """
    if read_only:
        settings = {**settings, "default_transaction_read_only": "on"}
    options = " ".join((_OPTIONS, *(f"-c {name}={value}" for name, value in settings.items())))
    engine = create_engine(
        driver_url(url),
        pool_pre_ping=True,
        pool_size=5,
        hide_parameters=True,
        connect_args={
            "options": options,
            "connect_timeout": _CONNECT_SECONDS,
            "application_name": application_name,
        },
    )
    event.listen(engine, "handle_error", _without_rows)
    return engine


def _without_rows(context: ExceptionContext) -> None:
    """Take out of an error what the server adds to its message: it quotes the row that it refused."""
    driver = context.original_exception
    if not isinstance(driver, psycopg.Error):
        return
    for quoting in (driver.diag.message_detail, driver.diag.context):
        for error in (driver, context.sqlalchemy_exception):
            if quoting and error is not None:
                error.args = tuple(str(one).replace(quoting, "(not shown)") for one in error.args)
