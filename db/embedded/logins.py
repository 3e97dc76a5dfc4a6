"""Logins of an embedded cluster: which role may connect to which database.

Each service with a database of its own has a role that can connect to no other database, so that an attacker who takes
over the service does not reach the ledger. ``pg_hba.conf`` enforces it, and so do the privileges of the databases,
which also apply to a server that was started before.
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
"""Serves the demo's catalog from the database ``stac``: reads it, and logs searches."""
PREFECT = "segwatch_prefect"
"""Owns the database ``prefect``."""
#: Role of each service by the name of its database.
SERVICES = {"stac": STAC, "prefect": PREFECT}
ALL = (SUPERUSER, *roles.ALL, *SERVICES.values())

_MAP = "segwatch"


def render_pg_hba() -> str:
    """Render ``pg_hba.conf``: passwords over TCP, peer authentication over the socket."""
    known = ",".join((SUPERUSER, *roles.ALL))
    services = ",".join(SERVICES.values())
    lines = [
        "# written by segwatch at every start",
        # peer authentication needs a user name; without one, only our user can enter the folder of the socket
        f"local all {known} peer map={_MAP}" if _user() else f"local all {known} trust",
        *(f"host {database} {role} 127.0.0.1/32 scram-sha-256" for database, role in SERVICES.items()),
        f"host all {services} all reject",
        f"local all {services} reject",
        "local all all scram-sha-256",
        "host all all 127.0.0.1/32 scram-sha-256",
    ]
    return "\n".join(lines) + "\n"


def render_pg_ident() -> str:
    """Render ``pg_ident.conf``: the user of this process may log in as any role of segwatch over the socket."""
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
    """Create a role and set its password, each if necessary."""
    name = sql.Identifier(role)
    if conn.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is None:
        conn.execute(sql.SQL("CREATE ROLE {}").format(name))
    stored = conn.execute(
        "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = %s", (role,)
    )
    row = stored.fetchone()
    mark = "segwatch " + hashlib.sha256(password.encode()).hexdigest()[:16]
    if row is not None and row[0] == mark:
        return  # unchanged: a repeated start writes nothing
    # hashed here, so that the password never reaches the server's log
    hashed = conn.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    conn.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(hashed)))
    conn.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(name, sql.Literal(mark)))


def ensure_database(conn: psycopg.Connection[Any], name: str, owner: str) -> None:
    """Create a database if necessary."""
    if conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
        statement = sql.SQL("CREATE DATABASE {} OWNER {}")
        conn.execute(statement.format(sql.Identifier(name), sql.Identifier(owner)))


def restrict_connections(conn: psycopg.Connection[Any], database: str, *members: str) -> None:
    """Let only these roles connect to a database; by default every role may."""
    acl = conn.execute(
        "SELECT EXISTS (SELECT FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) "
        "WHERE grantee = 0 AND privilege_type = 'CONNECT') FROM pg_database WHERE datname = %s",
        (database,),
    )
    row = acl.fetchone()
    if row is None or not row[0]:
        return  # restricted already; an operator may have added others since
    name, allowed = sql.Identifier(database), sql.SQL(", ").join(map(sql.Identifier, members))
    with conn.transaction():
        conn.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(name))
        conn.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(name, allowed))


def ensure_owner(conn: psycopg.Connection[Any], owner: str) -> None:
    """Give the database of this connection and its contents to a role; older versions gave the ledger's owner both."""
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
            for (other,) in others:  # REASSIGN also moves the other databases of the role, such as the ledger
                conn.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(other), before))
        conn.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, sql.Identifier(owner)))
