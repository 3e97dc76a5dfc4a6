"""``segwatch apply``: show what storing watches would do, and store them."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segwatch.flows.cli.console import (
    Json,
    clear_errors,
    open_engine,
    out,
    print_error,
    print_json,
    say,
    warn,
)
from segwatch.flows.runtime.progress import step

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from segwatch.flows.pipeline.applying import Stored
    from segwatch.flows.pipeline.preview import Preview
    from segwatch.geo.types.watch import Watch


def apply(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Watch file (YAML), or a folder of watch files.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be done; nothing is stored.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask; nobody is asked without a terminal.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Store watches in the ledger, after a preview of what they would do.

    The preview shows each watch's area, the scenes that its catalog has now in the watch's period, what a scene costs,
    what changes against the stored version, and how many pending messages are withdrawn. A catalog that does not answer
    leaves the scenes unknown and keeps nothing from being stored.

    A new or changed file becomes a new revision of its watch; applying an unchanged file changes nothing. Messages to
    channels that a watch no longer names are withdrawn. If the end of a watch is more than seven days past, its
    schedule is removed and its pending messages are withdrawn.

    With PREFECT_API_URL set, the watches' deployments and schedules on that Prefect server are updated afterwards. A
    new server needs `segwatch deploy` once, which also schedules the watches that are stored.

    Exit status 1 if a file is invalid, a catalog does not have a watch's collection, or a schedule could not be put on
    the server; all other watches are stored.
    """
    from segwatch.flows.config import watchfile
    from segwatch.flows.errors import ConfigError

    with clear_errors():
        given, failed = watchfile.load_each(path)
        if not given:
            raise ConfigError("\n".join(failed))
        missing, silent = _report_catalogs(given)
        with open_engine() as engine:
            previews = _preview(engine, given, silent, quiet=as_json)
            if dry_run:
                _end_dry_run(previews, failed, as_json=as_json, missing=missing)
            _ask(previews, yes=yes)
            applied = _store(engine, given, failed)
        from segwatch.flows.cli.learning import report_words

        report_words([(one.watch, one.done) for one in applied])
    _print_applied(applied, previews, as_json=as_json)
    _say_doubts(applied)
    for reason in failed:
        print_error(reason)
    # the watches stay stored even if scheduling fails
    with clear_errors():
        _schedule([one.watch for one in applied])
    if missing or failed:
        raise typer.Exit(1)


def _report_catalogs(given: list[Watch]) -> tuple[bool, dict[str, str]]:
    """Report unreachable catalogs and missing collections: whether one is missing, and watches that nobody answers."""
    from segwatch.flows.config.catalog_check import check_collections

    missing, silent = False, {}
    for found in check_collections(given):
        missing = missing or found.missing
        silent.update(dict.fromkeys(found.watches, found.reason))
        show = print_error if found.missing else warn
        show(f"{', '.join(found.watches)}: {found.reason}")
    return missing, silent


def _preview(engine: Engine, given: list[Watch], silent: dict[str, str], *, quiet: bool) -> list[Preview]:
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.pipeline.preview import preview_watches

    found = []
    for one in preview_watches(engine, load_settings(), given, silent):
        for line in () if quiet else one.describe():
            say(line)
        found.append(one)
    return found


def _end_dry_run(previews: list[Preview], failed: list[str], *, as_json: bool, missing: bool) -> None:
    if as_json:
        print_json([one.to_json() for one in previews])
    for reason in failed:
        print_error(reason)
    say("nothing was stored (--dry-run)")
    raise typer.Exit(1 if failed or missing else 0)


def _ask(previews: list[Preview], *, yes: bool) -> None:
    """Ask a person on a terminal whether to store what is new or changed."""
    changing = [one.watch for one in previews if one.is_new or one.changes]
    if changing and not yes and sys.stdin.isatty():
        typer.confirm(f"Store {', '.join(changing)}?", abort=True, default=True, err=True)


def _store(engine: Engine, given: list[Watch], failed: list[str]) -> list[Stored]:
    """Store each watch in a transaction of its own; reasons of those that fail are added to ``failed``."""
    from sqlalchemy.exc import DataError

    from segwatch.db.errors import DbError, describe_error
    from segwatch.flows.pipeline.applying import store_watch

    applied = []
    for watch in given:
        try:
            with engine.begin() as conn:
                applied.append(store_watch(conn, watch))
        except (DbError, DataError) as error:
            failed.append(f"{watch.name}: {describe_error(error)}")
    return applied


def _print_applied(applied: list[Stored], previews: list[Preview], *, as_json: bool) -> None:
    from segwatch.flows.config.sizes import describe_limits

    if as_json:
        shown = {one.watch: one.to_json() for one in previews}
        print_json(
            [
                {
                    "watch": one.watch.name,
                    "revision": one.done.revision_id,
                    "created": one.done.created,
                    "min_polygon_m2": one.watch.min_polygon_m2,
                    "min_change_m2": one.watch.tracking.min_change_m2,
                    "messages_withdrawn": one.withdrawn,
                    "preview": shown[one.watch.name],
                }
                for one in applied
            ]
        )
        return
    for one in applied:
        state = "new revision" if one.done.created else "unchanged"
        gone = f", {one.withdrawn} pending message(s) withdrawn" if one.withdrawn else ""
        out.print(f"{one.watch.name}: {state} {one.done.revision_id}{gone}", markup=False)
        out.print(f"  {describe_limits(one.watch)}", markup=False)


def _say_doubts(applied: list[Stored]) -> None:
    from segwatch.flows.config.cadence import GRACE, is_over
    from segwatch.flows.config.sizes import find_doubtful_limits

    for watch in (one.watch for one in applied):
        for doubt in find_doubtful_limits(watch):
            say(f"{watch.name}: warning: {doubt}")
    for one in applied:
        if is_over(one.watch.end, datetime.now(UTC)):
            say(
                f"{one.watch.name}: its end {one.watch.end:%Y-%m-%d %H:%M} is more than {GRACE.days} days past: it has "
                f"no schedule any more, and {one.withdrawn} pending message(s) were withdrawn; segwatch run still "
                "observes its period"
            )


def _schedule(stored: list[Watch]) -> None:
    if "PREFECT_API_URL" in os.environ:
        from segwatch.flows.errors import FlowError
        from segwatch.flows.orchestration import deploy as deployment

        with open_engine() as engine:
            paused = deployment.read_paused(engine)
        try:
            with step(say, "scheduling on the Prefect server", every_seconds=10.0):
                deployment.schedule_watches(stored, paused=paused)
        except FlowError as error:
            names = ", ".join(watch.name for watch in stored)
            raise FlowError(
                f"stored, but not scheduled on the Prefect server: {names}: {error}. Without it, each can be run with: "
                "segwatch run WATCH"
            ) from error
    elif any(watch.schedule for watch in stored):
        say("PREFECT_API_URL is not set, so nothing is scheduled; set it and run: segwatch deploy")
