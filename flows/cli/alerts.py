"""``segwatch alert``: alerts, what people did about them, and the channels that deliver them."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from segwatch.flows.cli import completing
from segwatch.flows.cli.console import (
    By,
    Json,
    WatchName,
    clear_errors,
    find_id,
    format_minute,
    open_engine,
    out,
    print_json,
    print_table,
)
from segwatch.geo.text.beliefs import describe_belief

app = typer.Typer(
    no_args_is_help=True,
    help="List, acknowledge, snooze and resolve alerts; resend messages; check channels.",
)

AlertId = Annotated[
    str,
    typer.Argument(
        metavar="ALERT",
        help="Id of the alert, or its first digits, from `segwatch alert list`.",
        autocompletion=completing.complete_alerts,
    ),
]
Note = Annotated[str, typer.Option("--note", help="Note that is stored with the mark.")]
#: Ten years.
_MAX_HOURS = 87_600


@app.command("list")
def list_(
    watch: WatchName,
    unresolved: Annotated[bool, typer.Option("--open", help="Only alerts that are not resolved.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of alerts.")] = 200,
    as_json: Json = False,
) -> None:
    """List the alerts of a watch that were raised last."""
    from segwatch.db import analyst, watches

    with clear_errors(), open_engine() as engine, engine.connect() as conn:
        watches.require(conn, watch)
        rows = analyst.list_alerts(conn, watch, unresolved=unresolved, limit=limit)
        count = analyst.count_alerts(conn, watch, unresolved=unresolved)
    if as_json:
        print_json(rows)
        return
    title = watch if len(rows) == count else f"{watch}: {len(rows)} of {count}, see --limit"
    head = (
        "alert",
        "raised",
        "acquired",
        "what",
        "how sure",
        "rule",
        "ha before",
        "ha after",
        "status",
        "delivery",
    )
    print_table(head, map(_to_cells, rows), title=title)


def _to_cells(row: dict[str, Any]) -> tuple[Any, ...]:
    what = f"{row['target']} {row['kind']}{' (retracted)' if row['retracted_at'] else ''}"
    before, after = (round(row[name] / 1e4, 4) for name in ("before_m2", "after_m2"))
    status = row["status"] if row["status_by"] is None else f"{row['status']}, {row['status_by']}"
    sent = ", ".join(
        f"{row[name]} {word}"
        for name, word in (
            ("deliveries_pending", "pending"),
            ("deliveries_failed", "failed"),
            ("deliveries_withdrawn", "withdrawn"),
        )
        if row[name]
    )
    sure = describe_belief(row, status="change_status")
    raised, acquired = row["created_at"], row["valid_at"]
    return row["alert_id"], raised, acquired, what, sure, row["rule"], before, after, status, sent or "done"


@app.command()
def ack(alert: AlertId, note: Note = "", by: By = None, as_json: Json = False) -> None:
    """Acknowledge an alert: somebody is taking care of it."""
    _mark(alert, "acknowledged", note, by, as_json=as_json)


@app.command()
def snooze(
    alert: AlertId,
    hours: Annotated[
        float, typer.Option("--hours", help="Length in hours.", min=0.01, max=_MAX_HOURS)
    ] = 24.0,
    note: Note = "",
    by: By = None,
    as_json: Json = False,
) -> None:
    """Hold back messages about an alert's object for some hours; they are sent afterwards, in order."""
    _mark(alert, "snoozed", note, by, datetime.now(UTC) + timedelta(hours=hours), as_json=as_json)


@app.command()
def resolve(alert: AlertId, note: Note = "", by: By = None, as_json: Json = False) -> None:
    """Mark an alert as resolved: nothing is left to do."""
    _mark(alert, "resolved", note, by, as_json=as_json)


@app.command()
def reopen(alert: AlertId, note: Note = "", by: By = None, as_json: Json = False) -> None:
    """Reopen a resolved alert, or end its snooze."""
    _mark(alert, "reopened", note, by, as_json=as_json)


@app.command()
def replay(
    alert: Annotated[
        str | None,
        typer.Argument(
            metavar="ALERT",
            help="Only messages of this alert: its id or first digits. Default: all failed messages.",
            autocompletion=completing.complete_alerts,
        ),
    ] = None,
    channel: Annotated[
        str | None,
        typer.Option(metavar="CHANNEL", help="Only messages to this channel, as the rule names it."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Queue messages again that failed for good or were withdrawn."""
    from segwatch.db import outbox
    from segwatch.db.identities import Kind

    with clear_errors(), open_engine() as engine, engine.begin() as conn:
        if channel is not None:
            _require_channel(outbox.list_channels(conn), channel)
        chosen = None if alert is None else find_id(conn, Kind.ALERT, alert)
        count = outbox.replay(conn, channel=channel, alert_id=chosen)
    if as_json:
        print_json({"queued": count})
        return
    out.print(f"{count} message(s) queued; the next `deliver` run sends them")


def _require_channel(known: list[str], channel: str) -> None:
    from segwatch.flows.errors import ConfigError
    from segwatch.geo.text.spelling import find_nearest

    if channel not in known:
        near = find_nearest(channel, known)
        hint = f"did you mean {near}? " if near else ""
        raise ConfigError(
            f"--channel: no message was ever for {channel!r}; {hint}see: segwatch alert channels"
        )


@app.command()
def channels(as_json: Json = False) -> None:
    """List channels that fail, whose circuit is open or that are gone, with the messages affected."""
    from segwatch.db import outbox
    from segwatch.flows.alerting.channels import name_channels

    with clear_errors(), open_engine() as engine, engine.connect() as conn:
        rows = outbox.list_failing_channels(conn)
    names = name_channels(row["name"] for row in rows)
    rows = [row | {"name": names[row["name"]]} for row in rows]
    if as_json:
        print_json(rows)
        return
    now = datetime.now(UTC)
    cells = []
    for row in rows:
        if row["gone_at"] is not None:
            state = f"gone since {format_minute(row['gone_at'])}"
        elif row["resting_until"] is not None and row["resting_until"] > now:
            state = f"circuit open until {format_minute(row['resting_until'])}"
        else:
            last = row["delivered_at"]
            since = "ever" if last is None else f"since {format_minute(last)}"
            state = f"{row['failures']} failure(s) in a row, nothing delivered {since}"
        counts = f"{row['pending']} pending, {row['given_up']} failed, {row['withdrawn']} withdrawn"
        cells.append((row["name"], state, row["last_error"] or "", counts, "; ".join(row["rules"])))
    print_table(("channel", "state", "reason", "messages", "used by"), cells)


def _mark(
    given: str, mark: str, note: str, by: str | None, until: datetime | None = None, *, as_json: bool
) -> None:
    from segwatch.db import alerts
    from segwatch.db.identities import Kind

    person = by or getpass.getuser()
    with clear_errors(), open_engine() as engine, engine.begin() as conn:
        alert = find_id(conn, Kind.ALERT, given)
        new = alerts.mark(conn, alert, alerts.Mark(mark), person=person, note=note, until=until)
    if as_json:
        print_json({"alert": alert, "mark": mark, "until": until, "by": person, "created": new})
        return
    end = f" until {format_minute(until)} UTC" if until else ""
    out.print(f"{alert}: {mark}{end}{'' if new else ' (as before)'}")
