"""Who may log in to an embedded cluster, and to which of its databases.

Each service of a home that keeps a database of its own has a role of its own for it, which can connect to no other
database: who takes over such a service does not reach the ledger. ``pg_hba.conf`` says so, and so do the databases'
privileges, which also hold while a server runs that was started before.
"""

from __future__ import annotations

import hashlib
import os
import pwd
from typing import Any

import psycopg
from psycopg import sql

from segwatch.db import roles

SUPERUSER = "postgres"
LEDGER = "segwatch"
STAC = "segwatch_stac"
"""Serves the demo's catalog from the database ``stac``; reads, and logs its searches there."""
PREFECT = "segwatch_prefect"
"""Owns the database ``prefect``."""
#: Role of each service by the name of its database.
SERVICES = {"stac": STAC, "prefect": PREFECT}
ALL = (SUPERUSER, *roles.ALL, *SERVICES.values())

_MAP = "segwatch"


def render_pg_hba() -> str:
    """Text of ``pg_hba.conf``: passwords over TCP; over the socket the operating system's word on who connects."""
    known = ",".join((SUPERUSER, *roles.ALL))
    services = ",".join(SERVICES.values())
    lines = [
        "# written by segwatch at every start",
        # without a name in the system's list of users there is no peer; only our user can enter the socket's folder
        f"local all {known} peer map={_MAP}" if _user() else f"local all {known} trust",
        *(f"host {database} {role} 127.0.0.1/32 scram-sha-256" for database, role in SERVICES.items()),
        f"host all {services} all reject",
        f"local all {services} reject",
        "local all all scram-sha-256",
        "host all all 127.0.0.1/32 scram-sha-256",
    ]
    return "\n".join(lines) + "\n"


def render_pg_ident() -> str:
    """Text of ``pg_ident.conf``: this process's user may log in as any role of segwatch over the socket."""
    user = _user()
    lines = [f'{_MAP} "{user}" {role}' for role in (SUPERUSER, *roles.ALL)] if user else []
    return "\n".join(["# written by segwatch at every start", *lines]) + "\n"


def _user() -> str | None:
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return None
    return name if '"' not in name else None


def ensure_login(conn: psycopg.Connection[Any], role: str, password: str) -> None:
    """Make a role that logs in with this password, unless it is there and does."""
    name = sql.Identifier(role)
    if conn.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is None:
        conn.execute(sql.SQL("CREATE ROLE {}").format(name))
    stored = conn.execute(
        "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = %s", (role,)
    )
    row = stored.fetchone()
    mark = "segwatch " + hashlib.sha256(password.encode()).hexdigest()[:16]
    if row is not None and row[0] == mark:
        return  # nothing to change, so that a second up writes nothing
    # hashed here, so that the password itself never reaches the server's log
    hashed = conn.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    conn.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(hashed)))
    conn.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(name, sql.Literal(mark)))


def ensure_database(conn: psycopg.Connection[Any], name: str, owner: str) -> None:
    """Make a database unless it is there."""
    if conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
        statement = sql.SQL("CREATE DATABASE {} OWNER {}")
        conn.execute(statement.format(sql.Identifier(name), sql.Identifier(owner)))


def restrict_connections(conn: psycopg.Connection[Any], database: str, *members: str) -> None:
    """Let only these roles connect to a database; by default every role of the cluster may."""
    acl = conn.execute(
        "SELECT EXISTS (SELECT FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) "
        "WHERE grantee = 0 AND privilege_type = 'CONNECT') FROM pg_database WHERE datname = %s",
        (database,),
    )
    row = acl.fetchone()
    if row is None or not row[0]:
        return  # closed, and since then an operator may have let in others
    name, allowed = sql.Identifier(database), sql.SQL(", ").join(map(sql.Identifier, members))
    with conn.transaction():
        conn.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(name))
        conn.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(name, allowed))


def ensure_owner(conn: psycopg.Connection[Any], owner: str) -> None:
    """Give the database of this connection, and what lies in it, to a role; before, it was the ledger's owner's."""
    found = conn.execute(
        "SELECT d.datname, pg_get_userbyid(d.datdba) FROM pg_database d WHERE d.datname = current_database()"
    ).fetchone()
    if found is None or found[1] == owner:
        return
    name, before = sql.Identifier(found[0]), sql.Identifier(found[1])
    with conn.transaction():
        if found[1] != SUPERUSER:
            others = conn.execute(
                "SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) = %s AND datname <> %s",
                (found[1], found[0]),
            ).fetchall()
            conn.execute(sql.SQL("REASSIGN OWNED BY {} TO {}").format(before, sql.Identifier(owner)))
            for (other,) in others:  # REASSIGN takes all databases of the role, too, the ledger's among them
                conn.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(other), before))
        conn.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, sql.Identifier(owner)))
