"""Digests: one message with the alerts that a rule collected for a channel, written when it is due."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Row, text
from sqlalchemy.dialects.postgresql import insert

from segwatch.db import messages, mutexes, tables
from segwatch.db.ids import make_id

#: Alerts that are being retracted are locked and left for the next run; those of snoozed objects wait.
_DUE = text(
    """
    SELECT d.id, d.channel, a.rule, w.name AS watch, d.payload #>> '{data,target}' AS target,
           d.payload #>> '{data,kind}' AS kind, d.payload #> '{data,bbox}' AS bbox, clock_timestamp() AS now
    FROM segwatch.delivery d
    JOIN segwatch.alert a ON a.id = d.alert_id JOIN segwatch.watch w ON w.id = a.revision_id
    WHERE d.state = 'pending' AND d.digest_id IS NULL AND d.digest_at <= clock_timestamp()
      AND NOT EXISTS (SELECT 1 FROM segwatch.alert_status s
                      WHERE s.track_id = d.track_id AND s.mark = 'snoozed' AND s.until > clock_timestamp())
    ORDER BY w.name, a.rule, d.channel, d.sequence FOR UPDATE OF d SKIP LOCKED
    """
)
#: With what is believed now, not when the alert was raised.
_DATA = text(
    f"""
    SELECT (d.payload -> 'data') || {messages.BELIEF_SQL} AS data
    FROM segwatch.delivery d JOIN segwatch.alert a ON a.id = d.alert_id
    JOIN segwatch.held_change c ON c.id = a.change_id
    WHERE d.id = ANY(CAST(:ids AS uuid[])) ORDER BY d.sequence
    """  # noqa: S608 - a part of another file
)
_ASSIGN = text("UPDATE segwatch.delivery SET digest_id = :digest_id WHERE id = ANY(CAST(:ids AS uuid[]))")


def write_due(conn: Connection) -> int:
    """Write the due digests in the caller's transaction; returns how many, 0 while another worker writes them."""
    # one at a time, so that two workers do not make two messages of one digest
    if not mutexes.try_lock(conn, "digest"):
        return 0
    due = conn.execute(_DUE).all()
    digests = [list(rows) for _, rows in groupby(due, key=lambda row: (row.watch, row.rule, row.channel))]
    for rows in digests:
        _write(conn, rows)
    return len(digests)


def _write(conn: Connection, rows: Sequence[Row[Any]]) -> None:
    first = rows[0]
    # an alert is in one digest only, so the first alert identifies the digest whoever writes it
    identity = make_id("digest", first.id)
    entries = [messages.DigestEntry(row.target, row.kind, tuple(row.bbox)) for row in rows]
    listed = conn.execute(_DATA, {"ids": [row.id for row in rows[: messages.MAX_LISTED]]}).scalars()
    row = {
        "id": identity,
        "channel": first.channel,
        "idempotency_key": str(identity),
        "payload": messages.build_digest(identity, first.watch, first.rule, entries, listed, first.now),
        "state": "pending",
    }
    conn.execute(insert(tables.delivery).values(row))
    conn.execute(_ASSIGN, {"digest_id": identity, "ids": [row.id for row in rows]})
