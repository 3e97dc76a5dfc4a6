"""Record the events of a document in the ledger, whether it was fetched from a feed or sent to us."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import asdict

from sqlalchemy import Engine

from segwatch.db import events
from segwatch.geo.events.document import read_events
from segwatch.geo.types.event import RefusedEntry

_log = logging.getLogger(__name__)


def record_events(
    engine: Engine, document: bytes, feed: str, charset: str = ""
) -> tuple[dict[str, int], list[dict[str, str]]]:
    """Record the events of a document in one transaction.

    Parameters
    ----------
    document
        In any format of :mod:`segwatch.geo.events.document`.
    feed
        Short name of the origin.
    charset
        Character set that the HTTP header names; empty if none.

    Returns
    -------
    dict[str, int]
        Number of events by what recording them did.
    list[dict[str, str]]
        Entries that could not be read, each with the reason.

    Raises
    ------
    segwatch.geo.errors.InvalidEvent
        The document as a whole cannot be read.
    """
    recorded: Counter[str] = Counter()
    refused = []
    entries = list(read_events(document, feed, charset))
    with engine.begin() as conn:
        for entry in entries:
            if isinstance(entry, RefusedEntry):
                _log.warning("feed %s: %s refused: %s", feed, entry.entry, entry.reason)
                refused.append(asdict(entry))
            else:
                recorded[events.record(conn, entry).value] += 1
    return dict(recorded), refused
