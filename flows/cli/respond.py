"""``segwatch respond``: start a disaster run by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from segwatch.flows.cli.console import (
    Json,
    clear_errors,
    err,
    find_id,
    out,
    print_json,
    print_table,
    say,
    stoppable,
    warn,
)
from segwatch.flows.cli.parsing import TIME_FORMS, Box, parse_moment

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from segwatch.flows.config.settings import FlowSettings
    from segwatch.flows.events.disaster_runs import DisasterRun
    from segwatch.flows.events.playbooks import Playbook
    from segwatch.flows.events.source_selection import RunTarget


def respond(
    playbook: Annotated[
        str,
        typer.Option("--playbook", metavar="NAME", help="Playbook to follow; `--playbook list` lists all."),
    ],
    area: Annotated[
        Path | None,
        typer.Option(
            "--area", metavar="FILE", help="GeoJSON file with the area of interest, instead of an event."
        ),
    ] = None,
    bbox: Box = None,
    event: Annotated[
        str | None,
        typer.Option(
            "--event",
            metavar="SOURCE/ID",
            help="Event from `segwatch event list`, or the first digits of its id.",
        ),
    ] = None,
    at: Annotated[
        datetime | None,
        typer.Option(
            "--at",
            metavar="TIME",
            parser=parse_moment,
            help=f"With --area or --bbox: time of the event, {TIME_FORMS}, UTC. Default: now.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what would be watched, and what it would cost.")
    ] = False,
    demonstration_model: Annotated[
        bool,
        typer.Option(
            "--demonstration-model",
            help="Go on with the model that ships with segwatch, which is not made for decisions.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Start a disaster run: watch the area of an event at top priority.

    Observes the best scene from before the event, then every scene since. With PREFECT_API_URL set the run is started
    on the workers, else in this process. With the model that ships with segwatch it starts only if you say so.
    """
    from segwatch.flows import respond as prefect_runs
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.errors import ConfigError
    from segwatch.flows.events import disaster_runs, playbooks
    from segwatch.flows.orchestration.in_process import run_in_process
    from segwatch.flows.runtime import assemble

    with clear_errors(), stoppable():
        settings = load_settings()
        books, unusable = playbooks.load_each(settings.playbooks)
        for reason in unusable:
            warn(reason)
        if playbook == "list":
            _print_playbooks(books, as_json=as_json)
            return
        book = playbooks.find_playbook(books, playbook)
        if sum(one is not None for one in (area, bbox, event)) != 1:
            raise ConfigError("give one of --area FILE, --bbox W,S,E,N and --event SOURCE/ID")
        if event is not None and at is not None:
            raise ConfigError("--at cannot be used with --event: the event has its own time")
        with assemble.open_run_engine(settings, say) as engine:
            happening = (
                _from_ledger(engine, settings, event, book)
                if event is not None
                else _from_area(area, bbox, at)
            )
            _check_model(settings, agreed=demonstration_model or dry_run)
            made, watch = disaster_runs.prepare_run(engine, settings, book, happening, dry_run=dry_run)
            report = None
            if not dry_run and prefect_runs.has_server():
                prefect_runs.start_run(engine, watch.name)
            elif not dry_run:
                report = run_in_process(engine, settings, watch.name, progress=say)
    if as_json:
        print_json(asdict(made) | ({"run": report} if report else {}))
        return
    _print_run(made, dry_run=dry_run)


def _check_model(settings: FlowSettings, *, agreed: bool) -> None:
    """Refuse a run with the demonstration model that nobody agreed to; say so of one that goes on."""
    from segwatch.flows.errors import ConfigError
    from segwatch.flows.inference.segmenters import is_demonstration

    if not is_demonstration(settings):
        return
    if not agreed:
        raise ConfigError(
            "the configured model is the demonstration model, which is not made for decisions: set SEGWATCH_MODEL or "
            "SEGWATCH_MODEL_PATH to your own, or add --demonstration-model to go on; every polygon and report says so"
        )
    warn("demonstration model: its polygons are not made for decisions")


def _print_run(made: DisasterRun, *, dry_run: bool) -> None:
    for reason in made.unreachable:
        err.print(f"no result from {escape(reason)}")
    word = "would watch" if dry_run else "watching"
    out.print(
        f"{word} {made.area_km2:.0f} km2 as {made.watch} with {made.source}, {made.since} to {made.until}",
        markup=False,
    )
    out.print(f"before: {made.baseline or _describe_no_scene(made)}", markup=False)
    since = (
        f"{made.scenes_after} scene(s) in the catalog now"
        if made.answered
        else f"unknown; no result from {made.source}"
    )
    out.print(f"since: {since}", markup=False)
    if made.seconds_per_scene is None:
        out.print("cost: unknown; this model has not observed anything here yet")
    else:
        out.print(
            f"cost: about {made.seconds_per_scene:.0f} s of computing and {(made.bytes_per_scene or 0) / 1e6:.0f} MB"
            " to read per scene, estimated from past observations"
        )


def _describe_no_scene(made: DisasterRun) -> str:
    """Say why there is no scene from before the event: none exists, or a catalog could not be reached."""
    silent = ", ".join(dict.fromkeys(reason.partition(":")[0] for reason in made.unreachable))
    if not made.answered:
        return f"unknown; no result from {silent}"
    return f"no scene was found in {made.source}" + (f"; no result from {silent}" if silent else "")


def _from_area(
    file: Path | None, bbox: tuple[float, float, float, float] | None, at: datetime | None
) -> RunTarget:
    from segwatch.flows.config.geojson import read_geometry_file
    from segwatch.flows.events.source_selection import RunTarget
    from segwatch.geo.antimeridian import to_box

    if file is not None:
        name, geometry = file.stem, read_geometry_file(file)
    else:
        assert bbox is not None  # noqa: S101 - one of both is given
        name, geometry = "box", to_box(bbox)
    moment = at or datetime.now(UTC)
    identity = f"{name} {geometry.wkb_hex} {at.isoformat() if at else moment.date()}"
    return RunTarget(identity, geometry, moment)


def _print_playbooks(books: Sequence[Playbook], *, as_json: bool) -> None:
    if as_json:
        print_json(
            [{"playbook": one.name, "title": one.title, "kinds": list(one.match.kinds)} for one in books]
        )
        return
    cells = [(one.name, ", ".join(one.match.kinds), one.title) for one in books]
    print_table(("playbook", "kinds", "title"), cells)


def _from_ledger(engine: Engine, settings: FlowSettings, identity: str, book: Playbook) -> RunTarget:
    from segwatch.db import events
    from segwatch.db.identities import Kind
    from segwatch.flows.errors import ConfigError
    from segwatch.flows.events.disaster_runs import resolve_target
    from segwatch.flows.events.source_selection import list_event_names
    from segwatch.geo.events.linking import is_same_event
    from segwatch.geo.text.spelling import find_nearest

    with engine.connect() as conn:
        every = events.load_events(conn)
        if "/" not in identity:  # the first digits of an id
            identity = events.read_name(conn, find_id(conn, Kind.EVENT, identity))
    found = [one for one in every if identity in list_event_names(one)]
    if not found:
        known = [name for one in every for name in list_event_names(one)]
        near = find_nearest(identity, known)
        hint = f"did you mean {near}? " if near else ""
        raise ConfigError(
            f"--event: {identity!r} is not in the ledger; {hint}`segwatch event list` lists all events"
        )
    linked = [one for one in every if one is not found[0] and is_same_event(one, found[0])]
    return resolve_target(engine, settings, book, found[0], linked)
