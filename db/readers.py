"""Whom a session answers: the views of schema ``watch`` hold the rows and names that its settings allow.

The settings narrow what segwatch's own web server reads for somebody else. They are no barrier for a person who writes
SQL as the analyst: that role reads every watch, and names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import URL, Connection, Engine, event, text

from segwatch.db.engine import ShortPatience, make_engine

_ALL, _NONE = "*", "-"
#: Take the values of :meth:`Sight.settings`; the first for a transaction, the second for a session of asyncpg.
_SET = "SELECT set_config('segwatch.watches', %s, true), set_config('segwatch.names', %s, true)"
SET_SESSION = "SELECT set_config('segwatch.watches', $1, false), set_config('segwatch.names', $2, false)"
_WATCH_OF_TRACK = text(
    "SELECT s.watch_name FROM segwatch.track k JOIN segwatch.series s ON s.id = k.series_id WHERE k.id = :id"
)
_WATCH_OF_ALERT = text(
    """
    SELECT s.watch_name FROM segwatch.alert a JOIN segwatch.change c ON c.id = a.change_id
    JOIN segwatch.track k ON k.id = c.track_id JOIN segwatch.series s ON s.id = k.series_id WHERE a.id = :id
    """
)


@dataclass(frozen=True, slots=True)
class Sight:
    """What a reader may see."""

    watches: frozenset[str] | None
    """None = all."""
    names: bool
    """Of the people who reviewed objects and marked alerts."""

    def may_read(self, watch: str) -> bool:
        """Whether the rows of a watch are among what may be seen."""
        return self.watches is None or watch in self.watches

    @property
    def settings(self) -> tuple[str, str]:
        """Values of ``segwatch.watches`` and ``segwatch.names``."""
        # names of watches have neither commas nor one of these signs alone
        watches = _ALL if self.watches is None else ",".join(sorted(self.watches)) or _NONE
        return watches, "shown" if self.names else "hidden"


NOTHING = Sight(frozenset(), names=False)
EVERYTHING = Sight(None, names=True)
#: What a session begins with that answers somebody else.
BEGIN: Mapping[str, str] = MappingProxyType({"segwatch.watches": _NONE, "segwatch.names": "hidden"})


def engine_for(
    url: str | URL,
    sight: Callable[[], Sight],
    *,
    application_name: str,
    patience: ShortPatience | None = None,
) -> Engine:
    """A read-only engine whose transactions see what ``sight`` says when they begin."""
    engine = make_engine(
        url, application_name=application_name, read_only=True, settings=BEGIN, patience=patience
    )

    def begin(conn: Connection) -> None:
        values: Any = sight().settings
        conn.exec_driver_sql(_SET, values)

    event.listen(engine, "begin", begin)
    return engine


def sees_track(conn: Connection, sight: Sight, track_id: UUID) -> bool:
    """Whether an object's watch may be seen; also where there is no such object: who looks for it finds that out."""
    return _sees(sight, conn.execute(_WATCH_OF_TRACK, {"id": track_id}).scalar_one_or_none())


def sees_alert(conn: Connection, sight: Sight, alert_id: UUID) -> bool:
    """As :func:`sees_track`, of an alert."""
    return _sees(sight, conn.execute(_WATCH_OF_ALERT, {"id": alert_id}).scalar_one_or_none())


def _sees(sight: Sight, watch: str | None) -> bool:
    return watch is None or sight.may_read(watch)
