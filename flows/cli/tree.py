"""The tree of commands: names, one-line helps and panels. A command's module is imported when the command is chosen.

So ``segwatch --help``, ``--version`` and the completion of names import neither SQLAlchemy nor the commands. The
one-line helps are the first lines of the commands' own; a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from segwatch.flows.cli.parsing import Command

_WATCH = "Watch"
_RESULTS = "Look at results"
_ALERTS = "Alerts and events"
_MODELS = "Models"
_SERVICES = "Run services on this machine"
_OPERATE = "Operate"


@dataclass(frozen=True, slots=True)
class Entry:
    """A command or group at the top of the tree."""

    module: str
    """Module below ``segwatch.flows.cli``."""
    attribute: str
    """Function of a command, or ``app`` of a group."""
    panel: str
    help: str
    """First line of its help."""


TREE = {
    "try": Entry(
        "trying",
        "try_",
        _WATCH,
        "Segment one image and write its polygons and a picture: no watch, no database.",
    ),
    "apply": Entry(
        "applying", "apply", _WATCH, "Store watches in the ledger, after a preview of what they would do."
    ),
    "run": Entry(
        "work",
        "run",
        _WATCH,
        "Do the whole job for one watch in this process, without a Prefect server or worker.",
    ),
    "retry": Entry("work", "retry", _WATCH, "Queue the failed observations of a watch again."),
    "respond": Entry(
        "respond", "respond", _WATCH, "Start a disaster run: watch the area of an event at top priority."
    ),
    "watch": Entry(
        "watches",
        "app",
        _WATCH,
        "List, show, pause, resume, archive, clone and compare watches; test their alert rules.",
    ),
    "source": Entry(
        "sources", "app", _WATCH, "Register local files; list, show and check sources of imagery."
    ),
    "show": Entry(
        "identities",
        "show",
        _RESULTS,
        "Show what an id stands for: an object, change, alert, scene, observation, event, run or token.",
    ),
    "coverage": Entry(
        "results",
        "coverage",
        _RESULTS,
        "List every scene of a watch: what was observed when, what was not, and why.",
    ),
    "why-not": Entry("results", "why_not", _RESULTS, "Explain why there is no alert at a point."),
    "upgrades": Entry(
        "results",
        "upgrades",
        _RESULTS,
        "Show what a new model or instruction changed by itself, on the same scene.",
    ),
    "report": Entry(
        "reporting",
        "report",
        _RESULTS,
        "Write the briefing: one page to hand on, with maps before and after, then annexes.",
    ),
    "export": Entry(
        "export",
        "export",
        _RESULTS,
        "Write the objects or changes of a watch for QGIS, DuckDB, geopandas, GDAL, R, web maps or another segwatch.",
    ),
    "review": Entry("reviews", "app", _RESULTS, "Confirm, reject or edit objects; every verdict is kept."),
    "assess": Entry(
        "assess",
        "app",
        _RESULTS,
        "Assess the accuracy of a watch: draw a random sample, label it, estimate accuracy and areas.",
    ),
    "alert": Entry(
        "alerts",
        "app",
        _ALERTS,
        "List, acknowledge, snooze and resolve alerts; resend messages; check channels.",
    ),
    "event": Entry(
        "events",
        "app",
        _ALERTS,
        "Read event feeds (earthquakes, floods, fires, cyclones ...) and list events.",
    ),
    "model": Entry(
        "models", "app", _MODELS, "Convert, assemble, verify, evaluate, train, adapt and switch models."
    ),
    "demo": Entry(
        "local", "demo", _SERVICES, "Start every service and run the main job once on real imagery."
    ),
    "status": Entry(
        "local",
        "status",
        _SERVICES,
        "List the services of this home folder and the problems that `segwatch doctor` finds.",
    ),
    "stop": Entry("local", "stop", _SERVICES, "Stop the services of this home folder; their data stays."),
    "clean": Entry(
        "local",
        "clean",
        _SERVICES,
        "Stop the services and delete the home folder's state: the database with every scene, polygon and alert, too.",
    ),
    "env": Entry(
        "local",
        "print_environment",
        _SERVICES,
        'Set up a shell for what runs here: eval "$(segwatch env)".',
    ),
    "serve": Entry(
        "serving",
        "serve",
        _SERVICES,
        "Serve the map, OGC API Features, vector tiles, imagery and alert feeds.",
    ),
    "db": Entry(
        "database",
        "app",
        _SERVICES,
        "Manage the database: the embedded PostgreSQL + PostGIS cluster of the home folder, or your own server.",
    ),
    "deploy": Entry(
        "work",
        "deploy",
        _OPERATE,
        "Create work pools, deployments and the watches' schedules on the Prefect server.",
    ),
    "doctor": Entry(
        "doctor",
        "doctor",
        _OPERATE,
        "Check that schedules fire, workers poll, messages are sent and catalogs answer.",
    ),
    "cost": Entry(
        "cost",
        "cost",
        _OPERATE,
        "Add up what watches have cost by month: scenes, computing, bytes, observed ground, and money.",
    ),
    "token": Entry(
        "tokens", "app", _OPERATE, "Manage the tokens with which people and programs use the web server."
    ),
    "version": Entry(
        "versions",
        "version",
        _OPERATE,
        "Print the versions of segwatch, its model, its schema and what it is built on.",
    ),
}


class Stub(TyperCommand):
    """What help and completion see of a command; :func:`load` makes the command itself."""


class LazyGroup(TyperGroup):
    """The group at the top of the tree, which imports the command that is chosen."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, entry in TREE.items():
            self.add_command(Stub(name, help=entry.help, rich_help_panel=entry.panel), name)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find and import the command; note in the context whether only its help is wanted."""
        name, command, rest = super().resolve_command(ctx, args)
        before = rest[: rest.index("--")] if "--" in rest else rest
        ctx.meta[HELP_WANTED] = "--help" in before
        return name, load(name) if isinstance(command, Stub) and name is not None else command, rest


#: Key in the meta data of the context: whether only the help of a command is wanted.
HELP_WANTED = "segwatch.help"


def load(name: str) -> Any:
    """Import a command or group of the tree.

    Returns
    -------
    typer.core.TyperCommand | typer.core.TyperGroup
        The command, with its own parameters and help.
    """
    entry = TREE[name]
    found = getattr(import_module(f"segwatch.flows.cli.{entry.module}"), entry.attribute)
    if isinstance(found, typer.Typer):
        command: Any = typer.main.get_group(found)
    else:
        holder = typer.Typer(
            add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown"
        )
        holder.command(name, cls=Command)(found)
        command = typer.main.get_command(holder)
    command.name, command.rich_help_panel = name, entry.panel
    return command
