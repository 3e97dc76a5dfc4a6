"""Find PostgreSQL server binaries that have PostGIS."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from segwatch.db.errors import DataUnusable, PostgisMissing, PostgresMissing

_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")
_PROGRAMS = ("initdb", "pg_ctl", "postgres", "psql")


@dataclass(frozen=True, slots=True)
class Binaries:
    """An installation of the PostgreSQL server."""

    folder: Path
    major: str

    def path(self, name: str) -> str:
        """Return the absolute path of a program."""
        return str(self.folder / name)


def find_installation(data_major: str | None = None) -> Binaries:
    """Find the newest installation with PostGIS, of major version ``data_major`` if given.

    ``SEGWATCH_PG_BINDIR`` names the folder to use instead.

    Raises
    ------
    PostgresMissing, PostgisMissing, DataUnusable
        No installation fits; the message says what to install.
    """
    every = list(_installations())
    if not every:
        raise PostgresMissing(
            "no PostgreSQL server was found; install it with: apt-get install postgresql-15-postgis-3 "
            "(or the packages postgresql and postgis of your system), or set SEGWATCH_PG_BINDIR"
        )
    fitting = [one for one in every if data_major in {None, one.major}]
    if not fitting:
        have = ", ".join(one.major for one in every)
        raise DataUnusable(
            f"the data was made by PostgreSQL {data_major}, installed: {have}; "
            f"install it with: apt-get install postgresql-{data_major}-postgis-3"
        )
    for one in sorted(fitting, key=_version, reverse=True):
        if _has_postgis(one):
            return one
    newest = max(fitting, key=_version)
    raise PostgisMissing(
        f"PostgreSQL {newest.major} in {newest.folder} has no PostGIS; "
        f"install it with: apt-get install postgresql-{newest.major}-postgis-3"
    )


def find_psql() -> str:
    """Find psql, of a server or of the client alone.

    Raises
    ------
    PostgresMissing
        No psql was found.
    """
    for folder in _folders():
        if os.access(folder / "psql", os.X_OK):
            return str(folder / "psql")
    on_path = shutil.which("psql")
    if on_path is None:
        raise PostgresMissing("no psql was found; install it with: apt-get install postgresql-client")
    return on_path


def _installations() -> Iterator[Binaries]:
    seen = set()
    for folder in _folders():
        real = folder.resolve()
        if real in seen or not all(os.access(real / name, os.X_OK) for name in _PROGRAMS):
            continue
        seen.add(real)
        # "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)"
        version = _output([str(real / "postgres"), "--version"])
        major = version.partition("(PostgreSQL) ")[2].partition(".")[0].strip()
        if major:
            yield Binaries(real, major)


def _folders() -> Iterator[Path]:
    given = os.environ.get("SEGWATCH_PG_BINDIR")
    if given:
        yield Path(given)
        return
    for place in _FOLDERS:
        yield from map(Path, glob.glob(place))
    for name in ("pg_ctl", "postgres"):
        on_path = shutil.which(name)
        if on_path:
            yield Path(on_path).resolve().parent
    if shutil.which("pg_config"):
        yield Path(_output(["pg_config", "--bindir"]).strip())


def _version(one: Binaries) -> tuple[int, str]:
    digits = "".join(character for character in one.major if character.isdigit())
    return int(digits or 0), one.major


def _has_postgis(one: Binaries) -> bool:
    shares = [Path(f"/usr/share/postgresql/{one.major}"), one.folder.parent / "share"]
    if (one.folder / "pg_config").exists():
        shares.insert(0, Path(_output([one.path("pg_config"), "--sharedir"]).strip()))
    return any((share / "extension" / "postgis.control").exists() for share in shares)


def _output(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False, cwd="/")
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
