"""``segwatch event``: events of the world, as feeds report them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from segwatch.flows.cli.console import (
    Json,
    clear_errors,
    err,
    out,
    print_json,
    print_table,
    say,
)
from segwatch.geo.types.event import EventKind

app = typer.Typer(
    no_args_is_help=True, help="Read event feeds (earthquakes, floods, fires, cyclones ...) and list events."
)


@app.command()
def poll(
    feeds: Annotated[
        list[str] | None,
        typer.Argument(metavar="URL...", help="Addresses of feeds. Default: those of SEGWATCH_FEEDS."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Read feeds into the ledger now.

    Exit status 1 if a feed cannot be read; the others are read all the same.
    """
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.events.fetch import poll as poll_now
    from segwatch.flows.runtime import assemble

    with clear_errors():
        settings = load_settings(feeds=tuple(feeds)) if feeds else load_settings()
        with assemble.open_run_engine(settings, say) as engine:
            done = poll_now(engine, settings)
    if as_json:
        print_json([asdict(one) for one in done])
    else:
        for one in done:
            counts = ", ".join(f"{count} {what}" for what, count in sorted(one.recorded.items()))
            out.print(f"{escape(one.feed)}: {escape(one.reason) if one.reason else counts or 'no events'}")
            for entry in one.refused:
                err.print(f"  refused {escape(entry['entry'])}: {escape(entry['reason'])}")
    if any(one.reason for one in done):
        raise typer.Exit(1)


@app.command("list")
def list_(
    kind: Annotated[EventKind | None, typer.Option(help="Only events of this kind.")] = None,
    as_json: Json = False,
) -> None:
    """List the current revision of every event, newest first."""
    from segwatch.db import events
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.runtime import assemble

    with clear_errors(), assemble.open_run_engine(load_settings(), say) as engine, engine.connect() as conn:
        rows = events.list_events(conn, kind.value if kind else None)
    if as_json:
        print_json(rows)
        return
    cells = []
    for row in rows:
        magnitude = "" if row["magnitude"] is None else f"{row['magnitude']:g} {row['magnitude_unit']}"
        level = "cancelled" if row["cancelled"] else row["level"] or ""
        name = f"{row['source']}/{row['external_id']}"
        cells.append(
            (row["occurred_at"], row["kind"], level, magnitude, row["title"], name, row["revisions"])
        )
    print_table(("occurred", "kind", "level", "magnitude", "title", "id", "revisions"), cells)
