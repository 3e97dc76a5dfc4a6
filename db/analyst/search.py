"""Watches by name, and objects and alerts by the beginning of their id."""

from __future__ import annotations

import re
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

from segwatch.db.analyst.rows import Rows, choose_bounds, fetch_rows

#: Fewer digits would match too many ids.
MIN_DIGITS = 4
_PREFIX = re.compile(r"[0-9a-f-]{4,36}")
_BOUNDS = """
    ST_XMin({one}) AS west, ST_YMin({one}) AS south, ST_XMax({one}) AS east, ST_YMax({one}) AS north,
    ST_XMin(ST_ShiftLongitude({one})) AS west_to_360, ST_XMax(ST_ShiftLongitude({one})) AS east_to_360
"""
_WATCHES = text(
    f"""
    SELECT 'watch' AS kind, w.watch AS label, w.watch AS id, w.watch, {_BOUNDS.format(one="w.geom")}
    FROM watch.watches w
    WHERE strpos(lower(w.watch), lower(:given)) > 0 AND (CAST(:watch AS text) IS NULL OR w.watch = :watch)
    ORDER BY strpos(lower(w.watch), lower(:given)), w.watch LIMIT :limit
    """  # noqa: S608 - parts of this file
)
_OBJECTS = text(
    f"""
    SELECT DISTINCT ON (h.track_id) 'object' AS kind, h.target || ', ' || h.watch AS label,
           CAST(h.track_id AS text) AS id, h.watch, {_BOUNDS.format(one="h.geom")}
    FROM watch.object_history h
    WHERE h.track_id BETWEEN :first AND :last AND h.recorded_to IS NULL
      AND (CAST(:watch AS text) IS NULL OR h.watch = :watch)
    ORDER BY h.track_id, h.valid_from DESC LIMIT :limit
    """  # noqa: S608 - parts of this file
)
_ALERTS = text(
    f"""
    SELECT 'alert' AS kind, a.kind || ', ' || a.target || ', ' || a.watch AS label,
           CAST(a.alert_id AS text) AS id, a.watch, {_BOUNDS.format(one="a.geom")}
    FROM watch.alerts a
    WHERE a.alert_id BETWEEN :first AND :last AND (CAST(:watch AS text) IS NULL OR a.watch = :watch)
    ORDER BY a.alert_id LIMIT :limit
    """  # noqa: S608 - parts of this file
)


@dataclass(frozen=True, slots=True)
class IdRange:
    """The ids that begin with some digits."""

    first: UUID
    last: UUID


def parse_id_prefix(given: str) -> IdRange | None:
    """Parse the beginning of an id; None if it is none, or has fewer than :data:`MIN_DIGITS` digits."""
    plain = given.strip().lower()
    digits = plain.replace("-", "")
    if not _PREFIX.fullmatch(plain) or not MIN_DIGITS <= len(digits) <= 32:
        return None
    return IdRange(UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f")))


def find_watches(conn: Connection, given: str, watch: str | None, limit: int) -> Rows:
    """Find watches whose name contains a text, with their bounds (degrees, EPSG:4326)."""
    return [choose_bounds(row) for row in fetch_rows(conn, _WATCHES, given=given, watch=watch, limit=limit)]


def find_by_id(conn: Connection, wanted: IdRange, watch: str | None, limit: int) -> Rows:
    """Find objects and alerts with an id in a range, with their bounds (degrees, EPSG:4326)."""
    values = {"first": wanted.first, "last": wanted.last, "watch": watch, "limit": limit}
    return [choose_bounds(row) for query in (_OBJECTS, _ALERTS) for row in fetch_rows(conn, query, **values)]
