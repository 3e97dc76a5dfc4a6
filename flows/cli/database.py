"""``segwatch db``: the embedded PostgreSQL + PostGIS cluster, or the server of SEGWATCH_DATABASE_URL."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from sqlalchemy.exc import OperationalError

from segwatch.flows.cli.console import clear_errors, out, print_json, say

if TYPE_CHECKING:
    from segwatch.db.embedded.cluster import Cluster

app = typer.Typer(no_args_is_help=True, help="The PostgreSQL + PostGIS cluster.")


@app.command()
def up() -> None:
    """Start the cluster (made on first use), create roles, bring the schema up to date."""
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.services.stack import Stack

    with clear_errors():
        settings = load_settings()
        if settings.database_url is not None:
            from segwatch.db.migrate import upgrade

            upgrade(settings.database_url.get_secret_value())
            out.print("the schema of SEGWATCH_DATABASE_URL is up to date")
            return
        stack = Stack(settings.home, say=say)
        stack.up_database()
        out.print(f"up on port {stack.cluster.info().port}")


@app.command()
def down() -> None:
    """Stop the cluster; its data stays."""
    with clear_errors():
        out.print("stopped" if _cluster().down() else "was not running")


@app.command()
def destroy(yes: Annotated[bool, typer.Option("--yes", help="really delete everything")] = False) -> None:
    """Stop the cluster and delete its data, for good."""
    if not yes:
        typer.confirm("Delete every scene, polygon and alert of this home folder?", abort=True)
    with clear_errors():
        _cluster().destroy()
    out.print("the cluster and its data are gone")


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False) -> None:
    """Whether the cluster, or the server of SEGWATCH_DATABASE_URL, runs, and where. Exit status 3 when it does not."""
    with clear_errors():
        url = _own_url()
        shown = asdict(_cluster().status()) if url is None else _status_of(url)
    if as_json:
        print_json(shown)
    else:
        for name, value in shown.items():
            out.print(f"{name}: {value}", markup=False)
    if not shown["running"]:
        raise typer.Exit(3)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context) -> None:
    """Open psql as the analyst role, or as SEGWATCH_DATABASE_URL says; further arguments go to psql."""
    with clear_errors():
        url = _own_url()
        argv, secret = (_cluster().psql_argv(), {}) if url is None else _psql_of(url)
        os.execvpe(argv[0], [*argv, *context.args], os.environ | secret)  # noqa: S606 - argv is ours, no shell


def _cluster() -> Cluster:
    from segwatch.db.embedded.cluster import Cluster
    from segwatch.flows.config.settings import load_settings

    return Cluster(load_settings().home)


def _own_url() -> str | None:
    from segwatch.flows.config.settings import load_settings

    url = load_settings().database_url
    return None if url is None else url.get_secret_value()


def _status_of(url: str) -> dict[str, Any]:
    from segwatch.db.engine import for_libpq
    from segwatch.db.errors import words
    from segwatch.db.migrate import state

    where, _ = for_libpq(url)
    try:
        return {"running": True, "database": where, "schema": state(url)}
    except OperationalError as error:
        return {"running": False, "database": where, "reason": words(error)}


def _psql_of(url: str) -> tuple[list[str], dict[str, str]]:
    """Command and environment: everybody on the machine may read the arguments, but not the environment."""
    from segwatch.db.embedded import binaries
    from segwatch.db.engine import for_libpq

    where, password = for_libpq(url)
    return [binaries.psql(), "-d", where], {} if password is None else {"PGPASSWORD": password}
