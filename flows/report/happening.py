"""The recorded event that a watch is about, and its kind."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from sqlalchemy import Connection

from segwatch.db import events
from segwatch.flows.config.settings.events import EventSettings
from segwatch.flows.errors import ConfigError
from segwatch.flows.events import playbooks
from segwatch.flows.events.source_selection import list_event_names
from segwatch.geo.types.event import Event, EventKind

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Happening:
    """What a disaster run is about."""

    kind: EventKind | None
    """None = the watch is no disaster run, or its playbook is for several kinds."""
    event: Event | None
    """None = the run was started by hand for an area, or the watch is no disaster run."""


def find_happening(conn: Connection, settings: EventSettings, watch: str) -> Happening:
    """Find the event whose disaster run a watch is, by the name that the playbook gives to the run."""
    try:
        books, _ = playbooks.load_each(settings.playbooks)
    except ConfigError as error:
        _log.warning("the event of %s is not known: %s", watch, error)
        return Happening(None, None)
    ours = [book for book in books if watch.startswith(f"{book.name}-")]
    if not ours:
        return Happening(None, None)
    for event in events.load_events(conn):
        for name in list_event_names(event):
            # runs on a finer source have a longer name
            if any(watch.startswith(playbooks.make_watch_name(book, name)) for book in ours):
                return Happening(event.kind, event)
    book = max(ours, key=lambda one: len(one.name))
    kinds = book.match.kinds
    return Happening(kinds[0] if len(kinds) == 1 else None, None)
