"""``segwatch demo|stop|clean|status|env``: the local stack and the demonstration on real imagery."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from segwatch.flows.cli.console import Json, clear_errors, out, print_json, say

#: Commands that start, stop or name the home's own services, whatever the environment says of others.
_ABOUT_THE_HOME = frozenset({"demo", "stop", "clean", "env"})


def find_services(context: typer.Context) -> None:
    """For the length of one command, complete the environment by the services that run in the home folder."""
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.errors import ConfigError
    from segwatch.flows.services import environment

    if context.invoked_subcommand in _ABOUT_THE_HOME:
        return
    try:
        found = environment.lacking(load_settings().home, os.environ)
    except (ConfigError, OSError):
        return  # the command itself says what is wrong
    os.environ.update(found)
    context.call_on_close(lambda: [os.environ.pop(name, None) for name in found])


def demo(
    folder: Annotated[Path, typer.Option(help="folder with watches/, imagery/ and stac/")] = Path("demo"),
) -> None:
    """Bring everything up and run the main job once on real imagery."""
    from segwatch.flows.cli.doctor import examine, print_short
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.services import demonstration

    with clear_errors():
        demonstration.run(load_settings().home, folder, say=say, out=out)
        print_short(out, examine(load_settings()))


def stop() -> None:
    """Stop everything this home folder started; data stays."""
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.services.stack import Stack

    with clear_errors():
        stopped = Stack(load_settings().home, say=say).down()
    out.print("stopped: " + ", ".join(stopped) if stopped else "nothing was running")


def clean(
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Stop everything and delete the home folder's state: the database with every scene, polygon and alert, too."""
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.services.stack import Stack

    with clear_errors():
        stack = Stack(load_settings().home, say=say)
        found = stack.state()
        if not found:
            out.print(f"nothing to remove: there is no state in {stack.home}", markup=False)
            return
        out.print("removes, for good:")
        for path, what in found:
            out.print(f"  {path}  {what}", markup=False)
        if not yes and sys.stdin.isatty():
            typer.confirm("Remove it?", abort=True)
        stack.remove()
    out.print("removed")


def print_environment() -> None:
    """Print the environment of the services that run here, for other programs: eval "$(segwatch env)".

    segwatch's own commands need it not: they take what is not set from the services that run in SEGWATCH_HOME (unset:
    .segwatch in the current folder), unless SEGWATCH_DATABASE_URL names another database. Secrets are not printed, but
    where they are read from.
    """
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.errors import ServiceError
    from segwatch.flows.services import environment

    with clear_errors():
        home = load_settings().home.absolute()
        found = environment.of_running(home)
        if not found:
            raise ServiceError(
                f"no services run in {home}; start them with: make demo, or set SEGWATCH_HOME to the folder of those "
                "that run"
            )
    for name, value in found.items():
        file = environment.SECRETS.get(name)
        shown = shlex.quote(value) if file is None else f'"$(cat {shlex.quote(str(home / file))})"'
        typer.echo(f"export {name}={shown}")


def status(as_json: Json = False) -> None:
    """What this home folder started, and what `segwatch doctor` finds wrong, in short."""
    from segwatch.flows.cli.doctor import examine, print_short
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.services.supervisor import Supervisor

    with clear_errors():
        settings = load_settings()
        running = Supervisor(settings.home).running()
        # where nothing was started and nothing is named, there is nothing to examine
        elsewhere = settings.database_url is not None or "PREFECT_API_URL" in os.environ
        findings = examine(settings) if running or elsewhere else []
    if as_json:
        services = [{"name": one.name, "pid": one.pid} for one in running]
        print_json({"services": services, "findings": [asdict(one) for one in findings]})
        return
    for one in running:
        out.print(f"{one.name}: pid {one.pid}")
    if not running:
        out.print("nothing runs")
    if findings:
        print_short(out, findings)
