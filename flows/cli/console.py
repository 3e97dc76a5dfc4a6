"""What every command shares: the console, JSON output, and errors as one clear line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column, Table
from sqlalchemy.exc import OperationalError, ProgrammingError

from segwatch.db.errors import DbError, schema_lacking
from segwatch.flows.errors import FlowError
from segwatch.flows.runtime.terminal import SafeConsole
from segwatch.flows.services import progress
from segwatch.geo.errors import GeoError
from segwatch.geo.text.redaction import redacted
from segwatch.model.errors import ModelError

Json = Annotated[bool, typer.Option("--json", help="print one JSON document")]
By = Annotated[str | None, typer.Option("--by", help="who does it; default: the user of this machine")]

out = SafeConsole(soft_wrap=True)
err = SafeConsole(stderr=True, soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON document on standard output, without the secrets of the addresses in it."""
    typer.echo(json.dumps(_open(json.loads(json.dumps(value, default=str)))))


def _open(value: Any) -> Any:
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, dict):
        return {key: _open(one) for key, one in value.items()}
    return [_open(one) for one in value] if isinstance(value, list) else value


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
    """A table for people on standard output; nothing in it is markup, whoever wrote it.

    What is copied from it, such as ids, stays whole: only columns with blanks in them are folded, and none is where
    the output is no terminal.
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


def utc(moment: datetime | None) -> datetime | None:
    """A time given on the command line; they are in UTC."""
    return moment.replace(tzinfo=UTC) if moment is not None else None


def say(text: str) -> None:
    """Progress for people, on standard error so that output stays machine-readable."""
    err.print(f"  {text}", markup=False)


def warn(text: str) -> None:
    """What a person should know and may go on without, on standard error."""
    err.print("[yellow]warning:[/yellow] ", end="")
    err.print(text, markup=False)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn expected errors into a message and exit status 1; a traceback only with SEGWATCH_DEBUG=1."""
    try:
        yield
    except (FlowError, GeoError, DbError, ModelError, OperationalError, ProgrammingError, OSError) as error:
        unexpected = isinstance(error, ProgrammingError) and not schema_lacking(error)
        if unexpected or os.environ.get("SEGWATCH_DEBUG") == "1":
            raise
        err.print("[red]error:[/red] ", end="")
        err.print(_message(error), markup=False)
        raise typer.Exit(1) from error


@contextmanager
def stoppable() -> Iterator[None]:
    """A block that SIGTERM, SIGINT and SIGHUP end at once: what the process has leased goes back."""
    from segwatch.flows.runtime import stopping

    def tell(text: str) -> None:
        err.show_cursor(True)
        say(text)

    with stopping.on_signals(tell):
        yield


def _message(error: Exception) -> str:
    if schema_lacking(error):
        return "the database's schema is not up to date; run: segwatch db up"
    return str(error.orig) if isinstance(error, OperationalError) else str(error)
