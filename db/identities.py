"""Ids that people give wholly or by their first digits, as git takes commits: of which thing, and which one.

Every id is found by a range of its primary key, so the cost does not depend on how many rows there are.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from segwatch.db import names
from segwatch.db.errors import IdAmbiguous, IdNotFound

MIN_DIGITS = 4
_UUID_DIGITS = 32
_TOKEN_DIGITS = 16
_MAX_CANDIDATES = 10
_ANY = "thing"
_HEX = re.compile(r"[0-9a-f]+")


class Kind(enum.StrEnum):
    """Kind of thing that an id identifies."""

    OBJECT = "object"
    CHANGE = "change"
    ALERT = "alert"
    SCENE = "scene"
    OBSERVATION = "observation"
    EVENT = "event"
    RUN = "run"
    TOKEN = "token"  # noqa: S105 - a kind


_WATCH_OF = "(SELECT s.watch_name FROM segwatch.series s WHERE s.id = t.series_id)"
_DAY, _MINUTE = "'YYYY-MM-DD'", "'YYYY-MM-DD HH24:MI'"
#: Table of each kind, and a line that tells its rows apart.
_TABLES = {
    Kind.OBJECT: ("track", f"t.target || ' of ' || {_WATCH_OF}"),
    Kind.CHANGE: (
        "change",
        f"t.target || ' ' || t.kind || ' ' || to_char(t.valid_at AT TIME ZONE 'UTC', {_DAY})",
    ),
    Kind.ALERT: (
        "alert",
        f"'rule ' || t.rule || ', ' || to_char(t.created_at AT TIME ZONE 'UTC', {_MINUTE})",
    ),
    Kind.SCENE: ("scene", "t.key"),
    Kind.OBSERVATION: (
        "observation",
        f"t.state || ', ' || to_char(t.acquired_at AT TIME ZONE 'UTC', {_MINUTE})",
    ),
    Kind.EVENT: ("event", "t.title"),
    Kind.RUN: ("run", "t.flow || coalesce(' ' || t.watch, '')"),
    Kind.TOKEN: ("access_token", "t.name"),
}
_IN_RANGE = {
    kind: text(
        f"""
        SELECT CAST(t.id AS text) AS id, {says} AS says FROM segwatch.{table} t
        WHERE t.id BETWEEN CAST(:low AS {"text" if kind is Kind.TOKEN else "uuid"})
              AND CAST(:high AS {"text" if kind is Kind.TOKEN else "uuid"})
        ORDER BY t.id LIMIT :most
        """  # noqa: S608 - parts of this file
    )
    for kind, (table, says) in _TABLES.items()
}
#: The next ids below and above: of all ids they share the most first digits.
_NEIGHBOURS = {
    kind: text(
        f"""
        (SELECT CAST(t.id AS text) AS id, {says} AS says FROM segwatch.{table} t
         WHERE t.id < CAST(:low AS {"text" if kind is Kind.TOKEN else "uuid"}) ORDER BY t.id DESC LIMIT 1)
        UNION ALL
        (SELECT CAST(t.id AS text), {says} FROM segwatch.{table} t
         WHERE t.id > CAST(:high AS {"text" if kind is Kind.TOKEN else "uuid"}) ORDER BY t.id LIMIT 1)
        """  # noqa: S608 - parts of this file
    )
    for kind, (table, says) in _TABLES.items()
}
#: What is shown of each kind: a row of the analyst's view where there is one, else of the table.
_ROWS = {
    Kind.OBJECT: "SELECT o.* FROM watch.objects_now o WHERE o.track_id = CAST(:id AS uuid)",
    Kind.CHANGE: "SELECT c.* FROM watch.changes c WHERE c.change_id = CAST(:id AS uuid)",
    Kind.ALERT: "SELECT a.* FROM watch.alerts a WHERE a.alert_id = CAST(:id AS uuid)",
    Kind.SCENE: "SELECT s.* FROM segwatch.scene s WHERE s.id = CAST(:id AS uuid)",
    Kind.OBSERVATION: "SELECT c.* FROM watch.coverage c WHERE c.observation_id = CAST(:id AS uuid)",
    Kind.EVENT: "SELECT e.* FROM segwatch.event e WHERE e.id = CAST(:id AS uuid)",
    Kind.RUN: "SELECT r.* FROM segwatch.run r WHERE r.id = CAST(:id AS uuid)",
    Kind.TOKEN: """SELECT t.id, t.name, t.watches, t.scopes, t.created_at, t.expires_at, t.revoked_at
                   FROM segwatch.access_token t WHERE t.id = :id""",
}
#: An object that is not there now is shown by its last state.
_LAST_STATE = """SELECT h.* FROM watch.object_history h WHERE h.track_id = CAST(:id AS uuid)
                 ORDER BY h.valid_from DESC LIMIT 1"""


@dataclass(frozen=True, slots=True)
class Identity:
    """A thing that an id identifies."""

    kind: Kind
    id: str
    """Whole id: a UUID, or 16 digits of a token."""
    says: str
    """What tells it from others of its kind."""

    def __str__(self) -> str:
        return f"{self.id}  {self.kind}: {self.says}"


def resolve(conn: Connection, given: str, kinds: Collection[Kind] = tuple(Kind)) -> Identity:
    """Find the one thing whose id begins with these digits.

    Parameters
    ----------
    given
        At least four hexadecimal digits; hyphens may be left out.
    kinds
        What it may be.

    Raises
    ------
    IdNotFound
        It is no beginning of an id, or no id begins so; the message lists the nearest.
    IdAmbiguous
        Several ids begin so; the message lists them.
    """
    what = " or ".join(kinds) if len(kinds) < len(Kind) else _ANY
    digits = given.strip().lower().replace("-", "")
    if not _HEX.fullmatch(digits) or not MIN_DIGITS <= len(digits) <= _UUID_DIGITS:
        raise IdNotFound(
            f"{given!r} is no id of {_article(what)}: give it wholly, or its first {MIN_DIGITS} or more digits "
            "(0-9, a-f)"
        )
    found = [one for kind in kinds for one in _find(conn, kind, digits)]
    if len(found) == 1:
        return found[0]
    if not found:
        near = [one for kind in kinds for one in _find_neighbours(conn, kind, digits)]
        near.sort(key=lambda one: -_count_shared(one, digits))
        none = "nothing" if what == _ANY else f"no {what}"
        raise IdNotFound(_list(f"{none} has an id that begins with {given}", "the nearest", near[:3]))
    shown = found[:_MAX_CANDIDATES]
    more = f"at least {len(found)}" if len(found) > _MAX_CANDIDATES else str(len(found))
    raise IdAmbiguous(_list(f"{given} is the beginning of {more} ids; give more digits", "they are", shown))


def read(conn: Connection, found: Identity) -> dict[str, Any]:
    """Read the fields of a thing, without geometries."""
    row = conn.execute(text(_ROWS[found.kind]), {"id": found.id}).mappings().first()
    if row is None and found.kind is Kind.OBJECT:
        row = conn.execute(text(_LAST_STATE), {"id": found.id}).mappings().first()
    if row is None:
        return {"id": found.id, "says": found.says}
    return {name: value for name, value in row.items() if name not in _GEOMETRIES}


_GEOMETRIES = frozenset({"geom", "gained", "lost", "footprint", "observed_geom"})


def _find(conn: Connection, kind: Kind, digits: str) -> Iterator[Identity]:
    bounds = _bound(kind, digits)
    if bounds is None:
        return
    low, high = bounds
    for row in conn.execute(_IN_RANGE[kind], {"low": low, "high": high, "most": _MAX_CANDIDATES + 1}):
        yield Identity(kind, row.id, row.says)


def _find_neighbours(conn: Connection, kind: Kind, digits: str) -> Iterator[Identity]:
    bounds = _bound(kind, digits)
    if bounds is not None:
        for row in conn.execute(_NEIGHBOURS[kind], {"low": bounds[0], "high": bounds[1]}):
            yield Identity(kind, row.id, row.says)


def _bound(kind: Kind, digits: str) -> tuple[str, str] | None:
    """Return the first and last id that begin with these digits; None if no id is as long."""
    if kind is Kind.TOKEN:
        return (digits, digits.ljust(_TOKEN_DIGITS, "f")) if len(digits) <= _TOKEN_DIGITS else None
    low, high = names.bound_ids(digits)
    return str(low), str(high)


def _count_shared(one: Identity, digits: str) -> int:
    plain = one.id.replace("-", "")
    return next((i for i, (a, b) in enumerate(zip(plain, digits, strict=False)) if a != b), len(digits))


def _list(said: str, before: str, found: Collection[Identity]) -> str:
    lines = [f"  {one}" for one in found]
    return "\n".join([f"{said}; {before}:", *lines]) if lines else said


def _article(what: str) -> str:
    return f"an {what}" if what[0] in "aeiou" else f"a {what}"
