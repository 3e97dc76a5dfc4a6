"""``segwatch review``: analysts confirm, reject and edit objects."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from segwatch.flows.cli import completing
from segwatch.flows.cli.console import (
    By,
    Json,
    WatchName,
    clear_errors,
    find_id,
    open_engine,
    out,
    print_json,
    print_table,
)

app = typer.Typer(no_args_is_help=True, help="Confirm, reject or edit objects; every verdict is kept.")

TrackId = Annotated[
    str,
    typer.Argument(
        metavar="OBJECT",
        help="The object's id (track_id), or its first digits.",
        autocompletion=completing.complete_objects,
    ),
]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="Reason, stored with the verdict.")]


@app.command("list")
def list_(watch: WatchName, as_json: Json = False) -> None:
    """List every verdict about the objects of a watch, oldest first."""
    from segwatch.db import analyst, watches

    with clear_errors(), open_engine() as engine, engine.connect() as conn:
        watches.require(conn, watch)
        rows = analyst.list_reviews(conn, watch, geometry=True)
    if as_json:
        print_json(rows)
        return
    cells = [
        (
            row["decided_at"],
            row["verdict"],
            row["reviewer"],
            row["reason"],
            row["track_id"],
            bool(row["holds"]),
        )
        for row in rows
    ]
    print_table(("decided", "verdict", "by", "why", "object", "in force"), cells, title=watch)


@app.command()
def confirm(track: TrackId, why: Why, by: By = None, as_json: Json = False) -> None:
    """Confirm that an object is there."""
    _decide(track, "confirmed", why, by, None, as_json=as_json)


@app.command()
def reject(track: TrackId, why: Why, by: By = None, as_json: Json = False) -> None:
    """Reject an object as a false detection.

    It leaves the map, its alerts are retracted, and it does not alert again, even if it is detected again.
    """
    _decide(track, "rejected", why, by, None, as_json=as_json)


@app.command()
def edit(
    track: TrackId,
    geometry: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="GeoJSON file with a Polygon, a MultiPolygon, or one Feature with either."
        ),
    ],
    why: Why,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Replace an object's geometry, until the object is observed to change."""
    _decide(track, "edited", why, by, geometry, as_json=as_json)


def _decide(
    given: str, verdict: str, why: str, by: str | None, geometry: Path | None, *, as_json: bool
) -> None:
    from segwatch.db import reviews
    from segwatch.db.identities import Kind
    from segwatch.flows.alerting.send_times import compute_send_time
    from segwatch.flows.config.geojson import read_geometry_file

    with clear_errors():
        drawn = None if geometry is None else read_geometry_file(geometry)
        with open_engine() as engine, engine.begin() as conn:
            track = find_id(conn, Kind.OBJECT, given)
            made = reviews.decide(
                conn,
                track,
                reviews.Verdict(verdict),
                reviewer=by or getpass.getuser(),
                reason=why,
                outline=drawn,
                turn=compute_send_time,
            )
    if as_json:
        print_json({"review": made.id, "track": made.track_id, "verdict": verdict, "created": made.created})
    else:
        out.print(f"{made.track_id}: {verdict}{'' if made.created else ' (as before)'}")
