"""``segwatch db``: the embedded PostgreSQL + PostGIS cluster, or the server of SEGWATCH_DATABASE_URL."""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from sqlalchemy.exc import OperationalError

from segwatch.flows.cli import database_users
from segwatch.flows.cli.console import Json, clear_errors, confirm_deletion, out, print_json, say

if TYPE_CHECKING:
    from segwatch.db.embedded.cluster import Cluster

app = typer.Typer(
    no_args_is_help=True,
    help="""Manage the database: the embedded PostgreSQL + PostGIS cluster of the home folder, or your own server.

Set SEGWATCH_DATABASE_URL to use your own server.""",
)


@app.command()
def up() -> None:
    """Start the cluster, create it on first use, and bring roles and schema up to date.

    With SEGWATCH_DATABASE_URL set, only the schema of that database is brought up to date.
    """
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
        out.print("stopped" if _open_cluster().down() else "was not running")


@app.command()
def destroy(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: really delete everything.")] = False,
) -> None:
    """Stop the cluster and delete its data for good.

    Asks first. Without a terminal it needs --yes; otherwise it deletes nothing, and the exit status is 2.
    """
    confirm_deletion("Delete every scene, polygon and alert of this home folder?", yes=yes, how="--yes")
    with clear_errors():
        _open_cluster().destroy()
    out.print("the cluster and its data are deleted")


@app.command()
def status(as_json: Json = False) -> None:
    """Show whether the database runs, where, and the state of its schema.

    Exit status 3 if it does not run.
    """
    with clear_errors():
        url = _read_url()
        shown = asdict(_open_cluster().status()) if url is None else _describe_server(url)
    if as_json:
        print_json(shown)
    else:
        for name, value in shown.items():
            out.print(f"{name}: {value}", markup=False)
    if not shown["running"]:
        raise typer.Exit(3)


@app.command()
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be taken away.")] = False,
    as_json: Json = False,
) -> None:
    """Take away what no history needs once it is old, as the scheduled flow prune does.

    That is the content of sent messages which no later message continues, what registered and measured superseded
    observations, and, if SEGWATCH_KEEP_QUICKLOOKS_DAYS is set, quicklooks without alert. Objects, their history,
    changes and alerts stay.
    """
    from segwatch.db import retention
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.runtime import quicklook_store
    from segwatch.flows.runtime.assemble import open_worker_engine

    with clear_errors():
        settings = load_settings()
        kept = settings.make_retention()
        with open_worker_engine(settings) as engine:
            if dry_run:
                with engine.connect() as conn:
                    done = retention.count_prunable(conn, kept)
            else:
                done = retention.prune(engine, kept, partial(quicklook_store.delete_file, settings))
    if as_json:
        print_json(asdict(done))
    else:
        out.print(f"{'would take away' if dry_run else 'took away'}: {done}", markup=False)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context) -> None:
    """Open psql on the database; arguments after -- go to psql.

    Connects as the role segwatch_analyst, or with SEGWATCH_DATABASE_URL if that is set. Example:

    segwatch db psql -- -c 'TABLE watch.objects_now LIMIT 5'
    """
    with clear_errors():
        url = _read_url()
        argv, secret = (_open_cluster().psql_argv(), {}) if url is None else _make_psql_command(url)
        os.execvpe(argv[0], [*argv, *context.args], os.environ | secret)  # noqa: S606 - argv is ours, no shell


def _open_cluster() -> Cluster:
    from segwatch.db.embedded.cluster import Cluster
    from segwatch.flows.config.settings import load_settings

    return Cluster(load_settings().home)


def _read_url() -> str | None:
    from segwatch.flows.config.settings import load_settings

    url = load_settings().database_url
    return None if url is None else url.get_secret_value()


def _describe_server(url: str) -> dict[str, Any]:
    from segwatch.db.engine import to_libpq
    from segwatch.db.errors import describe_error
    from segwatch.db.migrate import describe_state

    where, _ = to_libpq(url)
    try:
        return {"running": True, "database": where, "schema": describe_state(url)}
    except OperationalError as error:
        return {"running": False, "database": where, "reason": describe_error(error)}


def _make_psql_command(url: str) -> tuple[list[str], dict[str, str]]:
    """Make command and environment; the password goes into the environment, which other users cannot read."""
    from segwatch.db.embedded import binaries
    from segwatch.db.engine import to_libpq

    where, password = to_libpq(url)
    return [binaries.find_psql(), "-d", where], {} if password is None else {"PGPASSWORD": password}


for _name, _command in (
    ("areas", database_users.load_areas),
    ("user", database_users.add_user),
    ("users", database_users.list_users),
    ("revoke-user", database_users.revoke_user),
):
    app.command(_name)(_command)
