"""Test messages: one to each channel that the rules of a watch name, through the outbox as every alert."""

from __future__ import annotations

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import insert

from segwatch.db import messages, tables, watches
from segwatch.db.ids import make_id

#: A second test within this time sends nothing more.
EVERY_SECONDS = 60
_NOW = text("SELECT clock_timestamp()")


def queue_test(conn: Connection, watch: str, *, by: str) -> list[str]:
    """Queue a test message to each channel of a watch; repeated within a minute, it queues nothing more.

    Parameters
    ----------
    by
        Who asked for it; the message says so.

    Returns
    -------
    list[str]
        Channels, as the rules name them; empty if no rule has a channel.

    Raises
    ------
    segwatch.db.errors.NotFound
        No watch has this name.
    """
    channels = watches.list_channels(watches.load_current(conn, watch).watch)
    now = conn.execute(_NOW).scalar_one()
    turn = int(now.timestamp()) // EVERY_SECONDS
    rows = []
    for channel in channels:
        identity = make_id("test", watch, channel, turn)
        rows.append(
            {
                "id": identity,
                "channel": channel,
                "idempotency_key": str(identity),
                "payload": messages.build_test(identity, watch, by, now),
                "state": "pending",
            }
        )
    if rows:
        conn.execute(insert(tables.delivery).on_conflict_do_nothing(), rows)
    return channels
