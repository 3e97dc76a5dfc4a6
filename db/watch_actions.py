"""What people did to watches as a whole: paused, resumed or archived them. Who did it and when is kept.

A paused watch has no search and no prediction: its pending observations are not leased, and its flows end without work.
What a worker holds when it is paused is finished. Messages that wait are sent. Nothing is lost: the first search after
it is resumed goes back to the last one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from segwatch.db import watches
from segwatch.db.errors import WatchRefused
from segwatch.geo.text.storable import to_storable

_MAX_TEXT_LENGTH = 2000
#: Locks the head of the watch, so that concurrent actions on one watch follow each other.
_LOCK = text("SELECT name FROM segwatch.watch_head WHERE name = :watch FOR UPDATE")
_LAST = text(
    """
    SELECT a.action, a.person, a.acted_at, a.note, a.ordinal,
           a.action = 'archived' AND h.applied_at <= a.acted_at AS is_archived
    FROM segwatch.watch_action a JOIN segwatch.watch_head h ON h.name = a.watch_name
    WHERE a.watch_name = :watch ORDER BY a.ordinal DESC LIMIT 1
    """
)
_ADD = text(
    """
    INSERT INTO segwatch.watch_action (watch_name, ordinal, action, person, note)
    SELECT :watch, coalesce(max(a.ordinal), 0) + 1, :action, :person, :note
    FROM segwatch.watch_action a WHERE a.watch_name = :watch
    RETURNING acted_at
    """
)
_HISTORY = text(
    """
    SELECT a.acted_at, a.action, a.person, a.note FROM segwatch.watch_action a
    WHERE a.watch_name = :watch ORDER BY a.ordinal
    """
)
_PAUSED = text(
    """
    SELECT p.watch, p.paused_by, p.paused_at, p.note FROM segwatch.paused_watch p
    WHERE CAST(:watch AS text) IS NULL OR p.watch = :watch ORDER BY p.watch
    """
)


@dataclass(frozen=True, slots=True)
class Pause:
    """A watch that is paused."""

    watch: str
    by: str
    since: datetime
    """UTC."""
    note: str

    def __str__(self) -> str:
        why = f" ({self.note})" if self.note else ""
        return f"{self.watch} is paused by {self.by} since {self.since:%Y-%m-%d %H:%M} UTC{why}"


@dataclass(frozen=True, slots=True)
class Acted:
    """An action, done now or before."""

    action: str
    by: str
    at: datetime
    """UTC."""
    created: bool
    """False if it was in force already."""


def find_pause(conn: Connection, watch: str) -> Pause | None:
    """Find the pause of a watch; None if it is not paused."""
    return next(iter(list_pauses(conn, watch)), None)


def list_pauses(conn: Connection, watch: str | None = None) -> list[Pause]:
    """List the watches that are paused, by name; only one with ``watch``."""
    return [Pause(*row) for row in conn.execute(_PAUSED, {"watch": watch})]


def list_history(conn: Connection, watch: str) -> list[dict[str, Any]]:
    """List who paused, resumed and archived a watch, and when, oldest first."""
    return [dict(row) for row in conn.execute(_HISTORY, {"watch": watch}).mappings()]


def pause(conn: Connection, watch: str, *, by: str, note: str = "") -> Acted:
    """Pause a watch; a paused one stays as it is.

    Raises
    ------
    UnknownWatch
        No watch has this name.
    WatchRefused
        The watch is archived, or the name or note cannot be stored.
    """
    last = _lock(conn, watch)
    if last is not None and last.is_archived:
        raise WatchRefused(
            f"{watch} was archived by {last.person} on {last.acted_at:%Y-%m-%d}: it does no work that could be paused"
        )
    return _act(conn, watch, "paused", last, by, note)


def resume(conn: Connection, watch: str, *, by: str, note: str = "") -> Acted:
    """End the pause of a watch; one that is not paused stays as it is.

    Raises
    ------
    UnknownWatch
        No watch has this name.
    WatchRefused
        The watch is archived, or the name or note cannot be stored.
    """
    last = _lock(conn, watch)
    if last is not None and last.is_archived:
        raise WatchRefused(
            f"{watch} was archived by {last.person} on {last.acted_at:%Y-%m-%d}; to resume it, apply its file again: "
            "segwatch apply FILE"
        )
    if last is None or last.action != "paused":
        return Acted(
            "resumed",
            by if last is None else last.person,
            _now(conn) if last is None else last.acted_at,
            created=False,
        )
    return _act(conn, watch, "resumed", last, by, note)


def archive(
    conn: Connection, watch: str, now: datetime, *, by: str, note: str = ""
) -> tuple[watches.Archived, Acted]:
    """End a watch, see :func:`segwatch.db.watches.archive`, and record who did; an archived one stays as it is."""
    last = _lock(conn, watch)
    done = watches.archive(conn, watch, now)
    if last is not None and last.is_archived:
        return done, Acted("archived", last.person, last.acted_at, created=False)
    return done, _act(conn, watch, "archived", None, by, note)


def _lock(conn: Connection, watch: str) -> Any:
    if conn.execute(_LOCK, {"watch": watch}).first() is None:
        raise watches.make_unknown(conn, watch)
    return conn.execute(_LAST, {"watch": watch}).first()


def _now(conn: Connection) -> datetime:
    found: datetime = conn.execute(text("SELECT clock_timestamp()")).scalar_one()
    return found


def _act(conn: Connection, watch: str, action: str, last: Any, by: str, note: str) -> Acted:
    if last is not None and last.action == action:
        return Acted(action, last.person, last.acted_at, created=False)
    by = by.strip()
    if not by or max(len(by), len(note)) > _MAX_TEXT_LENGTH or to_storable(by + note) != by + note:
        raise WatchRefused(
            f"who and note: who must be named, neither may be longer than {_MAX_TEXT_LENGTH} characters, and NUL and "
            "halves of surrogate pairs cannot be stored"
        )
    at = conn.execute(_ADD, {"watch": watch, "action": action, "person": by, "note": note}).scalar_one()
    return Acted(action, by, at, created=True)
