"""Messages to the channels of a watch when its catalog falls silent, and when it shows scenes again.

One message of each kind and channel for each silence: the ledger keeps when the channels were told.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import insert

from segwatch.db import messages, tables, watches
from segwatch.db.ids import make_id
from segwatch.geo.types.revisits import Silence
from segwatch.geo.types.watch import Watch

_BEGIN = text(
    """
    UPDATE segwatch.discovery SET silent_at = clock_timestamp() WHERE watch_name = :watch AND silent_at IS NULL
    RETURNING silent_at
    """
)
_END = text(
    """
    UPDATE segwatch.discovery d SET silent_at = NULL
    FROM segwatch.discovery b
    WHERE d.watch_name = :watch AND b.watch_name = :watch AND b.silent_at IS NOT NULL
    RETURNING b.silent_at, clock_timestamp()
    """
)


_IS_SILENT = text("SELECT silent_at IS NOT NULL FROM segwatch.discovery WHERE watch_name = :watch")


def is_silent(conn: Connection, watch: str) -> bool:
    """Tell whether the catalog of a watch shows nothing of any orbit that passes regularly."""
    return bool(conn.execute(_IS_SILENT, {"watch": watch}).scalar())


def raise_silence(conn: Connection, watch: Watch, catalog: str, silence: Silence) -> bool:
    """Tell the channels of a watch that its catalog shows nothing; told once until it does, False = told before.

    Parameters
    ----------
    catalog
        Identity of the catalog.
    """
    row = conn.execute(_BEGIN, {"watch": watch.name}).first()
    if row is None:
        return False
    takes_over = " The fallback catalog is searched meanwhile." if watch.fallback else ""
    words = (
        f"No scene since that of {silence.last_at:%Y-%m-%d %H:%M} UTC, although each orbit should have passed "
        f"{silence.missed} time(s) or more.{takes_over}"
    )
    data = {
        "catalog": catalog,
        "last_acquired_at": silence.last_at,
        "missed_revisits": silence.missed,
        "orbits": list(silence.orbits),
        "has_fallback": bool(watch.fallback),
        "message": words,
    }
    _queue(conn, watch, messages.CATALOG_SILENT, row.silent_at, row.silent_at, data)
    return True


def end_silence(conn: Connection, watch: Watch, catalog: str, last_at: datetime | None) -> bool:
    """Tell the channels that the catalog shows scenes again, if they were told of its silence.

    Parameters
    ----------
    last_at
        Acquisition of the newest scene of the orbits that pass regularly, UTC; None = the watch has another catalog
        now, or none of its orbits passes regularly any more: nothing is sent.
    """
    row = conn.execute(_END, {"watch": watch.name}).first()
    if row is None or last_at is None:
        return False
    since, now = row
    words = f"The catalog shows scenes again, the newest of {last_at:%Y-%m-%d %H:%M} UTC."
    data = {"catalog": catalog, "last_acquired_at": last_at, "silent_since": since, "message": words}
    _queue(conn, watch, messages.CATALOG_RESUMED, since, now, data)
    return True


def _queue(
    conn: Connection, watch: Watch, kind: str, since: datetime, now: datetime, data: dict[str, Any]
) -> None:
    rows = []
    for channel in watches.list_channels(watch):
        identity: UUID = make_id(kind, watch.name, channel, since.isoformat())
        rows.append(
            {
                "id": identity,
                "channel": channel,
                "idempotency_key": str(identity),
                "payload": messages.build_catalog_message(kind, identity, watch.name, data, now),
                "state": "pending",
            }
        )
    if rows:
        conn.execute(insert(tables.delivery).on_conflict_do_nothing(), rows)
