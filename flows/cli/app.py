"""The command tree and the entry point. What a command needs is imported when it is chosen; see tree.py."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from segwatch.flows.cli.tree import HELP_WANTED, LazyGroup

_HELP = """Keep watch over satellite imagery: find new scenes, segment them, track changes, alert.

Start with `segwatch demo`, with images of your own (`segwatch source add FOLDER --watch INSTRUCTION`, then
`segwatch run NAME`), or with `segwatch apply FILE` and `segwatch run WATCH`.
Commands read their settings from environment variables SEGWATCH_... and, where these are not set, use the services
that run in the home folder (SEGWATCH_HOME, by default .segwatch in the current folder).

Results go to standard output: a table on a terminal, tab-separated values in a pipe or file, JSON with --json.
Exit status: 0 done, 1 failed or something is wrong, 2 wrong usage, 3 the database does not run (db status).
"""
app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    invoke_without_command=True,
    help=_HELP,
    rich_markup_mode="markdown",
    # rich tracebacks print values of local variables, which may be passwords
    pretty_exceptions_enable=False,
)


@app.callback()
def _setup(
    context: typer.Context,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log what is being done, on standard error.")
    ] = False,
    wait: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Wait so long for a database that is away. Default: runs and events wait, others fail at once.",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version; with --verbose, those of model and schema, too."),
    ] = False,
) -> None:
    if context.meta.get(HELP_WANTED) or context.resilient_parsing:
        return
    logging.basicConfig(
        level=logging.INFO if verbose else logging.ERROR, format="%(levelname)s %(name)s %(message)s"
    )
    if version and not verbose:
        from importlib.metadata import version as read_version

        typer.echo(f"segwatch {read_version('segwatch')}")
        raise typer.Exit
    if not version and context.invoked_subcommand is None:
        context.fail("Missing command.")
    from segwatch.flows.cli.console import wait_for_database, warn
    from segwatch.flows.cli.home import find_services
    from segwatch.flows.config import variables

    variables.warn_once(warn)
    find_services(context)
    if wait is not None:
        wait_for_database(context, wait)
    if version:
        from segwatch.flows.cli.versions import print_versions

        print_versions(as_json=False)
        raise typer.Exit


def main() -> None:
    """Run the command line; entry point of ``segwatch`` and ``python -m segwatch.flows.cli``."""
    try:
        app()
    except Exception as error:
        from segwatch.flows.cli.console import print_error
        from segwatch.flows.runtime import extras, logs

        missing = extras.describe_missing(error) if isinstance(error, ImportError) else None
        if missing is None:
            logs.print_traceback(error)
        else:
            print_error(missing)
        sys.exit(1)
