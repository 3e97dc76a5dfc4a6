"""The alerts of a watch as the map lists them: filtered, sorted, in pages, with counts."""

from __future__ import annotations

import base64
import binascii
import enum
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from segwatch.db.analyst.alerts import ChangeStatus
from segwatch.db.analyst.comparisons import Box
from segwatch.db.analyst.rows import Rows, choose_bounds, fetch_rows
from segwatch.db.errors import InvalidCursor


class AlertOrder(enum.StrEnum):
    """Order of alerts; those of one rank by the size of their change, largest first."""

    NEWEST = "newest"
    OLDEST = "oldest"
    CONFIDENCE = "confidence"
    """Surest first; those without a confidence last."""
    AREA = "area"
    """Largest change of area first."""


class AlertMark(enum.StrEnum):
    """Where an alert stands; the column ``status`` of ``watch.alerts``."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts of a watch to list."""

    watch: str
    statuses: Collection[ChangeStatus] = tuple(ChangeStatus)
    """Statuses of their change."""
    marks: Collection[AlertMark] = tuple(AlertMark)
    targets: Collection[str] | None = None
    """None = all, as below."""
    kinds: Collection[str] | None = None
    rules: Collection[str] | None = None
    since: datetime | None = None
    """Only changes from then on, UTC."""
    until: datetime | None = None
    """Only changes before then, UTC."""
    box: Box | None = None
    """Only changes whose bounding box meets this one: west, south, east, north, degrees (EPSG:4326)."""

    @property
    def values(self) -> dict[str, object]:
        """Parameters of the queries."""
        sides = dict(zip(("west", "south", "east", "north"), self.box or (None,) * 4, strict=True))
        return {
            "watch": self.watch,
            "statuses": [one.value for one in self.statuses],
            "marks": [one.value for one in self.marks],
            "targets": None if self.targets is None else list(self.targets),
            "kinds": None if self.kinds is None else list(self.kinds),
            "rules": None if self.rules is None else list(self.rules),
            "since": self.since,
            "until": self.until,
            **sides,
        }


@dataclass(frozen=True, slots=True)
class AlertPage:
    """A page of alerts."""

    rows: Rows
    """Bounds in degrees (EPSG:4326)."""
    of_all: int
    """Number of alerts that meet the filter."""
    following: str | None
    """Cursor of the next page; None = this is the last one."""


@dataclass(frozen=True, slots=True)
class AlertCounts:
    """Numbers of all alerts of a watch, whatever is chosen."""

    by_change_status: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """By :class:`ChangeStatus`."""
    by_mark: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """By :class:`AlertMark`."""
    by_kind: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    by_target: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    by_rule: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


_RANKS = {
    AlertOrder.NEWEST: "extract(epoch FROM a.valid_at)",
    AlertOrder.OLDEST: "-extract(epoch FROM a.valid_at)",
    AlertOrder.CONFIDENCE: "coalesce(a.confidence, -1)",
    AlertOrder.AREA: "abs(a.after_m2 - a.before_m2)",
}
#: What is costly is read for the rows of the page alone.
_PAGE = """
    WITH chosen AS MATERIALIZED (
        SELECT a.alert_id, CAST({rank} AS float8) AS rank, CAST(abs(a.after_m2 - a.before_m2) AS float8) AS size
        FROM watch.alerts a
        WHERE a.watch = :watch AND coalesce(a.change_status, 'not judged') = ANY(CAST(:statuses AS text[]))
          AND a.status = ANY(CAST(:marks AS text[]))
          AND (CAST(:targets AS text[]) IS NULL OR a.target = ANY(CAST(:targets AS text[])))
          AND (CAST(:kinds AS text[]) IS NULL OR a.kind = ANY(CAST(:kinds AS text[])))
          AND (CAST(:rules AS text[]) IS NULL OR a.rule = ANY(CAST(:rules AS text[])))
          AND (CAST(:since AS timestamptz) IS NULL OR a.valid_at >= :since)
          AND (CAST(:until AS timestamptz) IS NULL OR a.valid_at < :until)
          AND (CAST(:west AS float8) IS NULL OR a.geom && ST_MakeEnvelope(:west, :south, :east, :north, 4326))
    ), page AS (
        SELECT c.* FROM chosen c
        WHERE CAST(:last_id AS uuid) IS NULL OR c.rank < :last_rank
           OR (c.rank = :last_rank AND (c.size < :last_size OR (c.size = :last_size AND c.alert_id > :last_id)))
        ORDER BY c.rank DESC, c.size DESC, c.alert_id LIMIT :limit
    )
    SELECT (SELECT count(*) FROM chosen) AS of_all, p.rank, p.size, a.alert_id, a.track_id, a.rule, a.kind, a.target,
           a.valid_at, a.before_m2, a.after_m2, a.delivered_at, a.status, a.status_by, a.status_note, a.snoozed_until,
           a.retracted_at, a.retracted_because, a.change_status, a.confidence, a.observations_for,
           a.observations_against, a.evidence, a.shadow_share, a.shadow_iou, a.accuracy,
           (SELECT c.confidence_calibrated FROM watch.changes c WHERE c.change_id = a.change_id)
               AS confidence_calibrated,
           ST_XMin(a.geom) AS west, ST_YMin(a.geom) AS south, ST_XMax(a.geom) AS east, ST_YMax(a.geom) AS north,
           ST_XMin(ST_ShiftLongitude(a.geom)) AS west_to_360, ST_XMax(ST_ShiftLongitude(a.geom)) AS east_to_360
    FROM page p JOIN watch.alerts a ON a.alert_id = p.alert_id
    ORDER BY p.rank DESC, p.size DESC, p.alert_id
"""
_PAGES = {order: text(_PAGE.format(rank=rank)) for order, rank in _RANKS.items()}
_COUNTS = text(
    """
    SELECT coalesce(a.change_status, 'not judged') AS change_status, a.status AS mark, a.kind, a.target, a.rule,
           count(*) AS alerts
    FROM watch.alerts a WHERE a.watch = :watch GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
    """
)


def list_alert_page(
    conn: Connection,
    wanted: AlertFilter,
    limit: int,
    order: AlertOrder = AlertOrder.NEWEST,
    after: str | None = None,
) -> AlertPage:
    """List alerts with their bounds.

    Parameters
    ----------
    after
        Cursor that the page before returned, in the same order; None = the first page.

    Raises
    ------
    InvalidCursor
        ``after`` is no cursor.
    """
    place = _read_place(after)
    found = fetch_rows(conn, _PAGES[order], limit=limit, **wanted.values, **place)
    rows = [choose_bounds(row) for row in found]
    # without rows on this page, the number of all is not known from it
    of_all = rows[0]["of_all"] if rows else 0
    following = _write_place(rows[-1]) if len(rows) == limit else None
    hidden = {"of_all", "rank", "size"}
    return AlertPage([{k: v for k, v in row.items() if k not in hidden} for row in rows], of_all, following)


def count_alerts_by(conn: Connection, watch: str) -> AlertCounts:
    """Count the alerts of a watch by everything that they can be filtered by."""
    rows = fetch_rows(conn, _COUNTS, watch=watch)
    return AlertCounts(*(_sum(rows, by) for by in ("change_status", "mark", "kind", "target", "rule")))


def _sum(rows: Rows, by: str) -> dict[str, int]:
    sums: dict[str, int] = {}
    for row in rows:
        sums[row[by]] = sums.get(row[by], 0) + row["alerts"]
    return dict(sorted(sums.items()))


def _write_place(row: dict[str, Any]) -> str:
    plain = f"{row['rank']!r} {row['size']!r} {row['alert_id']}"
    return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def _read_place(given: str | None) -> dict[str, Any]:
    if given is None:
        return {"last_rank": None, "last_size": None, "last_id": None}
    try:
        rank, size, identity = base64.urlsafe_b64decode(given + "=" * (-len(given) % 4)).decode().split(" ")
        numbers, last = (float(rank), float(size)), UUID(identity)
    except (ValueError, binascii.Error) as error:
        raise InvalidCursor("after: take the value of next from the page before") from error
    if not all(map(math.isfinite, numbers)):
        raise InvalidCursor("after: take the value of next from the page before")
    return {"last_rank": numbers[0], "last_size": numbers[1], "last_id": last}
