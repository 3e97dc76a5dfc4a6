"""The command tree and the commands that work on the ledger."""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from segwatch.flows.cli import (
    alerts,
    database,
    doctor,
    events,
    local,
    models,
    respond,
    reviews,
    serving,
    sources,
    tokens,
)
from segwatch.flows.cli import watches as watch_commands
from segwatch.flows.cli.console import (
    Json,
    clear_errors,
    err,
    out,
    print_json,
    print_table,
    say,
    stoppable,
    utc,
    warn,
)
from segwatch.flows.runtime import logs
from segwatch.geo.printable import one_line

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from segwatch.geo.types.watch import Watch

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Standing watch over satellite imagery.",
    # its pictures of tracebacks may show values of variables, passwords among them
    pretty_exceptions_enable=False,
)
app.add_typer(database.app, name="db")
app.add_typer(models.app, name="model")
app.add_typer(reviews.app, name="review")
app.add_typer(events.app, name="event")
app.add_typer(alerts.app, name="alert")
app.add_typer(watch_commands.app, name="watch")
app.add_typer(sources.app, name="source")
app.command()(respond.respond)
app.command()(local.demo)
app.command()(local.stop)
app.command()(local.status)
app.command()(doctor.doctor)
app.command("env")(local.print_environment)
app.command()(local.clean)
app.add_typer(tokens.app, name="token")
app.command()(serving.serve)


@app.callback()
def _setup(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="log what happens")] = False,
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.ERROR, format="%(levelname)s %(name)s %(message)s"
    )
    from segwatch.flows.config import variables

    variables.warn_once(warn)
    local.find_services(context)


def main() -> None:
    """Entry point of ``segwatch`` and ``python -m segwatch.flows.cli``."""
    try:
        app()
    except Exception as error:
        logs.print_traceback(error)
        sys.exit(1)


@app.command()
def apply(
    path: Annotated[Path, typer.Argument(help="watch file, or folder of watch files")], as_json: Json = False
) -> None:
    """Store watches in the ledger; a changed file becomes a new revision, an unchanged one nothing.

    Exit status 1 if a file cannot be used, and the watches of the others are stored; or if a catalog answers and does
    not have the collection of a watch, and the watch is stored all the same.
    """
    from sqlalchemy.exc import DataError

    from segwatch.db import watches
    from segwatch.db.errors import DbError, words
    from segwatch.flows.config import watchfile
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.config.sizes import describe_limits, doubtful_limits
    from segwatch.flows.errors import ConfigError
    from segwatch.flows.runtime import assemble

    with clear_errors():
        given, failed = watchfile.load_each(path)
        if not given:
            raise ConfigError("\n".join(failed))
        applied = []
        with assemble.worker_engine(load_settings()) as engine:
            for watch in given:
                try:
                    with engine.begin() as conn:
                        applied.append((watch, watches.apply(conn, watch)))
                except (DbError, DataError) as error:
                    failed.append(f"{watch.name}: {words(error)}")
        loaded = [watch for watch, _ in applied]
        unknown = _say_what_is_missing(loaded)
    # stored is stored, also when scheduling fails
    if as_json:
        print_json(
            [
                {
                    "watch": watch.name,
                    "revision": done.revision_id,
                    "created": done.created,
                    "min_polygon_m2": watch.min_polygon_m2,
                    "min_change_m2": watch.tracking.min_change_m2,
                }
                for watch, done in applied
            ]
        )
    else:
        for watch, done in applied:
            out.print(f"{watch.name}: {'new revision' if done.created else 'unchanged'} {done.revision_id}")
            out.print(f"  {describe_limits(watch)}", markup=False)
    for watch, _ in applied:
        for doubt in doubtful_limits(watch):
            say(f"{watch.name}: warning: {doubt}")
    with clear_errors():
        if "PREFECT_API_URL" in os.environ:
            from segwatch.flows.orchestration import deploy as deployment

            deployment.schedule(loaded)
        elif any(watch.schedule for watch in loaded):
            say("schedules are set by `segwatch deploy` once PREFECT_API_URL is set")
    for reason in failed:
        err.print("[red]error:[/red]", end=" ")
        err.print(reason, markup=False)
    if unknown or failed:
        raise typer.Exit(1)


def _say_what_is_missing(loaded: list[Watch]) -> bool:
    """Tell of collections that catalogs do not have, and of catalogs that cannot be asked; whether one is missing."""
    from segwatch.flows.config.catalog_check import check_collections

    missing = False
    for told in check_collections(loaded):
        missing = missing or told.missing
        err.print("[red]error:[/red]" if told.missing else "warning:", end=" ")
        err.print(f"{', '.join(told.watches)}: {told.reason}", markup=False)
    return missing


@app.command()
def run(
    watch: Annotated[str, typer.Argument(help="name of an applied watch")],
    since: Annotated[
        datetime | None, typer.Option("--from", help="only scenes acquired from here on (UTC)")
    ] = None,
    until: Annotated[datetime | None, typer.Option("--to", help="only scenes acquired before (UTC)")] = None,
    as_json: Json = False,
) -> None:
    """Do the whole job for one watch in this process, without a Prefect server or worker."""
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.observe import run_in_process
    from segwatch.flows.runtime import assemble

    with clear_errors(), stoppable(), _progress() as progress:
        task = progress.add_task(f"{watch}: starting", total=None)
        settings = load_settings()
        with assemble.worker_engine(settings) as engine:
            report = run_in_process(
                engine,
                settings,
                watch,
                start=utc(since),
                end=utc(until),
                progress=lambda text: progress.update(task, description=one_line(text)),
            )
    if as_json:
        print_json(report)
    else:
        _print_report(report)


@app.command()
def retry(watch: Annotated[str, typer.Argument(help="name of a watch")], as_json: Json = False) -> None:
    """Queue again what failed of a watch; the next run takes it up, with all attempts ahead.

    What waits for a source that was out is tried by the next run, too, whenever the source would have been tried.
    """
    from segwatch.db import circuits, ledger, watches
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.inference import segmenters
    from segwatch.flows.runtime import assemble

    with clear_errors():
        settings = load_settings()
        with assemble.worker_engine(settings) as engine, engine.begin() as conn:
            watches.current(conn, watch)
            count = ledger.retry(conn, watch, model_version=segmenters.version_of(settings))
            circuits.try_now(conn, watch)
    if as_json:
        print_json({"watch": watch, "queued": count})
    else:
        out.print(f"{watch}: {count} failed observation(s) queued again", markup=False)


@app.command()
def deploy(folder: Annotated[Path | None, typer.Option(help="folder with prefect.yaml")] = None) -> None:
    """Create work pools, deployments and the watches' schedules on the server of PREFECT_API_URL.

    What an operator set there stays: pools, their limits, and which schedules are switched on.
    """
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.errors import ConfigError
    from segwatch.flows.orchestration import deploy as deployment
    from segwatch.flows.runtime import assemble

    with clear_errors():
        if "PREFECT_API_URL" not in os.environ:
            raise ConfigError(
                "PREFECT_API_URL is not set; start a Prefect server and set it, e.g. http://HOST:4200/api"
            )
        deployment.deploy(folder or deployment.deployments_folder())
        with assemble.worker_engine(load_settings()) as engine:
            deployment.schedule_all(engine)
    out.print("work pools, deployments and schedules are in place")


@app.command()
def coverage(watch: Annotated[str, typer.Argument(help="name of a watch")], as_json: Json = False) -> None:
    """What was observed when, and what was not, and why."""
    from segwatch.flows import reports
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.runtime import assemble

    with clear_errors(), assemble.worker_engine(load_settings()) as engine:
        rows = reports.coverage(engine, watch)
        _say_unsearched(engine, watch)
    if as_json:
        print_json(rows)
        return
    cells = []
    for row in rows:
        clear = "" if row["clear_share"] is None else f"{row['clear_share']:.0%}"
        acquired = _minute(row["acquired_at"])
        cells.append((acquired, row["state"], clear, str(row["detections"]), row["reason"] or ""))
    print_table(("acquired", "state", "clear", "polygons", "reason"), cells, title=watch)


@app.command()
def upgrades(watch: Annotated[str, typer.Argument(help="name of a watch")], as_json: Json = False) -> None:
    """What a new model or instruction alone changed: the same scene answered before and after."""
    from segwatch.flows import reports
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.runtime import assemble

    with clear_errors(), assemble.worker_engine(load_settings()) as engine:
        rows = reports.upgrades(engine, watch)
    if as_json:
        print_json(rows)
        return
    cells = []
    for row in rows:
        scene = row["seed_valid_at"].strftime("%Y-%m-%d %H:%M")
        hectares = (row["gained_m2"] - row["lost_m2"]) / 1e4
        before, after = (row["model_before"], row["model"])
        if before == after:
            before, after = row["instruction_before"], row["instruction"]
        cells.append((scene, before, after, row["kind"], str(row["objects"]), f"{hectares:+.1f}"))
    print_table(("scene", "before", "after", "difference", "objects", "hectares"), cells, title=watch)


@app.command()
def report(
    watch: Annotated[str, typer.Argument(help="name of a watch")],
    folder: Annotated[Path, typer.Option("--out", help="folder for situation.html and situation.pdf")] = Path(
        "."
    ),
) -> None:
    """The situation: pictures before and after, changes, coverage and gaps."""
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.report.html import render_html
    from segwatch.flows.report.pdf import render_pdf
    from segwatch.flows.report.situation import gather
    from segwatch.flows.runtime import assemble

    with clear_errors():
        settings = load_settings()
        with assemble.worker_engine(settings) as engine:
            seen = gather(engine, settings, watch)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "situation.html").write_text(render_html(seen), encoding="utf-8")
        (folder / "situation.pdf").write_bytes(render_pdf(seen))
    out.print(f"{folder / 'situation.html'}, {folder / 'situation.pdf'}", markup=False)


@app.command("why-not")
def why_not(
    watch: str,
    lon: Annotated[float, typer.Argument(min=-360, max=360)],
    lat: Annotated[float, typer.Argument(min=-90, max=90)],
    at: Annotated[
        datetime | None, typer.Argument(help="scenes up to then (UTC; of a day: all of it); default: all")
    ] = None,
    as_json: Json = False,
) -> None:
    """Why is there no alert here? Write -- before negative coordinates."""
    from segwatch.flows import reports
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.runtime import assemble
    from segwatch.geo.antimeridian import wrapped

    with clear_errors():
        moment = _end_of(at) if at else datetime.now(UTC)
        with assemble.worker_engine(load_settings()) as engine:
            rows = reports.why_not(engine, watch, wrapped(lon), lat, moment)
            _say_unsearched(engine, watch)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        if row["observation_id"] is None:  # the ledger's answer about no scene
            err.print("no scene of this watch was found up to that time")
            continue
        why = (
            f": {row['reason']}"
            if row["reason"] and row["answer"] in {"failed", "rejected", "pending"}
            else ""
        )
        out.print(f"{row['acquired_at'] or 'unknown time'}  {row['answer']}{why}", markup=False)


def _minute(moment: datetime | None) -> str:
    return "unknown" if moment is None else moment.strftime("%Y-%m-%d %H:%M")


def _say_unsearched(engine: Engine, watch: str) -> None:
    """Keep a catalog that was not heard from passing for one without scenes."""
    from segwatch.flows import reports

    if reports.unsearched(engine, watch):
        say(
            f"the catalog of {watch} was never searched to the end: scenes may be missing; see: segwatch run {watch}"
        )


def _end_of(at: datetime) -> datetime:
    """The end of a day that was given without a time; another time as it is."""
    moment = at.replace(tzinfo=UTC)
    return moment + timedelta(days=1) - timedelta(microseconds=1) if at.time() == time.min else moment


def _progress() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        console=err,
        transient=True,
    )


def _print_report(report: dict[str, dict[str, Any]]) -> None:
    """Counts by step; last, why something of it is not observed."""
    for step, counts in report.items():
        shown = ", ".join(
            f"{name} {value}"
            for name, value in counts.items()
            if value not in ({}, [], None, "") and name not in {"reasons", "held"}
        )
        out.print(f"[bold]{escape(step)}[/bold]: {escape(shown)}")
    reasons = [
        (what, count, reason)
        for step, what in (("discover", "rejected"), ("segment", "not observed"), ("track", "not tracked"))
        for reason, count in report.get(step, {}).get("reasons", {}).items()
    ]
    for what, count, reason in reasons:
        out.print(f"{what}: {count} x {reason}", markup=False)
    for one in report.get("deliver", {}).get("held", []):
        out.print(f"not sent here: {one}, which is at work", markup=False)
    for one in report.get("left", {}).get("pending", []):
        out.print(f"pending: {one}", markup=False)
