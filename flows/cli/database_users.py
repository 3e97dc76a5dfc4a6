"""``segwatch db user``, ``users`` and ``revoke-user``: logins of people who read with SQL, QGIS or Python."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segwatch.flows.cli.console import (
    Json,
    clear_errors,
    open_engine,
    out,
    print_json,
    print_table,
    say,
    warn,
)
from segwatch.flows.cli.parsing import TIME_FORMS, parse_moment

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

    from segwatch.db.database_users import Created


def add_user(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the login: small letters, digits and _.")
    ],
    watch: Annotated[
        list[str] | None,
        typer.Option(
            "--watch", metavar="WATCH", help="Watch that it may read; repeatable. Default: every watch."
        ),
    ] = None,
    names: Annotated[
        bool, typer.Option("--names", help="Show it the names of reviewers and of people who mark alerts.")
    ] = False,
    passfile: Annotated[
        Path | None,
        typer.Option(
            "--passfile",
            metavar="FILE",
            help="Add the password to this file (~/.pgpass) instead of printing it.",
        ),
    ] = None,
    expires: Annotated[
        datetime | None,
        typer.Option(
            "--expires",
            metavar="TIME",
            parser=parse_moment,
            help=f"Time at which it expires: {TIME_FORMS}, UTC. Default: when revoked.",
        ),
    ] = None,
    timeout: Annotated[
        int, typer.Option("--timeout", min=1, max=3600, help="Longest time of a statement, seconds.")
    ] = 60,
    connections: Annotated[
        int, typer.Option("--connections", min=1, max=50, help="Number of connections at a time.")
    ] = 5,
    as_json: Json = False,
) -> None:
    """Create a login that reads the views of schema watch and nothing else, and print how to connect.

    The password is shown only once. On your own server, SEGWATCH_DATABASE_URL must name a role that may create roles.
    """
    from segwatch.db import database_users

    with clear_errors():
        limits = database_users.Limits(timeout, connections, expires)
        with _open_admin() as (engine, url), engine.begin() as conn:
            made = database_users.create(
                conn, name, watch_names=watch or None, shows_names=names, limits=limits
            )
            if passfile is not None:
                _write_passfile(passfile, url, made)
    lines = _connection_lines(url, made, passfile)
    if made.advice:
        warn(
            "statistics of PostGIS still show this login where objects of other watches are; as a superuser of the "
            "database, run:\n" + "\n".join(made.advice)
        )
    if as_json:
        # print_json would redact the password
        typer.echo(
            json.dumps({"name": name, "password": None if passfile else made.password, "connect": lines})
        )
        return
    if passfile is None:
        say("store the password now, it is shown only once")
        out.print(f"password: {made.password}", markup=False, highlight=False)
    for program, line in lines.items():
        out.print(f"\n{program}:\n  {line}", markup=False, highlight=False)


def list_users(as_json: Json = False) -> None:
    """List the logins that `segwatch db user` made."""
    from segwatch.db import database_users

    with clear_errors(), _open_admin() as (engine, _), engine.connect() as conn:
        rows = database_users.list_users(conn)
    if as_json:
        print_json(rows)
        return
    cells = [
        (
            row["name"],
            "all" if row["watches"] is None else ", ".join(row["watches"]),
            "yes" if row["shows_names"] else "no",
            row["created_at"],
        )
        for row in rows
    ]
    print_table(("name", "watches", "names", "created"), cells)


def revoke_user(name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the login.")]) -> None:
    """Remove a login at once, with its sessions."""
    from segwatch.db import database_users

    with clear_errors():
        with _open_admin() as (engine, _), engine.begin() as conn:
            database_users.revoke(conn, name)
        out.print(f"revoked {name}", markup=False)


def load_areas(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="GeoPackage, Shapefile, FlatGeobuf, GeoJSON or another file of polygons."
        ),
    ] = None,
    name_column: Annotated[
        str | None,
        typer.Option("--name-column", metavar="COLUMN", help="Column with the names of the polygons."),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            "--layer", metavar="NAME", help="Name of the layer in segwatch. Default: that of the file."
        ),
    ] = None,
    file_layer: Annotated[
        str | None, typer.Option("--file-layer", metavar="NAME", help="Layer of the file, if it has several.")
    ] = None,
    remove: Annotated[
        str | None, typer.Option("--remove", metavar="LAYER", help="Remove a layer and its sums.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Load administrative areas, such as districts, by which watch.area_by_week sums; without a file, list the layers.

    Loading a layer again replaces it. Tracking waits while the history is summed by the new areas.
    """
    from segwatch.db import admin_areas
    from segwatch.flows.config.admin_areas import read_admin_areas
    from segwatch.flows.errors import ConfigError

    with clear_errors():
        if file is None:
            _list_or_remove(remove, as_json)
            return
        if name_column is None or remove is not None:
            raise ConfigError("give --name-column COLUMN with a file, and --remove without one")
        areas = read_admin_areas(file, name_column, file_layer)
        name = layer or file_layer or file.stem
        with open_engine() as engine, engine.begin() as conn:
            done = admin_areas.replace_layer(conn, name, areas)
    if as_json:
        print_json({"layer": name, "added": done.added, "removed": done.removed, "kept": done.kept})
        return
    out.print(
        f"layer {name}: {done.added} added, {done.removed} removed, {done.kept} as before", markup=False
    )


def _list_or_remove(remove: str | None, as_json: bool) -> None:
    from segwatch.db import admin_areas

    with open_engine() as engine, engine.begin() as conn:
        if remove is not None:
            out.print(f"removed {admin_areas.remove_layer(conn, remove)} areas of {remove}", markup=False)
            return
        rows = admin_areas.list_layers(conn)
    if as_json:
        print_json(rows)
        return
    print_table(
        ("layer", "areas", "loaded"),
        [(str(row["layer"]), str(row["areas"]), str(row["loaded_at"])) for row in rows],
    )


@contextmanager
def _open_admin() -> Iterator[tuple[Engine, URL]]:
    """Open an engine that may create logins, and give the address at which people connect."""
    from sqlalchemy import make_url

    from segwatch.db.embedded.cluster import Cluster
    from segwatch.db.engine import make_engine
    from segwatch.flows.config.settings import load_settings

    settings = load_settings()
    if settings.database_url is not None:
        address = settings.database_url.get_secret_value()
    else:
        address = Cluster(settings.home).info().superuser_url()
    engine = make_engine(address)
    try:
        yield engine, make_url(address)
    finally:
        engine.dispose()


def _write_passfile(file: Path, url: URL, made: Created) -> None:
    """Add the password to a file as libpq reads it; libpq ignores files that others may read."""
    from segwatch.db.embedded.passfile import format_line
    from segwatch.flows.errors import ConfigError

    line = format_line(*_place(url), made.database, made.name, made.password)
    descriptor = os.open(file.expanduser(), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        if os.fstat(descriptor).st_mode & 0o077:
            raise ConfigError(
                f"{file} can be read by others, and psql would ignore it; run: chmod 600 {file}"
            )
        opened.write(line)


def _place(url: URL) -> tuple[str, str]:
    return url.host or "localhost", str(url.port or 5432)


def _connection_lines(url: URL, made: Created, passfile: Path | None) -> dict[str, str]:
    """Build the line with which each program connects; with a password file, without the password."""
    host, port = _place(url)
    secret: dict[str, Any] = (
        {"passfile": str(passfile.expanduser().absolute())} if passfile else {"password": made.password}
    )
    given = {"host": host, "port": port, "dbname": made.database, "user": made.name, **secret}
    words = " ".join(f"{key}={value}" for key, value in given.items())
    login = made.name if passfile else f"{made.name}:{made.password}"
    address = f"postgresql+psycopg://{login}@{host}:{port}/{made.database}"
    address += f"?passfile={secret['passfile']}" if passfile else ""
    where = f"host {host}, port {port}, database {made.database}"
    return {
        "psql": f'psql "{words}"',
        "QGIS": f"New PostgreSQL connection: {where}, authentication Basic, user {made.name}; then open schema watch",
        "DBeaver": f"jdbc:postgresql://{host}:{port}/{made.database}?user={made.name}",
        "DuckDB": f"ATTACH '{words}' AS segwatch (TYPE postgres, READ_ONLY, SCHEMA 'watch');",
        "Python": f'import geopandas; geopandas.read_postgis("TABLE watch.objects_now", "{address}")',
        "GDAL": f'ogrinfo "PG:{words} schemas=watch"',
    }
