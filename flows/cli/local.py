"""``segwatch demo|stop|clean|status|env``: the services on this machine and the demo on real imagery."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from segwatch.flows.cli.console import (
    Json,
    clear_errors,
    confirm_deletion,
    is_for_people,
    out,
    print_json,
    print_table,
    say,
)
from segwatch.flows.services.shells import Shell, write_secret, write_variable


def demo(
    folder: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Folder with watches/, imagery/ and stac/."),
    ] = Path("demo"),
) -> None:
    """Start every service and run the main job once on real imagery.

    Starts PostgreSQL with PostGIS, a STAC API, a Prefect server with its workers, a webhook receiver and the map, then
    prints what was found and where to look. Running it again changes nothing.
    """
    from segwatch.flows.cli.doctor import examine, print_short
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.runtime.extras import require_extras
    from segwatch.flows.services import demonstration

    with clear_errors():
        settings = load_settings()
        require_extras("segwatch demo", *(() if settings.segmenter else ("model",)), "serve", "stac")
        demonstration.run(settings.home, folder, say=say, out=out)
        print_short(out, examine(load_settings()))


def stop() -> None:
    """Stop the services of this home folder; their data stays."""
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.services.stack import Stack

    with clear_errors():
        stopped = Stack(load_settings().home, say=say).down()
    out.print("stopped: " + ", ".join(stopped) if stopped else "nothing was running")


def clean(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Stop the services and delete the home folder's state: the database with every scene, polygon and alert, too.

    Lists what it deletes and asks first. Without a terminal it needs --yes; otherwise it deletes nothing, and the exit
    status is 2.
    """
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.services.stack import Stack

    with clear_errors():
        stack = Stack(load_settings().home, say=say)
        found = stack.state()
        if not found:
            out.print(f"nothing to remove: there is no state in {stack.home}", markup=False)
            return
        out.print("This removes for good:")
        for path, what in found:
            out.print(f"  {path}  {what}", markup=False)
        confirm_deletion("Remove it?", yes=yes, how="--yes (with make: CLEAN_ARGS=--yes)")
        stack.remove()
    out.print("removed")


def print_environment(
    shell: Annotated[Shell, typer.Option("--shell", help="Shell that reads the commands.")] = Shell.BASH,
) -> None:
    """Set up a shell for what runs here: eval "$(segwatch env)".

    Prints the settings of the running services and PGHOST, PGPORT, PGUSER, PGDATABASE and PGPASSFILE, so that psql,
    ogr2ogr (PG:), QGIS and Python read the ledger as the read-only analyst. In fish: segwatch env --shell fish | source

    segwatch's own commands do not need this: they find the services of the home folder (SEGWATCH_HOME, by default
    .segwatch in the current folder) by themselves, unless SEGWATCH_DATABASE_URL names another database. Secrets are not
    printed: programs read them from files that only this user can read.
    """
    from segwatch.db.embedded.cluster import Cluster
    from segwatch.db.embedded.passfile import make_libpq_variables
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.errors import ServiceError
    from segwatch.flows.services import environment

    with clear_errors():
        home = load_settings().home.absolute()
        found, cluster = environment.find_running(home, os.environ), Cluster(home)
        has_database = cluster.status().running
        if not found and not has_database:
            raise ServiceError(
                f"no services are running in {home}; start them with: make demo, or set SEGWATCH_HOME to the folder "
                "whose services run"
            )
        found = found or {"SEGWATCH_HOME": str(home)}
        reading = make_libpq_variables(home, cluster.info()) if has_database else {}
    for name, value in (found | reading).items():
        file = environment.SECRETS.get(name)
        typer.echo(
            write_variable(name, value, shell) if file is None else write_secret(name, home / file, shell)
        )


def status(as_json: Json = False) -> None:
    """List the services of this home folder and the problems that `segwatch doctor` finds.

    Exit status 1 if anything is wrong.
    """
    from segwatch.db.embedded.cluster import Cluster
    from segwatch.flows.cli.doctor import examine, print_findings, print_short, select_short, select_wrong
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.services.supervisor import Supervisor

    with clear_errors():
        settings = load_settings()
        supervisor = Supervisor(settings.home)
        ended = supervisor.ended()
        running = [{"name": one.name, "pid": one.pid} for one in supervisor.running()]
        if (database := Cluster(settings.home).status()).running:
            running.insert(0, {"name": "postgres", "pid": database.pid})
        # without services here and without addresses in the environment, there is nothing to examine
        elsewhere = settings.database_url is not None or "PREFECT_API_URL" in os.environ
        findings = examine(settings) if running or ended or elsewhere else []
    if as_json:
        print_json({"services": running, "findings": [asdict(one) for one in findings]})
    elif is_for_people():
        _print_services(running, ended, has_database=database.port is not None)
        if findings:
            print_short(out, findings)
    else:
        _print_separated(running, ended, has_database=database.port is not None)
        print_findings(select_short(findings), further=True)
    if select_wrong(findings):
        raise typer.Exit(1)


def _print_services(running: list[dict[str, Any]], ended: list[str], *, has_database: bool) -> None:
    """Print a line for each service; the database's is missing if none was ever created."""
    for one in running:
        out.print(f"{one['name']}: pid {one['pid']}")
    if not running:
        out.print("no services are running")
    elif has_database and running[0]["name"] != "postgres":
        out.print("postgres: does not run")
    for name in ended:
        out.print(f"{name}: does not run")


def _print_separated(running: list[dict[str, Any]], ended: list[str], *, has_database: bool) -> None:
    """Print the services as tab-separated values."""
    down = ["postgres"] if has_database and not any(one["name"] == "postgres" for one in running) else []
    rows = [(one["name"], one["pid"], "runs") for one in running]
    rows += [(name, None, "does not run") for name in (*(down if running else ()), *ended)]
    print_table(("service", "pid", "state"), rows)
    if not running:
        say("no services are running")
