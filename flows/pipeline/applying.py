"""Store a watch in the ledger, with what follows from it for messages that wait."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection

from segwatch.db import watches, withdrawing
from segwatch.db.watches import Applied
from segwatch.flows.config.cadence import is_over
from segwatch.geo.types.watch import Watch


@dataclass(frozen=True, slots=True)
class Stored:
    """A watch that was stored."""

    watch: Watch
    done: Applied
    withdrawn: int
    """Pending messages withdrawn."""


def store_watch(conn: Connection, watch: Watch) -> Stored:
    """Store a watch: messages to channels that it no longer names are withdrawn; of one that is over, all.

    Raises
    ------
    segwatch.db.errors.DbError, sqlalchemy.exc.DataError
        The database cannot store it.
    """
    done, withdrawn = watches.apply(conn, watch), 0
    if done.created:
        withdrawn = withdrawing.withdraw_removed(conn, watch.name)
    if done.created and is_over(watch.end, datetime.now(UTC)):
        withdrawn += withdrawing.withdraw_watch(conn, watch.name, f"watch {watch.name} ended at {watch.end}")
    return Stored(watch, done, withdrawn)
