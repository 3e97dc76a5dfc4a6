"""What a database session may read: session settings filter the rows and names in the views of schema ``watch``.

They restrict what segwatch's web server reads for a reader. They do not restrict people who write SQL as the analyst:
that role can read every watch and all names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import URL, Connection, Engine, event, text

from segwatch.db.engine import RequestLimits, make_engine

_ALL, _NONE = "*", "-"
#: With the values of :attr:`Sight.settings`; the first for a transaction, the second for a session of asyncpg.
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

_WATCH_OF_ASSESSMENT = text(
    """
    SELECT s.watch_name FROM segwatch.assessment a JOIN segwatch.series s ON s.id = a.series_id
    WHERE a.id = :id OR a.id = (SELECT p.assessment_id FROM segwatch.assessment_sample p WHERE p.id = :id)
    """
)


@dataclass(frozen=True, slots=True)
class Visibility:
    """What a reader may see: watches, and names of people."""

    watches: frozenset[str] | None
    """None = all."""
    names: bool
    """Whether names of reviewers and of people who marked alerts are shown."""

    def may_read(self, watch: str) -> bool:
        """Tell whether the rows of a watch may be read."""
        return self.watches is None or watch in self.watches

    @property
    def settings(self) -> tuple[str, str]:
        """Values of ``segwatch.watches`` and ``segwatch.names``."""
        # names of watches contain no comma and are neither * nor -
        watches = _ALL if self.watches is None else ",".join(sorted(self.watches)) or _NONE
        return watches, "shown" if self.names else "hidden"


NOTHING = Visibility(frozenset(), names=False)
EVERYTHING = Visibility(None, names=True)
#: Settings of a session before the reader is known: nothing.
INITIAL_SETTINGS: Mapping[str, str] = MappingProxyType(
    {"segwatch.watches": _NONE, "segwatch.names": "hidden"}
)


def make_reader_engine(
    url: str | URL,
    sight: Callable[[], Visibility],
    *,
    application_name: str,
    patience: RequestLimits | None = None,
) -> Engine:
    """Make a read-only engine whose transactions see what ``sight`` returns when they begin."""
    engine = make_engine(
        url, application_name=application_name, read_only=True, settings=INITIAL_SETTINGS, patience=patience
    )

    def begin(conn: Connection) -> None:
        values: Any = sight().settings
        conn.exec_driver_sql(_SET, values)

    event.listen(engine, "begin", begin)
    return engine


def may_see_track(conn: Connection, sight: Visibility, track_id: UUID) -> bool:
    """Tell whether a reader may see an object; True for unknown ids, which are reported as not found later."""
    return _sees(sight, conn.execute(_WATCH_OF_TRACK, {"id": track_id}).scalar_one_or_none())


def may_see_alert(conn: Connection, sight: Visibility, alert_id: UUID) -> bool:
    """Tell whether a reader may see an alert; True for unknown ids, which are reported as not found later."""
    return _sees(sight, conn.execute(_WATCH_OF_ALERT, {"id": alert_id}).scalar_one_or_none())


def may_see_assessment(conn: Connection, sight: Visibility, either_id: UUID) -> bool:
    """Tell whether a reader may see an assessment, by its id or that of a sample; True for unknown ids."""
    return _sees(sight, conn.execute(_WATCH_OF_ASSESSMENT, {"id": either_id}).scalar_one_or_none())


def _sees(sight: Visibility, watch: str | None) -> bool:
    return watch is None or sight.may_read(watch)
