"""Verdicts of analysts about objects: confirmed, rejected, or edited with an outline of their own.

A verdict is never changed: the next one about the same object takes its place. It belongs to a track; when the same
ground comes up under another identity (a late scene renamed it, it split, a new model found it), the verdict is
carried over, so that what was rejected stays rejected.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

import shapely
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, text

from segwatch.db import series
from segwatch.db.codec import hex_ewkb
from segwatch.db.errors import NotFound, ReviewRefused
from segwatch.db.ids import make_id
from segwatch.geo.antimeridian import in_degrees
from segwatch.geo.storable import storable

#: Enough for any outline drawn by hand; more is a mistake or an attack.
MOST_VERTICES = 100_000
LONGEST_TEXT = 2_000


class Verdict(enum.StrEnum):
    """What an analyst may say about an object."""

    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    EDITED = "edited"


@dataclass(frozen=True, slots=True)
class Review:
    """One verdict."""

    id: UUID
    track_id: UUID
    verdict: Verdict
    created: bool
    """False when the very same verdict held already."""


_STATE = text(
    """
    SELECT k.series_id, t.geom, t.last_looked FROM segwatch.track_state t
    JOIN segwatch.track k ON k.id = t.track_id
    WHERE t.track_id = :track_id AND upper_inf(t.recorded)
    ORDER BY lower(t.valid) DESC LIMIT 1
    """
)
_HELD = text(
    """
    SELECT id, ordinal, verdict, reviewer, reason, looked_at,
           ST_AsBinary(geom) IS NOT DISTINCT FROM ST_AsBinary(CAST(:geom AS geometry)) AS same_geom
    FROM segwatch.verdict WHERE track_id = :track_id
    """
)
_ADD = text(
    """
    INSERT INTO segwatch.review (id, track_id, ordinal, verdict, reviewer, reason, geom, area_m2, outline, looked_at)
    VALUES (:id, :track_id, :ordinal, :verdict, :reviewer, :reason, CAST(:geom AS geometry),
            ST_Area(CAST(CAST(:geom AS geometry) AS geography)), CAST(:outline AS geometry), :looked_at)
    """
)
#: What was not sent yet about a rejected object is not sent any more, and nobody else is told instead.
_SILENCE = text(
    """
    WITH about AS (
        SELECT a.id FROM segwatch.alert a JOIN segwatch.change c ON c.id = a.change_id
        WHERE c.track_id = ANY(CAST(:tracks AS uuid[]))
    ), unheard AS (
        UPDATE segwatch.alert a SET escalate_at = NULL FROM about
        WHERE a.id = about.id AND a.escalate_at IS NOT NULL
    )
    UPDATE segwatch.delivery d SET state = 'dead', last_error = 'the object was rejected in review'
    FROM about WHERE d.alert_id = about.id AND d.state IN ('pending', 'withdrawn')
    """
)
#: The verdict about the same ground of the same watch and target that overlaps a new track most: a rejection covers
#: whatever lies half in it, the others must be about the same outline.
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
_ANY = text("SELECT EXISTS (SELECT 1 FROM segwatch.review)")
_REJECTED = text(
    "SELECT track_id FROM segwatch.verdict WHERE verdict = 'rejected' AND track_id = ANY(CAST(:ids AS uuid[]))"
)


def decide(
    conn: Connection,
    track_id: UUID,
    verdict: Verdict,
    *,
    reviewer: str,
    reason: str,
    outline: BaseGeometry | None = None,
) -> Review:
    """Record a verdict. The one that holds already, given again, adds nothing.

    Args:
        conn: a transaction of a role that may add reviews.
        track_id: the object.
        verdict: what is said about it.
        reviewer: who says it.
        reason: why.
        outline: for an edit, the object's ground as the analyst sees it: polygons, EPSG:4326.

    Raises
    ------
    NotFound
        There is no such object, or it never held.
    ReviewRefused
        Name or reason are missing, or the outline is missing, invalid, or not asked for.
    """
    _check(verdict, reviewer, reason, outline)
    values = {"track_id": track_id}
    found = conn.execute(_STATE, values).first()
    if found is None:
        raise NotFound(f"no object {track_id} in the ledger; watch.objects_now lists those that hold")
    series.lock(conn, found.series_id)
    state = conn.execute(_STATE, values).one()
    geom = None if outline is None else hex_ewkb(outline)
    held = conn.execute(_HELD, values | {"geom": geom}).first()
    same = held is not None and (held.verdict, held.reviewer, held.reason, held.same_geom) == (
        verdict.value, reviewer, reason, True
    )  # fmt: skip
    if held is not None and same and (verdict is not Verdict.EDITED or held.looked_at == state.last_looked):
        return Review(held.id, track_id, verdict, created=False)
    ordinal = 1 if held is None else held.ordinal + 1
    identity = make_id("review", track_id, ordinal)
    row = values | {
        "id": identity,
        "ordinal": ordinal,
        "verdict": verdict.value,
        "reviewer": reviewer,
        "reason": reason,
        "geom": geom,
        "outline": state.geom,
        "looked_at": state.last_looked,
    }
    conn.execute(_ADD, row)
    if verdict is Verdict.REJECTED:
        conn.execute(_SILENCE, {"tracks": [track_id]})
    return Review(identity, track_id, verdict, created=True)


def carry(conn: Connection, born: Mapping[UUID, BaseGeometry]) -> None:
    """Give tracks that begin the verdicts about the ground they begin on."""
    if born and conn.execute(_ANY).scalar_one():
        outlines = [hex_ewkb(outline) for outline in born.values()]
        conn.execute(_CARRY, {"ids": list(born), "outlines": outlines})


def rejected(conn: Connection, track_ids: Collection[UUID]) -> set[UUID]:
    """Which of these objects are rejected."""
    return set(conn.execute(_REJECTED, {"ids": list(track_ids)}).scalars()) if track_ids else set()


def _check(verdict: Verdict, reviewer: str, reason: str, outline: BaseGeometry | None) -> None:
    for name, value in (("reviewer", reviewer), ("reason", reason)):
        if not value.strip() or len(value) > LONGEST_TEXT:
            raise ReviewRefused(f"{name}: write 1 to {LONGEST_TEXT} characters (got {len(value)})")
        if storable(value) != value:
            raise ReviewRefused(f"{name}: NUL and halves of surrogate pairs cannot be stored; leave them out")
    if (verdict is Verdict.EDITED) != (outline is not None):
        raise ReviewRefused("an outline belongs to the verdict edited, and to no other")
    if outline is None:
        return
    if not isinstance(outline, Polygon | MultiPolygon) or outline.is_empty:
        raise ReviewRefused(f"outline: give a Polygon or MultiPolygon (got {outline.geom_type})")
    if shapely.get_num_coordinates(outline) > MOST_VERTICES:
        raise ReviewRefused(f"outline: more than {MOST_VERTICES} vertices; simplify it")
    if not outline.is_valid:
        raise ReviewRefused(f"outline: {shapely.is_valid_reason(outline)}; repair it")
    if not in_degrees(outline):
        raise ReviewRefused("outline: give longitude and latitude in degrees (EPSG:4326)")
