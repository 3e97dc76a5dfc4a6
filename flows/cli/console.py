"""What the commands share: console, options, tables, JSON output, and one-line error messages."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column, Table
from sqlalchemy.exc import OperationalError, ProgrammingError

from segwatch.db.errors import DbError, is_schema_outdated
from segwatch.flows.errors import FlowError
from segwatch.flows.runtime import progress
from segwatch.flows.runtime.terminal import SafeConsole
from segwatch.geo.errors import GeoError
from segwatch.geo.text.redaction import redact
from segwatch.model.errors import ModelError

if TYPE_CHECKING:
    from sqlalchemy import Engine

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
By = Annotated[
    str | None,
    typer.Option("--by", metavar="NAME", help="Who decides. Default: the user name on this machine."),
]
WatchName = Annotated[str, typer.Argument(metavar="WATCH", help="Name of a watch in the ledger.")]

out = SafeConsole(soft_wrap=True)
err = SafeConsole(stderr=True, soft_wrap=True)


@contextmanager
def open_engine() -> Iterator[Engine]:
    """Open an engine on the ledger that the settings name, with the worker's rights."""
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.runtime import assemble

    with assemble.open_worker_engine(load_settings()) as engine:
        yield engine


def print_json(value: Any) -> None:
    """Print one JSON document on standard output; secrets in addresses are removed."""
    typer.echo(json.dumps(_redact(json.loads(json.dumps(value, default=str)))))


def _redact(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _redact(one) for key, one in value.items()}
    return [_redact(one) for one in value] if isinstance(value, list) else value


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
    """Print a table on standard output; cell text is never read as markup.

    Values without blanks, such as ids, are never broken, so that they can be copied. Only columns with blanks are
    wrapped, and only on a terminal.
    """
    cells = [tuple(row) for row in rows]
    whole = [not any(" " in row[index] for row in cells) for index in range(len(head))]
    columns = [Column(name, no_wrap=one, overflow="fold") for name, one in zip(head, whole, strict=True)]
    table = Table(*columns, title=escape(title) or None, title_justify="left")
    for row in cells:
        table.add_row(*(escape(cell) for cell in row))
    progress.print_table(out, table)
    if not cells:
        out.print("(none)")


def format_minute(moment: datetime) -> str:
    """Format a time to the minute; all times are UTC."""
    return f"{moment:%Y-%m-%d %H:%M}"


def utc(moment: datetime | None) -> datetime | None:
    """Mark a time from the command line as UTC."""
    return moment.replace(tzinfo=UTC) if moment is not None else None


def say(text: str) -> None:
    """Print progress on standard error, so that standard output stays machine-readable."""
    err.print(f"  {text}", markup=False)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    err.print("[yellow]warning:[/yellow] ", end="")
    err.print(text, markup=False)


def confirm_deletion(question: str, *, yes: bool, how: str) -> None:
    """Ask before something is deleted for good; where nobody can be asked, refuse with exit status 2.

    ``how`` says how to go on without a question, and ``yes`` whether the user did so.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        print_error(f"nothing was deleted: without a terminal nobody can confirm it; to go on, give {how}")
        raise typer.Exit(2)
    typer.confirm(question, abort=True)


def print_error(text: str) -> None:
    """Print an error message on standard error."""
    err.print("[red]error:[/red] ", end="")
    err.print(text, markup=False)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn expected errors into one message and exit status 1; SEGWATCH_DEBUG=1 shows the traceback instead."""
    try:
        yield
    except (FlowError, GeoError, DbError, ModelError, OperationalError, ProgrammingError, OSError) as error:
        unexpected = isinstance(error, ProgrammingError) and not is_schema_outdated(error)
        if unexpected or os.environ.get("SEGWATCH_DEBUG") == "1":
            raise
        print_error(_describe(error))
        raise typer.Exit(1) from error


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM, SIGINT and SIGHUP end the block at once and release what the process has leased."""
    from segwatch.flows.runtime import stopping

    def tell(text: str) -> None:
        err.show_cursor(True)
        say(text)

    with stopping.stop_on_signals(tell):
        yield


def _describe(error: Exception) -> str:
    if is_schema_outdated(error):
        return "the database schema is not up to date; run: segwatch db up"
    # libpq indents further lines by a tab
    return str(error.orig).replace("\n\t", "\n") if isinstance(error, OperationalError) else str(error)
