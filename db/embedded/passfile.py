"""Settings by which programs on libpq reach an embedded cluster as the analyst: psql, ogr2ogr, QGIS, psycopg.

The password is in a password file that only this user can read; libpq reads it by itself, so nothing prints it.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from segwatch.db import roles
from segwatch.db.embedded import logins
from segwatch.db.embedded.cluster import ClusterInfo

_FILE = "analyst.pgpass"
_HOST = "127.0.0.1"


def make_libpq_variables(home: Path, info: ClusterInfo) -> dict[str, str]:
    """Make the environment variables of libpq for the analyst, and write the password file that they name.

    Parameters
    ----------
    home
        Folder of the cluster; the file lies in it and is written again only if its content changes.
    """
    return {
        "PGHOST": _HOST,
        "PGPORT": str(info.port),
        "PGUSER": roles.ANALYST,
        "PGDATABASE": logins.LEDGER,
        "PGPASSFILE": str(_write_passfile(home, info)),
    }


def _write_passfile(home: Path, info: ClusterInfo) -> Path:
    file = home.absolute() / _FILE
    values = (_HOST, str(info.port), logins.LEDGER, roles.ANALYST, info.passwords[roles.ANALYST])
    line = format_line(*values)
    if file.is_file() and file.stat().st_mode & 0o777 == 0o600 and file.read_text(encoding="utf-8") == line:
        return file
    new = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    # libpq ignores a password file that others can read
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as writing:
        writing.write(line)
    new.replace(file)
    return file


def format_line(host: str, port: str, database: str, user: str, password: str) -> str:
    """Format an entry of a password file as libpq reads it, with the end of the line."""
    values = (host, port, database, user, password)
    return ":".join(one.replace("\\", "\\\\").replace(":", "\\:") for one in values) + "\n"
