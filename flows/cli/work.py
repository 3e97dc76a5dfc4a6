"""``segwatch apply|run|retry|deploy``: store watches and do their work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from segwatch.flows.cli.console import (
    Json,
    WatchName,
    clear_errors,
    err,
    open_engine,
    out,
    print_error,
    print_json,
    say,
    stoppable,
    utc,
    warn,
)
from segwatch.flows.cli.learning import report_words
from segwatch.geo.text.printable import to_one_line

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from segwatch.db.watches import Applied
    from segwatch.geo.types.watch import Watch


def apply(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Watch file (YAML), or a folder of watch files.")
    ],
    as_json: Json = False,
) -> None:
    """Store watches in the ledger.

    A new or changed file becomes a new revision of its watch; applying an unchanged file changes nothing. If the end of
    a watch is more than seven days past, its schedule is removed and its pending messages are withdrawn.

    With PREFECT_API_URL set, the watches' deployments and schedules on that Prefect server are updated afterwards. A
    new server needs `segwatch deploy` once, which also schedules the watches that are stored.

    Exit status 1 if a file is invalid, a catalog does not have a watch's collection, or a schedule could not be put on
    the server; all other watches are stored.
    """
    from segwatch.flows.config import watchfile
    from segwatch.flows.config.sizes import find_doubtful_limits
    from segwatch.flows.errors import ConfigError

    with clear_errors():
        given, failed = watchfile.load_each(path)
        if not given:
            raise ConfigError("\n".join(failed))
        with open_engine() as engine:
            applied = _store(engine, given, failed)
        stored = [watch for watch, _, _ in applied]
        missing = _report_catalogs(stored)
        report_words([(watch, done) for watch, done, _ in applied])
    _print_applied(applied, as_json=as_json)
    for watch in stored:
        for doubt in find_doubtful_limits(watch):
            say(f"{watch.name}: warning: {doubt}")
    for watch, _, withdrawn in applied:
        _tell_if_over(watch, withdrawn)
    for reason in failed:
        print_error(reason)
    # the watches stay stored even if scheduling fails
    with clear_errors():
        _schedule(stored)
    if missing or failed:
        raise typer.Exit(1)


def _store(engine: Engine, given: list[Watch], failed: list[str]) -> list[tuple[Watch, Applied, int]]:
    """Store each watch in a transaction of its own, with the number of messages withdrawn.

    Reasons of those that fail are added to ``failed``.
    """
    from sqlalchemy.exc import DataError

    from segwatch.db import watches, withdrawing
    from segwatch.db.errors import DbError, describe_error
    from segwatch.flows.config.cadence import is_over

    applied = []
    for watch in given:
        try:
            with engine.begin() as conn:
                done, withdrawn = watches.apply(conn, watch), 0
                if done.created and is_over(watch.end, datetime.now(UTC)):
                    why = f"watch {watch.name} ended at {watch.end}"
                    withdrawn = withdrawing.withdraw_watch(conn, watch.name, why)
            applied.append((watch, done, withdrawn))
        except (DbError, DataError) as error:
            failed.append(f"{watch.name}: {describe_error(error)}")
    return applied


def _report_catalogs(stored: list[Watch]) -> bool:
    """Report unreachable catalogs and missing collections; True if a collection is missing."""
    from segwatch.flows.config.catalog_check import check_collections

    missing = False
    for found in check_collections(stored):
        missing = missing or found.missing
        show = print_error if found.missing else warn
        show(f"{', '.join(found.watches)}: {found.reason}")
    return missing


def _print_applied(applied: list[tuple[Watch, Applied, int]], *, as_json: bool) -> None:
    from segwatch.flows.config.sizes import describe_limits

    if as_json:
        print_json(
            [
                {
                    "watch": watch.name,
                    "revision": done.revision_id,
                    "created": done.created,
                    "min_polygon_m2": watch.min_polygon_m2,
                    "min_change_m2": watch.tracking.min_change_m2,
                    "messages_withdrawn": withdrawn,
                }
                for watch, done, withdrawn in applied
            ]
        )
        return
    for watch, done, _ in applied:
        out.print(f"{watch.name}: {'new revision' if done.created else 'unchanged'} {done.revision_id}")
        out.print(f"  {describe_limits(watch)}", markup=False)


def _tell_if_over(watch: Watch, withdrawn: int) -> None:
    from segwatch.flows.config.cadence import GRACE, is_over

    if is_over(watch.end, datetime.now(UTC)):
        say(
            f"{watch.name}: its end {watch.end:%Y-%m-%d %H:%M} is more than {GRACE.days} days past: it has no schedule "
            f"any more, and {withdrawn} pending message(s) were withdrawn; segwatch run still observes its period"
        )


def _schedule(stored: list[Watch]) -> None:
    if "PREFECT_API_URL" in os.environ:
        from segwatch.flows.errors import FlowError
        from segwatch.flows.orchestration import deploy as deployment

        try:
            deployment.schedule_watches(stored)
        except FlowError as error:
            names = ", ".join(watch.name for watch in stored)
            raise FlowError(f"stored, but not scheduled on the Prefect server: {names}: {error}") from error
    elif any(watch.schedule for watch in stored):
        say("PREFECT_API_URL is not set, so nothing is scheduled; set it and run: segwatch deploy")


def run(
    watch: WatchName,
    since: Annotated[
        datetime | None,
        typer.Option("--from", help="Only scenes acquired at this time (UTC) or later.", metavar="TIME"),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option("--to", help="Only scenes acquired before this time (UTC).", metavar="TIME"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Do the whole job for one watch in this process, without a Prefect server or worker.

    Searches the catalog, segments new scenes, tracks changes and sends alerts. What other watches have waiting to be
    tracked or sent is done along with it, and the output says how much. Run it again at any time: finished work is not
    repeated. Ctrl-C ends it at once and releases its scenes for the next run.
    """
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.orchestration.in_process import run_in_process
    from segwatch.flows.runtime import assemble

    with clear_errors(), stoppable(), _show_progress() as progress:
        task = progress.add_task(f"{watch}: starting", total=None)
        settings = load_settings()
        with assemble.open_run_engine(settings, say) as engine:
            report = run_in_process(
                engine,
                settings,
                watch,
                start=utc(since),
                end=utc(until),
                progress=lambda text: progress.update(task, description=to_one_line(text)),
            )
    if as_json:
        print_json(report)
    else:
        _print_report(report, watch)
    _warn_if_all_rejected(watch)


def _warn_if_all_rejected(name: str) -> None:
    from segwatch.db import health

    with clear_errors(), open_engine() as engine, engine.connect() as conn:
        found = next((one for one in health.read_watches(conn) if one.name == name), None)
    if found is not None and found.only_rejected:
        warn(
            f"all {found.only_rejected} item(s) that the watch found were rejected, so it observes nothing; correct "
            "source.profile or source.collection in its file and apply it"
        )


def retry(watch: WatchName, as_json: Json = False) -> None:
    """Queue the failed observations of a watch again.

    The next run takes them up with all attempts available. It also retries scenes that wait for a source whose circuit
    is open.
    """
    from segwatch.db import circuits, ledger, watches
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.inference import watch_models
    from segwatch.flows.runtime import assemble

    with clear_errors():
        settings = load_settings()
        with assemble.open_worker_engine(settings) as engine, engine.begin() as conn:
            watches.load_current(conn, watch)
            count = ledger.retry(conn, watch, model_version=watch_models.find_version(conn, settings, watch))
            circuits.probe_now(conn, watch)
    if as_json:
        print_json({"watch": watch, "queued": count})
    else:
        out.print(f"{watch}: {count} failed observation(s) queued again", markup=False)


def deploy(
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Folder with prefect.yaml and work_pools/; by default those that come with segwatch."
        ),
    ] = None,
) -> None:
    """Create work pools, deployments and the watches' schedules on the Prefect server.

    PREFECT_API_URL names the server. Deploying again keeps what an operator set there: existing pools, their limits,
    and which schedules are active.
    """
    from segwatch.flows.errors import ConfigError
    from segwatch.flows.orchestration import deploy as deployment

    with clear_errors():
        if "PREFECT_API_URL" not in os.environ:
            raise ConfigError(
                "PREFECT_API_URL is not set; start a Prefect server and set it, e.g. http://HOST:4200/api"
            )
        deployment.deploy_flows(folder or deployment.find_deployments_folder())
        with open_engine() as engine:
            deployment.schedule_all_watches(engine)
    out.print("work pools, deployments and schedules are in place")


@contextmanager
def _show_progress() -> Iterator[Progress]:
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        console=err,
        transient=True,
    )
    if not err.is_interactive:
        yield progress  # started, it would print an empty line
        return
    with progress:
        yield progress


def _print_report(report: dict[str, dict[str, Any]], watch: str) -> None:
    """Print the counts of each step, then why anything was not observed."""
    for step, counts in report.items():
        shown = ", ".join(
            f"{name} {value}"
            for name, value in counts.items()
            if value not in ({}, [], None, "") and name not in {"reasons", "held", "pending", "watches"}
        )
        if shown:
            out.print(f"[bold]{escape(step)}[/bold]: {escape(shown)}")
    for name, counts in report.get("track", {}).get("watches", {}).items():
        if name != watch:
            of_it = f"{counts['observations']} observation(s), {counts['alerts']} alert(s)"
            out.print(f"of these, waiting since another run: {name}: {of_it}", markup=False)
    reasons = [
        (what, count, reason)
        for step, what in (("discover", "rejected"), ("segment", "not observed"), ("track", "not tracked"))
        for reason, count in report.get(step, {}).get("reasons", {}).items()
    ]
    for what, count, reason in reasons:
        out.print(f"{what}: {count} x {reason}", markup=False)
    for one in report.get("deliver", {}).get("held", []):
        out.print(f"left to another run: {one}", markup=False)
    for one in report.get("left", {}).get("pending", []):
        out.print(f"pending: {one}", markup=False)
