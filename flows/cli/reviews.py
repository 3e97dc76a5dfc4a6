"""``segwatch review``: analysts confirm, reject and edit objects."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from segwatch.flows.cli.console import (
    By,
    Json,
    WatchName,
    clear_errors,
    format_minute,
    open_engine,
    out,
    print_json,
    print_table,
)

app = typer.Typer(no_args_is_help=True, help="Confirm, reject or edit objects; every verdict is kept.")

TrackId = Annotated[
    UUID, typer.Argument(metavar="TRACK", help="The object's track_id, from watch.objects_now.")
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
    cells = []
    for row in rows:
        in_force = "yes" if row["holds"] else ""
        decided, track = format_minute(row["decided_at"]), str(row["track_id"])
        cells.append((decided, row["verdict"], row["reviewer"], row["reason"], track, in_force))
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
    track: UUID, verdict: str, why: str, by: str | None, geometry: Path | None, *, as_json: bool
) -> None:
    from segwatch.db import reviews
    from segwatch.flows.alerting.send_times import compute_send_time
    from segwatch.flows.config.geojson import read_geometry_file

    with clear_errors():
        drawn = None if geometry is None else read_geometry_file(geometry)
        with open_engine() as engine, engine.begin() as conn:
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
