"""``segwatch alert``: what alerted, what people did about it, and what could not be delivered."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import typer

from segwatch.flows.cli.console import By, Json, clear_errors, out, print_json, print_table

app = typer.Typer(no_args_is_help=True, help="List, acknowledge, snooze and resolve alerts; send again.")

Alert = Annotated[UUID, typer.Argument(help="the alert's id, from `segwatch alert list`")]
#: Ten years.
_MOST_HOURS = 87_600
Note = Annotated[str, typer.Option("--note", help="for those who read it later")]


@app.command("list")
def list_(
    watch: Annotated[str, typer.Argument(help="name of a watch")],
    unresolved: Annotated[bool, typer.Option("--open", help="only those that are not resolved")] = False,
    limit: Annotated[int, typer.Option(min=1)] = 200,
    as_json: Json = False,
) -> None:
    """The newest alerts of a watch."""
    from segwatch.db import analyst, watches
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.runtime import assemble

    with clear_errors(), assemble.worker_engine(load_settings()) as engine, engine.connect() as conn:
        watches.require(conn, watch)
        rows = analyst.list_alerts(conn, watch, unresolved=unresolved, limit=limit)
        count = analyst.count_alerts(conn, watch, unresolved=unresolved)
    if as_json:
        print_json(rows)
        return
    cells = []
    for row in rows:
        what = f"{row['target']} {row['kind']}{' (retracted)' if row['retracted_at'] else ''}"
        size = f"{row['before_m2'] / 1e4:.2f} -> {row['after_m2'] / 1e4:.2f}"
        status = row["status"] if row["status_by"] is None else f"{row['status']}, {row['status_by']}"
        sent = ", ".join(
            f"{row[name]} {word}"
            for name, word in (
                ("deliveries_pending", "pending"),
                ("deliveries_failed", "given up"),
                ("deliveries_withdrawn", "withdrawn"),
            )
            if row[name]
        )
        seen, alert = f"{row['valid_at']:%Y-%m-%d %H:%M}", str(row["alert_id"])
        cells.append((seen, what, row["rule"], size, status, sent or "done", alert))
    print_table(
        ("seen", "what", "rule", "hectares", "status", "delivery", "alert"),
        cells,
        title=_title(watch, len(rows), count),
    )


def _title(watch: str, shown: int, count: int) -> str:
    return watch if shown == count else f"{watch}: {shown} of {count}, see --limit"


@app.command()
def ack(alert: Alert, note: Note = "", by: By = None) -> None:
    """Somebody looks after it."""
    _mark(alert, "acknowledged", note, by)


@app.command()
def snooze(
    alert: Alert,
    hours: Annotated[float, typer.Option("--hours", help="for how long", min=0.01, max=_MOST_HOURS)] = 24.0,
    note: Note = "",
    by: By = None,
) -> None:
    """Messages about the object wait; they come afterwards, in order."""
    _mark(alert, "snoozed", note, by, datetime.now(UTC) + timedelta(hours=hours))


@app.command()
def resolve(alert: Alert, note: Note = "", by: By = None) -> None:
    """Nothing is left to do."""
    _mark(alert, "resolved", note, by)


@app.command()
def reopen(alert: Alert, note: Note = "", by: By = None) -> None:
    """It is open again, and awake."""
    _mark(alert, "reopened", note, by)


@app.command()
def replay(
    alert: Annotated[UUID | None, typer.Argument(help="one alert; default: all that were given up")] = None,
    channel: Annotated[str | None, typer.Option(help="only this channel, as the rule has it")] = None,
) -> None:
    """Try again what was given up."""
    from segwatch.db import outbox
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.runtime import assemble

    with clear_errors(), assemble.worker_engine(load_settings()) as engine, engine.begin() as conn:
        count = outbox.replay(conn, channel=channel, alert_id=alert)
    out.print(f"{count} message(s) will be sent again by the next `deliver`")


@app.command()
def channels(as_json: Json = False) -> None:
    """Channels that fail, rest or are gone, and what was given up for them."""
    from segwatch.db import outbox
    from segwatch.flows.alerting.channels import shown
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.runtime import assemble

    with clear_errors(), assemble.worker_engine(load_settings()) as engine, engine.connect() as conn:
        rows = outbox.ailing_channels(conn)
    rows = [row | {"name": shown(row["name"])} for row in rows]
    if as_json:
        print_json(rows)
        return
    now = datetime.now(UTC)
    cells = []
    for row in rows:
        if row["gone_at"] is not None:
            state = f"gone since {row['gone_at']:%Y-%m-%d %H:%M}"
        elif row["resting_until"] is not None and row["resting_until"] > now:
            state = f"circuit open until {row['resting_until']:%Y-%m-%d %H:%M}"
        else:
            state = f"{row['failures']} failure(s) in a row"
        counts = f"{row['pending']} pending, {row['given_up']} given up, {row['withdrawn']} withdrawn"
        cells.append((row["name"], state, row["last_error"] or "", counts, "; ".join(row["rules"])))
    print_table(("channel", "state", "reason", "messages", "used by"), cells)


def _mark(alert: UUID, mark: str, note: str, by: str | None, until: datetime | None = None) -> None:
    from segwatch.db import alerts
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.runtime import assemble

    with clear_errors(), assemble.worker_engine(load_settings()) as engine, engine.begin() as conn:
        new = alerts.mark(
            conn, alert, alerts.Mark(mark), person=by or getpass.getuser(), note=note, until=until
        )
    end = f" until {until:%Y-%m-%d %H:%M} UTC" if until else ""
    out.print(f"{alert}: {mark}{end}{'' if new else ' (as before)'}")
