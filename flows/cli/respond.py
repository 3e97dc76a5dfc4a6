"""``segwatch respond``: a disaster run by hand."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from segwatch.flows.cli.console import Json, clear_errors, err, out, print_json, say, stoppable, warn

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from segwatch.flows.config.settings import FlowSettings
    from segwatch.flows.events.disaster_runs import DisasterRun
    from segwatch.flows.events.playbooks import Playbook
    from segwatch.flows.events.source_selection import Happening


def respond(
    playbook: Annotated[str, typer.Option("--playbook", help="its name; `--playbook list` shows them")],
    area: Annotated[
        Path | None, typer.Option("--area", help="GeoJSON of the ground, instead of an event")
    ] = None,
    event: Annotated[
        str | None, typer.Option("--event", help="SOURCE/ID, from `segwatch event list`")
    ] = None,
    at: Annotated[datetime | None, typer.Option("--at", help="when it happened (UTC); default: now")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be done")] = False,
    as_json: Json = False,
) -> None:
    """Watch the ground of an event: the best scene from before, then everything since, at top priority."""
    from segwatch.flows import respond as prefect_runs
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.errors import ConfigError
    from segwatch.flows.events import disaster_runs, playbooks
    from segwatch.flows.observe import run_in_process
    from segwatch.flows.runtime import assemble

    with clear_errors(), stoppable():
        settings = load_settings()
        books, unusable = playbooks.load_each(settings.playbooks)
        for reason in unusable:
            warn(reason)
        if playbook == "list":
            for one in books:
                out.print(f"{one.name}: {escape(one.title)} ({', '.join(one.match.kinds)})")
            return
        book = playbooks.by_name(books, playbook)
        if (area is None) == (event is None):
            raise ConfigError("give one of --area FILE and --event SOURCE/ID")
        if event is not None and at is not None:
            raise ConfigError("--at: an event says itself when it happened; leave it out")
        with assemble.worker_engine(settings) as engine:
            happening = (
                _from_file(area, at) if area is not None else _from_ledger(engine, settings, str(event), book)
            )
            made, watch = disaster_runs.respond(engine, settings, book, happening, dry_run=dry_run)
            report = None
            if not dry_run and prefect_runs.on_a_server():
                prefect_runs.start(engine, watch.name)
            elif not dry_run:
                report = run_in_process(engine, settings, watch.name, progress=say)
    if as_json:
        print_json(asdict(made) | ({"run": report} if report else {}))
        return
    for reason in made.unreachable:
        err.print(f"no answer from {escape(reason)}")
    word = "would watch" if dry_run else "watches"
    out.print(
        f"{word} {made.area_km2:.0f} km2 as {made.watch} with {made.source}, {made.since} to {made.until}",
        markup=False,
    )
    out.print(f"before: {made.baseline or _no_scene(made)}", markup=False)
    since = (
        f"{made.scenes_after} scene(s) in the catalog now"
        if made.answered
        else f"not known; {made.source} did not answer"
    )
    out.print(f"since: {since}", markup=False)
    if made.seconds_per_scene is None:
        out.print("cost: not known; this model has not observed anything here yet")
    else:
        out.print(
            f"cost: about {made.seconds_per_scene:.0f} s of computing and {(made.bytes_per_scene or 0) / 1e6:.0f} MB"
            " read for each scene, by what was observed so far"
        )


def _no_scene(made: DisasterRun) -> str:
    """Why no scene from before is named: a catalog that was not heard has said nothing of its scenes."""
    silent = ", ".join(dict.fromkeys(reason.partition(":")[0] for reason in made.unreachable))
    if not made.answered:
        return f"not known; no answer from {silent}"
    return f"no scene was found in {made.source}" + (f"; no answer from {silent}" if silent else "")


def _from_file(area: Path, at: datetime | None) -> Happening:
    from segwatch.flows.config.geojson import from_file
    from segwatch.flows.events.source_selection import Happening

    shape = from_file(area)
    moment = at.replace(tzinfo=UTC) if at else datetime.now(UTC)
    return Happening(f"{area.stem} {shape.wkb_hex} {at.isoformat() if at else moment.date()}", shape, moment)


def _from_ledger(engine: Engine, settings: FlowSettings, identity: str, book: Playbook) -> Happening:
    from segwatch.db import events
    from segwatch.flows.errors import ConfigError
    from segwatch.flows.events.disaster_runs import happening_of
    from segwatch.flows.events.source_selection import identities
    from segwatch.geo.events.linking import same

    with engine.connect() as conn:
        every = events.known(conn)
    found = [one for one in every if identity in identities(one)]
    if not found:
        raise ConfigError(f"--event: {identity!r} is not in the ledger; `segwatch event list` shows what is")
    told = [one for one in every if one is not found[0] and same(one, found[0])]
    return happening_of(engine, settings, book, found[0], told)
