"""``segwatch watch show|pause|resume|archive|clone``: what becomes of a watch as a whole."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segwatch.flows.cli.console import (
    By,
    Json,
    WatchName,
    clear_errors,
    format_minute,
    open_engine,
    out,
    print_fields,
    print_json,
    print_table,
    say,
    warn,
)
from segwatch.flows.cli.parsing import Box
from segwatch.flows.runtime.progress import step

if TYPE_CHECKING:
    from segwatch.db.watch_actions import Acted
    from segwatch.geo.types.watch import Watch

Note = Annotated[str, typer.Option("--note", metavar="TEXT", help="Reason, stored with it.")]


def show(watch: WatchName, as_json: Json = False) -> None:
    """Show a watch: what it looks for, where and how often, its state, who changed that, and its counts."""
    from segwatch.db import analyst, watch_actions, watches

    with clear_errors(), open_engine() as engine, engine.connect() as conn:
        watches.require(conn, watch)
        found = analyst.read_watch(conn, watch)
        history = watch_actions.list_history(conn, watch)
        counts = analyst.count_states(conn, watch)
    if as_json:
        print_json(found | {"scenes": counts, "history": history})
        return
    print_fields(found | {f"scenes {name}": count for name, count in counts.items()}, as_json=False)
    if history:
        cells = [(row["acted_at"], row["action"], row["person"], row["note"]) for row in history]
        print_table(("when", "what", "by", "note"), cells, further=True)


def pause(watch: WatchName, note: Note = "", by: By = None, as_json: Json = False) -> None:
    """Pause a watch: no search, prediction or schedule, until it is resumed.

    What a worker is predicting now is finished, and messages that wait are sent. With PREFECT_API_URL set, the watch's
    deployment on the Prefect server is paused, too; without it, runs that a server starts end without work. Pausing a
    paused watch changes nothing.
    """
    from segwatch.db import watch_actions

    _act(watch, by, watch_actions.pause, note, as_json=as_json, paused=True)


def resume(watch: WatchName, note: Note = "", by: By = None, as_json: Json = False) -> None:
    """Resume a paused watch: its next run finds the scenes of the meantime.

    An archived watch is resumed by applying its file again. Resuming a watch that is not paused changes nothing.
    """
    from segwatch.db import watch_actions

    _act(watch, by, watch_actions.resume, note, as_json=as_json, paused=False)


def _act(
    watch: str, by: str | None, act: Callable[..., Acted], note: str, *, as_json: bool, paused: bool
) -> None:
    from segwatch.db import watches

    with clear_errors():
        with open_engine() as engine:
            with engine.begin() as conn:
                done = act(conn, watch, by=by or getpass.getuser(), note=note)
            with engine.connect() as conn:
                stored = watches.load_current(conn, watch).watch
        if as_json:
            print_json(
                {"watch": watch, "state": done.action, "by": done.by, "at": done.at, "created": done.created}
            )
        else:
            before = "" if done.created else " (as before)"
            since = (
                f", by {done.by} on {format_minute(done.at.astimezone(UTC))} UTC"
                if done.created or paused
                else ""
            )
            out.print(f"{watch}: {done.action}{since}{before}", markup=False)
        # also if it was so before: a command that was killed here is repeated
        _tell_server(stored, paused=[watch] if paused else [], resumed=[] if paused else [watch])


def _tell_server(stored: Watch, *, paused: Collection[str] = (), resumed: Collection[str] = ()) -> None:
    if "PREFECT_API_URL" in os.environ:
        from segwatch.flows.orchestration import deploy

        with step(say, "telling the Prefect server", every_seconds=10.0):
            deploy.schedule_watches([stored], paused=paused, resumed=resumed)
    elif stored.schedule is not None or not (paused or resumed):
        say(
            "PREFECT_API_URL is not set; if a Prefect server has its schedule, set it and run: segwatch deploy"
        )


def archive(watch: WatchName, note: Note = "", by: By = None, as_json: Json = False) -> None:
    """End a watch: no further scenes, schedule or alerts; pending messages and scenes are withdrawn.

    Objects, history, alerts and reports stay. Applying the watch file again resumes the watch and queues its scenes.
    With PREFECT_API_URL set, the schedule is removed from the Prefect server, too. Archiving an archived watch changes
    nothing.
    """
    from segwatch.db import watch_actions

    with clear_errors():
        with open_engine() as engine, engine.begin() as conn:
            done, acted = watch_actions.archive(
                conn, watch, datetime.now(UTC), by=by or getpass.getuser(), note=note
            )
        if as_json:
            print_json(
                {
                    "watch": watch,
                    "state": "archived",
                    "end": done.watch.end,
                    "by": acted.by,
                    "at": acted.at,
                    "created": acted.created,
                    "messages_withdrawn": done.messages,
                    "scenes_withdrawn": done.scenes,
                }
            )
        else:
            counts = f"{done.messages} pending message(s) and {done.scenes} pending scene(s)"
            before = "" if acted.created else " (as before)"
            out.print(f"{watch}: archived{before}, {counts} withdrawn", markup=False)
        _tell_server(done.watch)


def clone(
    watch: WatchName,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new watch.")],
    area: Annotated[
        Path | None,
        typer.Option("--area", metavar="FILE", help="GeoJSON file with the new area of interest."),
    ] = None,
    bbox: Box = None,
    destination: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Watch file to write; - prints it. Default: NAME.yaml."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a watch file like that of a stored watch, with another name and, if given, another area.

    Nothing is stored: look at the file, change it, and apply it. An existing file is never overwritten, unless it holds
    the same. Only you can read the file, because addresses of channels may contain secrets.
    """
    from segwatch.db import watches
    from segwatch.flows.config import watch_writer
    from segwatch.flows.errors import ConfigError

    with clear_errors():
        geometry = _read_area(area, bbox)
        with open_engine() as engine, engine.connect() as conn:
            original = watches.load_current(conn, watch).watch
        if name == original.name:
            raise ConfigError(f"{name} is the watch itself; give the new one another name")
        file = destination or Path(f"{name}.yaml")
        text, notes = watch_writer.write_like(original, name=name, area=geometry)
        if file == Path("-"):
            typer.echo(text, nl=False)
        else:
            _tell_written(file, watch_writer.write_file(file, text), watch, name, notes, as_json=as_json)
        for one in notes:
            warn(one)


def _tell_written(
    file: Path, written: bool, watch: str, name: str, notes: Sequence[str], *, as_json: bool
) -> None:
    if as_json:
        print_json({"watch": watch, "name": name, "file": str(file), "written": written, "notes": notes})
    else:
        done = "written" if written else "as before"
        out.print(f"{file}: {done}; to store it: segwatch apply {file}", markup=False)


def _read_area(area: Path | None, bbox: tuple[float, float, float, float] | None) -> Any:
    from segwatch.flows.config.geojson import read_geometry_file
    from segwatch.flows.errors import ConfigError
    from segwatch.geo.antimeridian import to_box

    if area is not None and bbox is not None:
        raise ConfigError("give one of --area FILE and --bbox W,S,E,N")
    if bbox is not None:
        return to_box(bbox)
    return None if area is None else read_geometry_file(area)
