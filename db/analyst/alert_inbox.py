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
    following: str | None
    """Cursor of the next page; None = this is the last one."""


@dataclass(frozen=True, slots=True)
class AlertCounts:
    """Numbers of alerts of a watch: of those that meet the filter, and of all."""

    chosen: int
    """Number of alerts that meet the filter."""
    by_change_status: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """By :class:`ChangeStatus`."""
    by_mark: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """By :class:`AlertMark`."""
    by_kind: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    by_target: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    by_rule: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class _Rank:
    """What an order sorts by first; the size of the change, largest first, and the id decide the rest."""

    expression: str
    kind: str
    """Its PostgreSQL type."""
    before_all: str
    """A value before those of all alerts."""
    ascending: bool = False


_RANKS = {
    AlertOrder.NEWEST: _Rank("a.valid_at", "timestamptz", "infinity"),
    AlertOrder.OLDEST: _Rank("a.valid_at", "timestamptz", "-infinity", ascending=True),
    AlertOrder.CONFIDENCE: _Rank("coalesce(a.confidence, -1)", "float8", "infinity"),
    AlertOrder.AREA: _Rank("abs(a.after_m2 - a.before_m2)", "float8", "infinity"),
}
#: Part of a filter that numbers of alerts are not grouped by.
_WHERE_AND_WHEN = """
    (CAST(:since AS timestamptz) IS NULL OR a.valid_at >= :since)
    AND (CAST(:until AS timestamptz) IS NULL OR a.valid_at < :until)
    AND (CAST(:west AS float8) IS NULL OR a.geom && ST_MakeEnvelope(:west, :south, :east, :north, 4326))"""
_CHOSEN = f"""
    coalesce(a.change_status, 'not judged') = ANY(CAST(:statuses AS text[])) AND a.status = ANY(CAST(:marks AS text[]))
    AND (CAST(:targets AS text[]) IS NULL OR a.target = ANY(CAST(:targets AS text[])))
    AND (CAST(:kinds AS text[]) IS NULL OR a.kind = ANY(CAST(:kinds AS text[])))
    AND (CAST(:rules AS text[]) IS NULL OR a.rule = ANY(CAST(:rules AS text[])))
    AND {_WHERE_AND_WHEN}"""
#: An index on times finds where a page begins. What is costly is read for the rows of the page alone.
_PAGE = """
    WITH page AS MATERIALIZED (
        SELECT a.alert_id, {rank} AS rank, CAST(abs(a.after_m2 - a.before_m2) AS float8) AS size
        FROM watch.alerts a
        WHERE a.watch = :watch AND {chosen}
          AND {rank} {after}= CAST(:last_rank AS {kind})
          AND ({rank} {after} CAST(:last_rank AS {kind}) OR abs(a.after_m2 - a.before_m2) < :last_size
               OR (abs(a.after_m2 - a.before_m2) = :last_size AND a.alert_id > :last_id))
        ORDER BY {rank} {direction}, abs(a.after_m2 - a.before_m2) DESC, a.alert_id LIMIT :limit
    )
    SELECT CAST(p.rank AS text) AS rank, p.size, a.alert_id, a.track_id, a.rule, a.kind, a.target,
           a.valid_at, a.before_m2, a.after_m2, a.delivered_at, a.status, a.status_by, a.status_note, a.snoozed_until,
           a.retracted_at, a.retracted_because, a.change_status, a.confidence, a.observations_for,
           a.observations_against, a.evidence, a.shadow_share, a.shadow_iou, a.accuracy,
           (SELECT c.confidence_calibrated FROM watch.changes c WHERE c.change_id = a.change_id)
               AS confidence_calibrated,
           ST_XMin(a.geom) AS west, ST_YMin(a.geom) AS south, ST_XMax(a.geom) AS east, ST_YMax(a.geom) AS north,
           ST_XMin(ST_ShiftLongitude(a.geom)) AS west_to_360, ST_XMax(ST_ShiftLongitude(a.geom)) AS east_to_360
    FROM page p
    -- one at a time: otherwise all alerts are computed, to be joined
    CROSS JOIN LATERAL (SELECT * FROM watch.alerts n WHERE n.alert_id = p.alert_id OFFSET 0) a
    ORDER BY p.rank {direction}, p.size DESC, p.alert_id
"""
_PAGES = {
    order: text(
        _PAGE.format(
            rank=rank.expression,
            kind=rank.kind,
            chosen=_CHOSEN,
            after=">" if rank.ascending else "<",
            direction="ASC" if rank.ascending else "DESC",
        )
    )
    for order, rank in _RANKS.items()
}
_COUNTS = text(
    f"""
    SELECT coalesce(a.change_status, 'not judged') AS change_status, a.status AS mark, a.kind, a.target, a.rule,
           count(*) AS alerts, count(*) FILTER (WHERE {_WHERE_AND_WHEN}) AS chosen
    FROM watch.alerts a WHERE a.watch = :watch GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
    """  # noqa: S608 - parts of this file
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
        ``after`` is no cursor of this order.
    """
    place = _read_place(order, after)
    found = fetch_rows(conn, _PAGES[order], limit=limit, **wanted.values, **place)
    rows = [choose_bounds(row) for row in found]
    following = _write_place(order, rows[-1]) if len(rows) == limit else None
    hidden = {"rank", "size"}
    return AlertPage([{k: v for k, v in row.items() if k not in hidden} for row in rows], following)


def count_alerts_by(conn: Connection, wanted: AlertFilter) -> AlertCounts:
    """Count the alerts of a watch by everything that they can be filtered by, and those that meet a filter.

    Every alert is read for it, unlike for a page.
    """
    rows = fetch_rows(conn, _COUNTS, **wanted.values)
    return AlertCounts(
        sum(row["chosen"] for row in rows if _is_chosen(row, wanted)),
        *(_sum(rows, by) for by in ("change_status", "mark", "kind", "target", "rule")),
    )


def _is_chosen(row: Mapping[str, Any], wanted: AlertFilter) -> bool:
    asked = {
        "change_status": wanted.statuses,
        "mark": wanted.marks,
        "target": wanted.targets,
        "kind": wanted.kinds,
        "rule": wanted.rules,
    }
    return all(chosen is None or row[name] in chosen for name, chosen in asked.items())


def _sum(rows: Rows, by: str) -> dict[str, int]:
    sums: dict[str, int] = {}
    for row in rows:
        sums[row[by]] = sums.get(row[by], 0) + row["alerts"]
    return dict(sorted(sums.items()))


def _write_place(order: AlertOrder, row: dict[str, Any]) -> str:
    plain = f"{order} {row['rank'].replace(' ', 'T')} {row['size']!r} {row['alert_id']}"
    return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def _read_place(order: AlertOrder, given: str | None) -> dict[str, Any]:
    """Read the place after which a page begins, as values for the query; None = the first page."""
    rank = _RANKS[order]
    if given is None:
        return {"last_rank": rank.before_all, "last_size": math.inf, "last_id": UUID(int=0)}
    try:
        told, place, size, identity = (
            base64.urlsafe_b64decode(given + "=" * (-len(given) % 4)).decode().split(" ")
        )
        least, last = float(size), UUID(identity)
        known = (
            datetime.fromisoformat(place).tzinfo
            if rank.kind == "timestamptz"
            else math.isfinite(float(place))
        )
    except (ValueError, binascii.Error) as error:
        raise _make_error() from error
    if told != order or not known or not math.isfinite(least):
        raise _make_error()
    return {"last_rank": place, "last_size": least, "last_id": last}


def _make_error() -> InvalidCursor:
    return InvalidCursor("after: take the value of next from the page before, with the same sort")
