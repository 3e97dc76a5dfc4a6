"""``segwatch coverage|why-not|upgrades|report``: what was observed, what changed, and what is missing."""

from __future__ import annotations

import math
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segwatch.flows.cli.console import (
    Json,
    WatchName,
    clear_errors,
    err,
    format_minute,
    open_engine,
    out,
    print_json,
    print_table,
    say,
)

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
        clear = "" if row["clear_share"] is None else f"{row['clear_share']:.0%}"
        acquired = "unknown" if row["acquired_at"] is None else format_minute(row["acquired_at"])
        cells.append((acquired, row["state"], clear, str(row["detections"]), _explain(row)))
    print_table(("acquired", "state", "clear", "polygons", "reason"), cells, title=watch)
    if any(row["shift_problem"] for row in rows):
        say(
            "scenes that lie far from the others or whose shift is uncertain may show changes that are displaced "
            "imagery: compare them on the map; rules with status: confirmed wait for another scene"
        )


def why_not(
    watch: WatchName,
    lon: Annotated[
        float,
        typer.Argument(metavar="LON", min=-360, max=360, help="Longitude in degrees (WGS 84)."),
    ],
    lat: Annotated[
        float, typer.Argument(metavar="LAT", min=-90, max=90, help="Latitude in degrees (WGS 84).")
    ],
    at: Annotated[
        datetime | None,
        typer.Argument(
            metavar="TIME",
            help="Consider scenes acquired up to this time (UTC; a date means its whole day). Default: now.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Explain why there is no alert at a point.

    Gives one line per scene: not imaged, cloudy, nothing found, below threshold, refuted, suppressed, failed,
    pending, rejected or alerted. Write -- before negative coordinates:

    segwatch why-not lakes -- -99.15 47.02 2017-08-27
    """
    from segwatch.db import analyst
    from segwatch.geo.antimeridian import wrap_longitude

    with clear_errors():
        moment = _end_of(at) if at else datetime.now(UTC)
        with open_engine() as engine, engine.connect() as conn:
            rows = analyst.explain_missing_alert(conn, watch, wrap_longitude(lon), lat, moment)
            _warn_if_unsearched(conn, watch)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        if row["observation_id"] is None:  # the row that stands for "no scene"
            err.print("no scene of this watch was found up to that time")
            continue
        explained = row["waits"] or row["answer"] in {"failed", "rejected", "pending"}
        reason = _explain(row) if explained else ""
        why = f": {reason}" if reason else ""
        out.print(f"{row['acquired_at'] or 'unknown time'}  {row['answer']}{why}", markup=False)


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
        hectares = (row["gained_m2"] - row["lost_m2"]) / 1e4
        before, after = row["model_before"], row["model"]
        if before == after:
            before, after = row["instruction_before"], row["instruction"]
        scene = format_minute(row["seed_valid_at"])
        cells.append((scene, before, after, row["kind"], str(row["objects"]), f"{hectares:+.1f}"))
    print_table(("scene", "before", "after", "difference", "objects", "hectares"), cells, title=watch)


def report(
    watch: WatchName,
    folder: Annotated[
        Path,
        typer.Option("--out", metavar="FOLDER", help="Folder for situation.html and situation.pdf."),
    ] = Path("."),
) -> None:
    """Write the situation report: pictures before and after, changes, coverage and gaps."""
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.report.html import render_html
    from segwatch.flows.report.pdf import render_pdf
    from segwatch.flows.report.situation import gather
    from segwatch.flows.runtime import assemble

    with clear_errors():
        settings = load_settings()
        with assemble.open_worker_engine(settings) as engine:
            found = gather(engine, settings, watch)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "situation.html").write_text(render_html(found), encoding="utf-8")
        (folder / "situation.pdf").write_bytes(render_pdf(found))
    out.print(f"{folder / 'situation.html'}, {folder / 'situation.pdf'}", markup=False)


def _warn_if_unsearched(conn: Connection, watch: str) -> None:
    """Warn if the catalog was never searched completely, so that a gap is not taken for "no scenes"."""
    from segwatch.db import watermarks

    if watermarks.is_unsearched(conn, watch):
        say(
            f"the catalog of {watch} was never searched to the end, so scenes may be missing; run: segwatch run {watch}"
        )


def _end_of(at: datetime) -> datetime:
    """Return the end of the day if only a date was given, else the time itself."""
    moment = at.replace(tzinfo=UTC)
    return moment + timedelta(days=1) - timedelta(microseconds=1) if at.time() == time.min else moment
