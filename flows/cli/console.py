"""What the commands share: options, the shapes of output, ids, and one-line error messages.

Every command prints the same way. With ``--json`` standard output holds one JSON document; lists are one array. Without
it, a terminal gets a table for people, and a pipe or file gets tab-separated values with a header: times in ISO 8601
(UTC), whole ids, no colours. Progress, notes and errors go to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.markup import escape
from rich.table import Column, Table

from segwatch.flows.cli import completing
from segwatch.flows.runtime import progress
from segwatch.flows.runtime.terminal import SafeConsole
from segwatch.geo.text.redaction import redact
from segwatch.geo.text.shares import format_share_percent

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from segwatch.db.identities import Kind

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
By = Annotated[
    str | None,
    typer.Option("--by", metavar="NAME", help="Who decides. Default: the user name on this machine."),
]
WatchName = Annotated[
    str,
    typer.Argument(
        metavar="WATCH", help="Name of a watch in the ledger.", autocompletion=completing.complete_watches
    ),
]

#: Digits of an id in a table; more where two rows would look the same.
_SHORT_ID = 8

out = SafeConsole(soft_wrap=True)
err = SafeConsole(stderr=True, soft_wrap=True)


@contextmanager
def open_engine() -> Iterator[Engine]:
    """Open an engine on the ledger that the settings name, with the worker's rights."""
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.runtime import assemble

    settings = load_settings()
    opened = (
        assemble.open_run_engine(settings, say) if _waits.get() else assemble.open_worker_engine(settings)
    )
    with opened as engine:
        yield engine


_waits: ContextVar[bool] = ContextVar("waits", default=False)
_WAIT_SECONDS = "SEGWATCH_DATABASE_WAIT_SECONDS"


def wait_for_database(context: typer.Context, seconds: float) -> None:
    """Let the command wait for a database that is away, for so long."""
    token, before = _waits.set(True), os.environ.get(_WAIT_SECONDS)
    os.environ[_WAIT_SECONDS] = str(seconds)

    def restore() -> None:
        _waits.reset(token)
        os.environ.pop(_WAIT_SECONDS)
        if before is not None:
            os.environ[_WAIT_SECONDS] = before

    context.call_on_close(restore)


def print_json(value: Any) -> None:
    """Print one JSON document on standard output; times are ISO 8601 (UTC), secrets in addresses are removed."""
    typer.echo(json.dumps(_redact(json.loads(json.dumps(value, default=_to_json)))))


def _to_json(value: Any) -> str:
    return format_time(value) if isinstance(value, datetime) and value.tzinfo is not None else str(value)


def _redact(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _redact(one) for key, one in value.items()}
    return [_redact(one) for one in value] if isinstance(value, list) else value


def is_for_people() -> bool:
    """Tell whether standard output is a terminal: people read tables, programs tab-separated values."""
    return sys.stdout.isatty()


def print_table(
    head: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "", further: bool = False
) -> None:
    """Print rows: a table on a terminal, else tab-separated values with a header line.

    Cell text is never read as markup. On a terminal, times are shown to the minute and ids by their first digits, from
    which every command finds them again; values without blanks are never broken, so that they can be copied.

    Parameters
    ----------
    head
        Names of the columns; in tab-separated values, blanks in them become underscores.
    rows
        Cells: text, numbers, times, UUIDs, booleans or None.
    title
        Shown above a table; on standard error where values are tab-separated.
    further
        Whether the command has printed a table before: an empty line separates tab-separated tables.
    """
    cells = [tuple(row) for row in rows]
    if is_for_people():
        _print_for_people(head, cells, title)
    else:
        _print_separated(head, cells, title, further=further)


def _print_for_people(head: Sequence[str], cells: Sequence[Sequence[Any]], title: str) -> None:
    digits = _count_digits(one for row in cells for one in row if isinstance(one, UUID))
    texts = [tuple(_format_for_people(one, digits) for one in row) for row in cells]
    whole = [
        all(
            isinstance(row[index], datetime) or " " not in text[index]
            for row, text in zip(cells, texts, strict=True)
        )
        for index in range(len(head))
    ]
    shown = list(range(len(head)))
    if not _fits(head, texts, whole, shown):
        shown = [index for index in shown if any(row[index] for row in texts)]
    if texts and not _fits(head, texts, whole, shown):
        _print_records(head, texts, title)
        return
    columns = [
        Column(head[index], no_wrap=whole[index], overflow="fold", header_style="bold") for index in shown
    ]
    table = Table(
        *columns,
        title=escape(title) or None,
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for row in texts:
        table.add_row(*(escape(row[index]) for index in shown))
    progress.print_table(out, table)
    if not cells:
        out.print("(none)")


#: Columns that text with blanks needs to be read in a table.
_LEAST_TEXT = 16


def _fits(
    head: Sequence[str], texts: Sequence[Sequence[str]], whole: Sequence[bool], shown: Sequence[int]
) -> bool:
    """Tell whether a table of these columns can be read at the width of the terminal."""
    needed = 0
    for index in shown:
        natural = max([len(head[index]), *(len(row[index]) for row in texts)])
        needed += 2 + (natural if whole[index] else min(natural, max(_LEAST_TEXT, len(head[index]))))
    return needed - 2 <= out.width


def _print_records(head: Sequence[str], texts: Sequence[Sequence[str]], title: str) -> None:
    """Print each row as lines ``name: value``, because the terminal is too narrow for a table."""
    if title:
        out.print(f"[italic]{escape(title)}[/italic]")
    for number, row in enumerate(texts):
        if number:
            out.print()
        for name, value in zip(head, row, strict=True):
            if value:
                out.print(f"[bold]{escape(name)}[/bold]: {escape(value)}")


class Share(float):
    """A share from 0 to 1: percent for people, the number for programs."""


def _count_digits(ids: Iterable[UUID]) -> int:
    """Count the digits that tell these ids apart."""
    texts = sorted({str(one) for one in ids})
    needed = _SHORT_ID
    for one, other in pairwise(texts):
        while one[:needed] == other[:needed]:
            needed += 1
    return needed


def _format_for_people(cell: Any, digits: int) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, datetime):
        return format_minute(cell.astimezone(UTC))
    if isinstance(cell, UUID):
        return str(cell)[:digits]
    if isinstance(cell, Share):
        return format_share_percent(cell)
    return f"{cell:g}" if isinstance(cell, float) else str(cell)


def _print_separated(
    head: Sequence[str], cells: Sequence[Sequence[Any]], title: str, *, further: bool
) -> None:
    if title:
        say(title)
    lines = [[name.replace(" ", "_") for name in head], *(map(_format_for_programs, row) for row in cells)]
    text = "".join("\t".join(line) + "\n" for line in lines)
    typer.echo(("\n" if further else "") + text, nl=False)
    if not cells:
        say("(none)")


#: How PostgreSQL's COPY writes characters that would end a value or line.
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _format_for_programs(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, datetime):
        return format_time(cell)
    text = repr(float(cell)) if isinstance(cell, float) else redact(str(cell))
    return "".join(one if one.isprintable() else " " for one in text.translate(_ESCAPES))


def print_fields(fields: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one thing: a line for each field, ``name: value``; in a pipe, name and value are separated by a tab."""
    if as_json:
        print_json(fields)
        return
    between = ": " if is_for_people() else "\t"
    for name, value in fields.items():
        shown = (
            json.dumps(value, default=str, ensure_ascii=False)
            if isinstance(value, dict | list | tuple)
            else value
        )
        if between == "\t":
            typer.echo(f"{name.replace(' ', '_')}\t{_format_for_programs(shown)}")
        else:
            out.print(f"{name}{between}{_format_for_people(shown, len(str(shown)))}", markup=False)


def format_time(moment: datetime) -> str:
    """Format a time for programs: ISO 8601, UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def format_minute(moment: datetime) -> str:
    """Format a time to the minute; all times are UTC."""
    return f"{moment:%Y-%m-%d %H:%M}"


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


def confirm_change(question: str, *, yes: bool) -> None:
    """Ask before something is changed; where nobody can be asked, refuse with exit status 2."""
    if yes:
        return
    if not sys.stdin.isatty():
        print_error("nothing was changed: without a terminal nobody can confirm it; to go on, give --yes")
        raise typer.Exit(2)
    typer.confirm(question, abort=True)


def print_error(text: str) -> None:
    """Print an error message on standard error."""
    err.print("[red]error:[/red] ", end="")
    err.print(text, markup=False)


def list_expected_errors() -> tuple[type[Exception], ...]:
    """List the errors whose message is for people; imported when one happens, so that commands start fast."""
    from sqlalchemy.exc import OperationalError, ProgrammingError

    from segwatch.db.errors import DbError
    from segwatch.flows.errors import FlowError
    from segwatch.geo.errors import GeoError
    from segwatch.model.errors import ModelError

    return FlowError, GeoError, DbError, ModelError, OperationalError, ProgrammingError, OSError


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn expected errors into one message and exit status 1; SEGWATCH_DEBUG=1 shows the traceback instead."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader of the pipe, such as head, has had enough: typer ends without a message
    except list_expected_errors() as error:
        if os.environ.get("SEGWATCH_DEBUG") == "1" or not _is_for_people(error):
            raise
        print_error(_describe(error))
        raise typer.Exit(1) from error


def _is_for_people(error: Exception) -> bool:
    from sqlalchemy.exc import ProgrammingError

    from segwatch.db.errors import is_schema_outdated

    return not isinstance(error, ProgrammingError) or is_schema_outdated(error)


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
    from sqlalchemy.exc import OperationalError

    from segwatch.db.errors import is_schema_outdated, is_server_away

    if is_schema_outdated(error):
        return "the database schema is not up to date; run: segwatch db up"
    if not isinstance(error, OperationalError):
        return str(error)
    # libpq indents further lines by a tab
    said = str(error.orig).replace("\n\t", "\n").rstrip()
    if not is_server_away(error):
        return said
    return f"{said}\nstart the database, or wait for it with: segwatch --wait SECONDS COMMAND; see: segwatch db status"


def find_id(conn: Connection, kind: Kind, given: str) -> UUID:
    """Find the whole id that a person gave, wholly or by its first digits.

    Raises
    ------
    segwatch.db.errors.IdNotFound, segwatch.db.errors.IdAmbiguous
        No id or several ids begin so; the message lists the nearest or the candidates.
    """
    from segwatch.db import identities

    return UUID(identities.resolve(conn, given, [kind]).id)
