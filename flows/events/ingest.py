"""Events of the world into the ledger, whether a feed was read or somebody sent them."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import asdict

from sqlalchemy import Engine

from segwatch.db import events
from segwatch.geo.events.document import read
from segwatch.geo.types.event import RefusedEntry

_log = logging.getLogger(__name__)


def keep(
    engine: Engine, document: bytes, feed: str, charset: str = ""
) -> tuple[dict[str, int], list[dict[str, str]]]:
    """Record what a document tells, all of it or nothing; ``charset`` is the one that HTTP named.

    Returns
    -------
    Events by what they were to the ledger, and the entries that are no events with the reason.

    Raises
    ------
    segwatch.geo.errors.EventRefused
        The document as a whole cannot be read.
    """
    recorded: Counter[str] = Counter()
    refused = []
    entries = list(read(document, feed, charset))
    with engine.begin() as conn:
        for entry in entries:
            if isinstance(entry, RefusedEntry):
                _log.warning("feed %s: %s refused: %s", feed, entry.entry, entry.reason)
                refused.append(asdict(entry))
            else:
                recorded[events.record(conn, entry).value] += 1
    return dict(recorded), refused
