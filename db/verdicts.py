"""Verdicts in force, for publishing: which objects are rejected, and which new tracks inherit a verdict."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from uuid import UUID

from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, text

from segwatch.db.codec import from_ewkb, to_ewkb
from segwatch.geo.types.segmentation import ReviewedObject

#: Of verdicts of the same watch and target, the one that overlaps a new track most. A rejection applies if half of the
#: smaller geometry overlaps, other verdicts only if the geometries are about the same (IoU of 0.5).
_CARRY = text(
    """
    INSERT INTO segwatch.review (id, track_id, ordinal, verdict, reviewer, reason, geom, area_m2, outline, looked_at,
                                 carried_from)
    SELECT DISTINCT ON (n.id)
           uuid_in(md5(n.id::text || v.id::text)::cstring), n.id, 1, v.verdict, v.reviewer, v.reason, v.geom,
           v.area_m2, v.outline, v.looked_at, v.id
    FROM (SELECT b.id, CAST(b.outline AS geometry) AS geom
          FROM unnest(CAST(:ids AS uuid[]), CAST(:outlines AS text[])) AS b(id, outline)) n
    JOIN segwatch.track k ON k.id = n.id
    JOIN segwatch.series s ON s.id = k.series_id
    JOIN segwatch.verdict v ON v.outline && n.geom
    JOIN segwatch.track j ON j.id = v.track_id AND j.target = k.target AND j.id <> k.id
    JOIN segwatch.series r ON r.id = j.series_id AND r.watch_name = s.watch_name
    CROSS JOIN LATERAL (
        SELECT ST_Area(ST_Intersection(v.outline, n.geom)) AS common, ST_Area(v.outline) AS before,
               ST_Area(n.geom) AS now) size
    WHERE size.common >= 0.5 * CASE WHEN v.verdict = 'rejected' THEN least(size.before, size.now)
                                    ELSE size.before + size.now - size.common END
      AND NOT EXISTS (SELECT 1 FROM segwatch.review e WHERE e.track_id = n.id)
    ORDER BY n.id, size.common DESC, v.decided_at DESC, v.id
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
    if born and conn.execute(_ANY).scalar_one():
        outlines = [to_ewkb(outline) for outline in born.values()]
        conn.execute(_CARRY, {"ids": list(born), "outlines": outlines})


def select_rejected(conn: Connection, track_ids: Collection[UUID]) -> set[UUID]:
    """Select the rejected objects among these tracks."""
    return set(conn.execute(_REJECTED, {"ids": list(track_ids)}).scalars()) if track_ids else set()


def list_reviewed(conn: Connection, watch: str, limit: int) -> tuple[ReviewedObject, ...]:
    """List the objects of a watch that people reviewed, the newest reviews first."""
    rows = conn.execute(_REVIEWED, {"watch": watch, "limit": limit})
    return tuple(ReviewedObject(row.target, from_ewkb(row.geom), row.verdict != "rejected") for row in rows)
