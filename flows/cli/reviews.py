"""``segwatch review``: analysts confirm, reject and edit objects."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from segwatch.flows.cli.console import By, Json, clear_errors, out, print_json, print_table

app = typer.Typer(no_args_is_help=True, help="Confirm, reject or edit objects; every verdict is kept.")

Track = Annotated[UUID, typer.Argument(help="the object's track_id, from watch.objects_now")]
Why = Annotated[str, typer.Option("--why", help="the reason, for those who read it later")]


@app.command("list")
def list_(watch: Annotated[str, typer.Argument(help="name of a watch")], as_json: Json = False) -> None:
    """Every verdict about the objects of a watch, oldest first."""
    from segwatch.db import analyst
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.runtime import assemble

    with clear_errors(), assemble.worker_engine(load_settings()) as engine, engine.connect() as conn:
        rows = analyst.list_reviews(conn, watch, geometry=True)
    if as_json:
        print_json(rows)
        return
    cells = []
    for row in rows:
        decided = row["decided_at"].strftime("%Y-%m-%d %H:%M")
        holds = "yes" if row["holds"] else ""
        cells.append((decided, row["verdict"], row["reviewer"], row["reason"], str(row["track_id"]), holds))
    print_table(("decided", "verdict", "by", "why", "object", "holds"), cells, title=watch)


@app.command()
def confirm(track: Track, why: Why, by: By = None, as_json: Json = False) -> None:
    """The object is there."""
    _decide(track, "confirmed", why, by, None, as_json=as_json)


@app.command()
def reject(track: Track, why: Why, by: By = None, as_json: Json = False) -> None:
    """It is none: it leaves the map and alerts no more, also when it is found again."""
    _decide(track, "rejected", why, by, None, as_json=as_json)


@app.command()
def edit(
    track: Track,
    outline: Annotated[
        Path, typer.Argument(help="GeoJSON: a Polygon, MultiPolygon, or one Feature of these")
    ],
    why: Why,
    by: By = None,
    as_json: Json = False,
) -> None:
    """The object's outline is this one, until the object is seen to change."""
    _decide(track, "edited", why, by, outline, as_json=as_json)


def _decide(
    track: UUID, verdict: str, why: str, by: str | None, outline: Path | None, *, as_json: bool
) -> None:
    from segwatch.db import reviews
    from segwatch.flows.alerting.send_times import turn
    from segwatch.flows.config.geojson import from_file
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.runtime import assemble

    with clear_errors():
        drawn = None if outline is None else from_file(outline)
        with assemble.worker_engine(load_settings()) as engine, engine.begin() as conn:
            made = reviews.decide(
                conn,
                track,
                reviews.Verdict(verdict),
                reviewer=by or getpass.getuser(),
                reason=why,
                outline=drawn,
                turn=turn,
            )
    if as_json:
        print_json({"review": made.id, "track": made.track_id, "verdict": verdict, "created": made.created})
    else:
        out.print(f"{made.track_id}: {verdict}{'' if made.created else ' (as before)'}")
