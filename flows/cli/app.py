"""The command tree and the entry point."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from segwatch.flows.cli import (
    alerts,
    assess,
    database,
    database_users,
    doctor,
    events,
    export,
    learning,
    local,
    models,
    respond,
    results,
    reviews,
    serving,
    sources,
    tokens,
    trying,
    work,
)
from segwatch.flows.cli import watches as watch_commands
from segwatch.flows.cli.console import print_error, warn
from segwatch.flows.runtime import extras, logs

_HELP = """Keep watch over satellite imagery: find new scenes, segment them, track changes, alert.

Start with `segwatch demo`, with images of your own (`segwatch source add FOLDER --watch INSTRUCTION`, then
`segwatch run NAME`), or with `segwatch apply FILE` and `segwatch run WATCH`.
Commands read their settings from environment variables SEGWATCH_... and, where these are not set, use the services
that run in the home folder (SEGWATCH_HOME, by default .segwatch in the current folder).
Exit status: 0 success, 1 error or something is wrong, 2 usage error.
"""
_WORK = "Watch"
_RESULTS = "Look at results"
_ALERTS = "Alerts and events"
_SERVICES = "Run services on this machine"
_OPERATE = "Operate"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help=_HELP,
    rich_markup_mode="markdown",
    # rich tracebacks print values of local variables, which may be passwords
    pretty_exceptions_enable=False,
)
app.command("try", rich_help_panel=_WORK)(trying.try_)
app.command(rich_help_panel=_WORK)(work.apply)
app.command(rich_help_panel=_WORK)(work.run)
app.command(rich_help_panel=_WORK)(work.retry)
app.command(rich_help_panel=_WORK)(respond.respond)
app.add_typer(watch_commands.app, name="watch", rich_help_panel=_WORK)
app.add_typer(sources.app, name="source", rich_help_panel=_WORK)

app.command(rich_help_panel=_RESULTS)(results.coverage)
app.command("why-not", rich_help_panel=_RESULTS)(results.why_not)
app.command(rich_help_panel=_RESULTS)(results.upgrades)
app.command(rich_help_panel=_RESULTS)(results.report)
app.command(rich_help_panel=_RESULTS)(export.export)
app.add_typer(reviews.app, name="review", rich_help_panel=_RESULTS)
app.add_typer(assess.app, name="assess", rich_help_panel=_RESULTS)

app.add_typer(alerts.app, name="alert", rich_help_panel=_ALERTS)
app.add_typer(events.app, name="event", rich_help_panel=_ALERTS)

app.command(rich_help_panel=_SERVICES)(local.demo)
app.command(rich_help_panel=_SERVICES)(local.status)
app.command(rich_help_panel=_SERVICES)(local.stop)
app.command(rich_help_panel=_SERVICES)(local.clean)
app.command("env", rich_help_panel=_SERVICES)(local.print_environment)
app.command(rich_help_panel=_SERVICES)(serving.serve)
database.app.command("areas")(database_users.load_areas)
database.app.command("user")(database_users.add_user)
database.app.command("users")(database_users.list_users)
database.app.command("revoke-user")(database_users.revoke_user)
app.add_typer(database.app, name="db", rich_help_panel=_SERVICES)

app.command(rich_help_panel=_OPERATE)(work.deploy)
app.command(rich_help_panel=_OPERATE)(doctor.doctor)
app.add_typer(tokens.app, name="token", rich_help_panel=_OPERATE)
for _command in (
    learning.adapt,
    learning.rewordings,
    learning.switch,
    learning.rollback,
    learning.switches,
):
    models.app.command()(_command)
models.app.command("evaluate-watch")(learning.evaluate_watch)
app.add_typer(models.app, name="model", rich_help_panel=_OPERATE)


@app.callback()
def _setup(
    context: typer.Context,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log what is being done, on standard error.")
    ] = False,
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.ERROR, format="%(levelname)s %(name)s %(message)s"
    )
    from segwatch.flows.config import variables

    variables.warn_once(warn)
    local.find_services(context)


def main() -> None:
    """Run the command line; entry point of ``segwatch`` and ``python -m segwatch.flows.cli``."""
    try:
        app()
    except Exception as error:
        missing = extras.describe_missing(error) if isinstance(error, ImportError) else None
        if missing is None:
            logs.print_traceback(error)
        else:
            print_error(missing)
        sys.exit(1)
