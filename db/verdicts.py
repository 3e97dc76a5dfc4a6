"""Verdicts in force, for publishing: which objects are rejected, and which new tracks inherit a verdict."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, Row, text

from segwatch.db.codec import from_ewkb, to_ewkb
from segwatch.geo.bounded import operations
from segwatch.geo.errors import TooComplex
from segwatch.geo.types.segmentation import ReviewedObject

_log = logging.getLogger(__name__)

#: Verdicts of the same watch and target whose outlines may overlap those of new tracks. Outlines of very different size
#: are not about the same.
_CANDIDATES = text(
    """
    SELECT n.id AS track_id, v.id, v.verdict, v.outline, v.decided_at
    FROM (SELECT b.id, CAST(b.outline AS geometry) AS geom
          FROM unnest(CAST(:ids AS uuid[]), CAST(:outlines AS text[])) AS b(id, outline)) n
    JOIN segwatch.track k ON k.id = n.id
    JOIN segwatch.series s ON s.id = k.series_id
    JOIN segwatch.verdict v ON v.outline && n.geom
    JOIN segwatch.track j ON j.id = v.track_id AND j.target = k.target AND j.id <> k.id
    JOIN segwatch.series r ON r.id = j.series_id AND r.watch_name = s.watch_name
    WHERE NOT EXISTS (SELECT 1 FROM segwatch.review e WHERE e.track_id = n.id)
      AND (v.verdict = 'rejected'
           OR 2 * least(ST_Area(v.outline), ST_Area(n.geom)) >= greatest(ST_Area(v.outline), ST_Area(n.geom)))
    """
).execution_options(yield_per=100)
_CARRY = text(
    """
    INSERT INTO segwatch.review (id, track_id, ordinal, verdict, reviewer, reason, geom, area_m2, outline, looked_at,
                                 carried_from)
    SELECT uuid_in(md5(n.id::text || v.id::text)::cstring), n.id, 1, v.verdict, v.reviewer, v.reason, v.geom,
           v.area_m2, v.outline, v.looked_at, v.id
    FROM unnest(CAST(:ids AS uuid[]), CAST(:verdicts AS uuid[])) AS n(id, verdict_id)
    JOIN segwatch.verdict v ON v.id = n.verdict_id
    """
)
#: Carried-over verdicts repeat those that they come from.
_REVIEWED = text(
    """
    SELECT k.target, v.verdict, coalesce(v.geom, v.outline) AS geom
    FROM segwatch.verdict v
    JOIN segwatch.track k ON k.id = v.track_id
    JOIN segwatch.series s ON s.id = k.series_id
    WHERE s.watch_name = :watch AND v.carried_from IS NULL
    ORDER BY v.decided_at DESC, v.id LIMIT :limit
    """
)
_ANY = text("SELECT EXISTS (SELECT 1 FROM segwatch.review)")
_REJECTED = text(
    "SELECT track_id FROM segwatch.verdict WHERE verdict = 'rejected' AND track_id = ANY(CAST(:ids AS uuid[]))"
)


def carry_over(conn: Connection, born: Mapping[UUID, BaseGeometry]) -> None:
    """Carry verdicts over to tracks that begin or come back on the same ground; their own verdicts stay."""
    if not born or not conn.execute(_ANY).scalar_one():
        return
    found: dict[UUID, tuple[float, datetime, UUID]] = {}
    values = {"ids": list(born), "outlines": [to_ewkb(outline) for outline in born.values()]}
    with conn.execute(_CANDIDATES, values) as rows:
        for row in rows:
            common = _measure_common(row, born[row.track_id])
            if common is not None:
                # of those that overlap most, the newest
                offered = (common, row.decided_at, row.id)
                found[row.track_id] = max(found.get(row.track_id, offered), offered)
    if found:
        chosen = {"ids": list(found), "verdicts": [one[-1] for one in found.values()]}
        conn.execute(_CARRY, chosen)


def _measure_common(verdict: Row[Any], outline: BaseGeometry) -> float | None:
    """Measure the overlap of a verdict's outline and a new track, square degrees; None if it is about something else.

    A rejection applies if half of the smaller geometry overlaps, other verdicts only if the geometries are about the
    same (IoU of 0.5).
    """
    reviewed = from_ewkb(verdict.outline)
    try:
        common = operations.intersection(reviewed, outline).area
    except TooComplex as error:
        _log.warning("verdict %s is not carried over to track %s: %s", verdict.id, verdict.track_id, error)
        return None
    sizes = reviewed.area, outline.area
    least = min(sizes) if verdict.verdict == "rejected" else sum(sizes) - common
    return common if common >= 0.5 * least else None


def select_rejected(conn: Connection, track_ids: Collection[UUID]) -> set[UUID]:
    """Select the rejected objects among these tracks."""
    return set(conn.execute(_REJECTED, {"ids": list(track_ids)}).scalars()) if track_ids else set()


def list_reviewed(conn: Connection, watch: str, limit: int) -> tuple[ReviewedObject, ...]:
    """List the objects of a watch that people reviewed, the newest reviews first."""
    rows = conn.execute(_REVIEWED, {"watch": watch, "limit": limit})
    return tuple(ReviewedObject(row.target, from_ewkb(row.geom), row.verdict != "rejected") for row in rows)
