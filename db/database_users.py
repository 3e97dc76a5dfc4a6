"""Logins of people who read with SQL: members of the analyst's role with limits, which read some watches or all.

What a login may read is a row of ``segwatch.database_user``, which the functions of ``segwatch/session_rights.sql``
look up for every query.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from sqlalchemy import Connection, delete, insert, select, text
from sqlalchemy.exc import DBAPIError

from segwatch.db import roles, tables, watches
from segwatch.db.errors import NotFound, UserRefused
from segwatch.db.postgis_rights import revoke_statistics

MAX_CONNECTIONS = 50
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_RESERVED = ("pg_", "postgres", "segwatch")
#: A person may raise these limits in a session of their own; they keep mistakes, not people, from doing harm.
_SETTINGS: tuple[tuple[LiteralString, str], ...] = (
    ("default_transaction_read_only", "on"),
    ("jit", "off"),
    ("idle_in_transaction_session_timeout", "10min"),
    ("lock_timeout", "5s"),
    ("timezone", "UTC"),
)
#: Only superusers may set it, and nobody else may raise it.
_DISK: tuple[LiteralString, str] = ("temp_file_limit", "4GB")
_RIGHTS = text(
    """
    SELECT r.rolname, r.rolsuper, pg_has_role(d.datdba, 'MEMBER') AS owns_database,
           r.rolsuper OR r.rolcreaterole AS creates_roles, d.datname
    FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = current_database()
    """
)
_EXISTS = text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :name)")
_NOW = text("SELECT clock_timestamp()")
_END_SESSIONS = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = :name")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a login."""

    statement_seconds: int = 60
    """Longest time of a statement, seconds; a session may raise it."""
    connections: int = 5
    expires_at: datetime | None = None
    """UTC; None = when it is revoked."""


@dataclass(frozen=True, slots=True)
class Created:
    """A new login; the password is shown once and not stored."""

    name: str
    database: str
    password: str = field(repr=False)
    advice: tuple[str, ...] = ()
    """Statements for a superuser: until they are run, statistics of PostGIS show where objects of all watches are."""


def create(
    conn: Connection,
    name: str,
    *,
    watch_names: Collection[str] | None,
    shows_names: bool,
    limits: Limits,
) -> Created:
    """Create a login that may read the views of schema ``watch`` and nothing else.

    Parameters
    ----------
    conn
        A transaction of a role that may create roles: a superuser, or the ledger's owner with CREATEROLE.
    watch_names
        Watches that it may read; None = all, also future ones.
    shows_names
        Whether it sees the names of reviewers and of people who mark alerts.

    Raises
    ------
    UserRefused
        The name is invalid or taken, the end is past, or the role of this connection may not create roles.
    NotFound
        A watch does not exist.
    """
    admin = _check(conn, name, watch_names, limits)
    made = Created(name, admin.datname, secrets.token_urlsafe(24))
    with _explain_refusal(admin.rolname):
        driver: Any = conn.connection.driver_connection
        role = sql.Identifier(name)
        driver.execute(_create_role(driver, role, made, limits))
        settings = [("statement_timeout", f"{limits.statement_seconds}s"), *_SETTINGS]
        for setting, value in [*settings, _DISK] if admin.rolsuper else settings:
            driver.execute(
                sql.SQL("ALTER ROLE {} SET {} = {}").format(role, sql.Identifier(setting), sql.Literal(value))
            )
        if admin.owns_database:
            # functions of one's own in a temporary schema could show what the views filter away
            driver.execute(
                sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(sql.Identifier(admin.datname))
            )
        row = {
            "name": name,
            "watches": None if watch_names is None else sorted(set(watch_names)),
            "shows_names": shows_names,
        }
        conn.execute(insert(tables.database_user).values(row))
        advice = () if watch_names is None else tuple(revoke_statistics(driver))
    return replace(made, advice=advice)


def _check(conn: Connection, name: str, watch_names: Collection[str] | None, limits: Limits) -> Any:
    if not _NAME.fullmatch(name) or name.startswith(_RESERVED):
        raise UserRefused(
            f"{name!r} cannot name a login; use small letters, digits and _ (at most 63), and none of "
            f"{', '.join(_RESERVED)} at the start"
        )
    if watch_names is not None and not watch_names:
        raise UserRefused("a login needs a watch, or all of them")
    if limits.expires_at is not None and limits.expires_at <= conn.execute(_NOW).scalar_one():
        raise UserRefused(f"{limits.expires_at:%Y-%m-%d %H:%M} UTC has passed; choose a later end")
    for one in watch_names or ():
        watches.require(conn, one)
    if conn.execute(_EXISTS, {"name": name}).scalar_one():
        raise UserRefused(
            f"there is a login named {name!r}; choose another name, or: segwatch db revoke-user {name}"
        )
    admin = conn.execute(_RIGHTS).one()
    if not admin.creates_roles:
        raise _refuse(admin.rolname)
    return admin


def _create_role(driver: Any, role: sql.Identifier, made: Created, limits: Limits) -> sql.Composed:
    # hashed here, so that the password never reaches the server's log
    hashed = driver.pgconn.encrypt_password(
        made.password.encode(), made.name.encode(), b"scram-sha-256"
    ).decode()
    until = "infinity" if limits.expires_at is None else limits.expires_at.isoformat()
    return sql.SQL(
        "CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT"
        " CONNECTION LIMIT {} PASSWORD {} VALID UNTIL {} IN ROLE {}"
    ).format(
        role,
        sql.Literal(limits.connections),
        sql.Literal(hashed),
        sql.Literal(until),
        sql.Identifier(roles.ANALYST),
    )


def revoke(conn: Connection, name: str) -> None:
    """Remove a login at once, with its sessions.

    Raises
    ------
    NotFound
        :func:`create` made no login of this name.
    UserRefused
        The role of this connection may not remove it.
    """
    table = tables.database_user
    admin = conn.execute(_RIGHTS).one()
    if not admin.creates_roles:
        raise _refuse(admin.rolname)
    with _explain_refusal(admin.rolname):
        if conn.execute(delete(table).where(table.c.name == name)).rowcount == 0:
            raise NotFound(f"no database user named {name!r}; see: segwatch db users")
        if conn.execute(_EXISTS, {"name": name}).scalar_one():
            driver: Any = conn.connection.driver_connection
            role = sql.Identifier(name)
            driver.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(role))
            conn.execute(_END_SESSIONS, {"name": name})
            driver.execute(sql.SQL("DROP ROLE {}").format(role))


def list_users(conn: Connection) -> list[dict[str, Any]]:
    """List the logins by name, with the watches that each may read (None = all)."""
    table = tables.database_user
    return [dict(row) for row in conn.execute(select(table).order_by(table.c.name)).mappings()]


@contextmanager
def _explain_refusal(admin: str) -> Iterator[None]:
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise _refuse(admin) from error
    except psycopg.errors.DuplicateObject as error:
        raise UserRefused("another session made a login of this name at the same time") from error
    except psycopg.errors.DependentObjectsStillExist as error:
        raise UserRefused(
            f"the login still has rights or objects elsewhere: {error.diag.message_detail}"
        ) from error
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
            raise _refuse(admin) from error
        raise


def _refuse(admin: str) -> UserRefused:
    return UserRefused(
        f"the role {admin} may not make or remove logins; set SEGWATCH_DATABASE_URL for this command to the URL of an "
        "administrator of the server, or let one run: ALTER ROLE segwatch_owner CREATEROLE, and take the owner's URL"
    )
