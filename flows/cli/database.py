"""``segwatch db``: the embedded PostgreSQL + PostGIS cluster."""

from __future__ import annotations

import os
from dataclasses import asdict, is_dataclass
from typing import Annotated, Any

import typer

from segwatch.flows.cli.console import clear_errors, out, print_json, say

app = typer.Typer(no_args_is_help=True, help="The embedded PostgreSQL + PostGIS cluster.")


@app.command()
def up() -> None:
    """Start the cluster (made on first use), create roles, bring the schema up to date."""
    from segwatch.flows.services.stack import Stack
    from segwatch.flows.settings import load_settings

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
    """Whether the cluster runs, and where. Exit status 3 when it does not."""
    with clear_errors():
        state: Any = _cluster().status()
    shown = asdict(state) if is_dataclass(state) and not isinstance(state, type) else {"status": str(state)}
    if as_json:
        print_json(shown)
    else:
        for name, value in shown.items():
            out.print(f"{name}: {value}")
    if not shown.get("running", False):
        raise typer.Exit(3)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context) -> None:
    """Open psql as the analyst role; further arguments go to psql."""
    with clear_errors():
        argv = [*_cluster().psql_argv(), *context.args]
        os.execvp(argv[0], argv)  # noqa: S606 - argv is ours, no shell


def _cluster() -> Any:
    from segwatch.db.cluster import Cluster
    from segwatch.flows.settings import load_settings

    return Cluster(load_settings().home)
