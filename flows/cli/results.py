"""``segwatch coverage|why-not|upgrades``: what was observed, what changed, and what is missing."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segwatch.flows.cli.console import (
    Json,
    Share,
    WatchName,
    clear_errors,
    open_engine,
    print_json,
    print_table,
    say,
)
from segwatch.flows.cli.parsing import TIME_FORMS, parse_last_moment

if TYPE_CHECKING:
    from sqlalchemy import Connection


def coverage(watch: WatchName, as_json: Json = False) -> None:
    """List every scene of a watch: what was observed when, what was not, and why.

    A predicted scene is published after the earlier ones of its series, so it waits while those are pending.
    """
    from segwatch.db import analyst

    with clear_errors(), open_engine() as engine, engine.connect() as conn:
        rows = analyst.list_coverage(conn, watch)
        _warn_if_unsearched(conn, watch)
    if as_json:
        print_json(rows)
        return
    cells = []
    for row in rows:
        clear = None if row["clear_share"] is None else Share(row["clear_share"])
        acquired = row["acquired_at"] or "unknown"
        scene = row["observation_id"]
        cells.append((acquired, row["state"], clear, row["detections"], scene, _explain(row)))
    print_table(("acquired", "state", "clear", "polygons", "observation", "reason"), cells, title=watch)
    if any(row["shift_problem"] for row in rows):
        say(
            "scenes that lie far from the others or whose shift is uncertain may show changes that are displaced "
            "imagery: compare them on the map; rules with status: confirmed wait for another scene"
        )


def why_not(
    watch: WatchName,
    lon: Annotated[
        float | None,
        typer.Argument(metavar="LON", min=-360, max=360, help="Longitude in degrees (WGS 84)."),
    ] = None,
    lat: Annotated[
        float | None,
        typer.Argument(metavar="LAT", min=-90, max=90, help="Latitude in degrees (WGS 84)."),
    ] = None,
    at: Annotated[
        datetime | None,
        typer.Argument(
            metavar="TIME",
            parser=parse_last_moment,
            help=f"Only scenes acquired up to then: {TIME_FORMS}, UTC; a date means its whole day. Default: now.",
        ),
    ] = None,
    point: Annotated[
        tuple[float, float] | None,
        typer.Option("--point", metavar="LON LAT", help="The point, in place of LON and LAT."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Explain why there is no alert at a point.

    Gives one line per scene: not imaged, cloudy, nothing found, below threshold, refuted, suppressed, failed,
    pending, rejected, paused, not published (the catalog never showed an acquisition that was expected) or alerted.
    For example:

    segwatch why-not lakes -99.15 47.02 2017-08-27
    """
    from segwatch.db import analyst
    from segwatch.geo.antimeridian import wrap_longitude

    east, north = _choose_point(lon, lat, point)
    with clear_errors(), open_engine() as engine, engine.connect() as conn:
        moment = at or datetime.now(UTC)
        rows = analyst.explain_missing_alert(conn, watch, wrap_longitude(east), north, moment)
        _warn_if_unsearched(conn, watch)
    if as_json:
        print_json(rows)
        return
    cells = [
        _to_answer(row)
        for row in rows
        if row["observation_id"] is not None or row["answer"] in {"paused", "not published"}
    ]
    print_table(("acquired", "answer", "observation", "reason"), cells)
    if len(cells) < len(rows):  # the row that stands for "no scene"
        say("no scene of this watch was found up to that time")


def _choose_point(
    lon: float | None, lat: float | None, point: tuple[float, float] | None
) -> tuple[float, float]:
    """Choose the point that was given in one of two ways."""
    given = point if point is not None else (lon, lat)
    if given[0] is None or given[1] is None or (point is not None and lon is not None):
        raise typer.BadParameter("give LON and LAT, or --point LON LAT", param_hint="LON LAT")
    if not -90 <= given[1] <= 90:
        raise typer.BadParameter(f"{given[1]} is not a latitude; longitude comes first", param_hint="--point")
    return given[0], given[1]


def _to_answer(row: dict[str, Any]) -> tuple[Any, ...]:
    explained = row["waits"] or row["answer"] in {"failed", "rejected", "pending"}
    acquired = row["acquired_at"] or ("" if row["answer"] == "paused" else "unknown time")
    return acquired, row["answer"], row["observation_id"], _explain(row) if explained else ""


def _explain(row: dict[str, Any]) -> str:
    """Join what an observation waits for and the reason of its last attempt; name rejected files and odd shifts."""
    if row.get("state") == "rejected":
        return f"{(row['item_hrefs'] or [''])[0]}: {row['reason']}"
    if row["waits"] and row["reason"]:
        return f"{row['waits']}; the last attempt: {row['reason']}"
    return row["waits"] or row["reason"] or _describe_shift(row)


def _describe_shift(row: dict[str, Any]) -> str:
    """Describe a large or uncertain shift; empty for others, and for rows without shifts."""
    problem = row.get("shift_problem")
    if problem == "large":
        metres = math.hypot(row["shift_east_m"], row["shift_north_m"])
        return f"moved by {metres:.0f} m, measured on {row['shift_source']}"
    return "shift uncertain: not moved" if problem == "uncertain" else ""


def upgrades(watch: WatchName, as_json: Json = False) -> None:
    """Show what a new model or instruction changed by itself, on the same scene."""
    from segwatch.db import analyst

    with clear_errors(), open_engine() as engine, engine.connect() as conn:
        rows = analyst.list_upgrades(conn, watch)
    if as_json:
        print_json(rows)
        return
    cells = []
    for row in rows:
        hectares = round((row["gained_m2"] - row["lost_m2"]) / 1e4, 4)
        before, after = row["model_before"], row["model"]
        if before == after:
            before, after = row["instruction_before"], row["instruction"]
        cells.append((row["seed_valid_at"], before, after, row["kind"], row["objects"], hectares))
    print_table(("scene", "before", "after", "difference", "objects", "hectares"), cells, title=watch)


def _warn_if_unsearched(conn: Connection, watch: str) -> None:
    """Warn if the catalog was never searched completely, so that a gap is not taken for "no scenes"."""
    from segwatch.db import watermarks

    if watermarks.is_unsearched(conn, watch):
        say(
            f"the catalog of {watch} was never searched to the end, so scenes may be missing; run: segwatch run {watch}"
        )
