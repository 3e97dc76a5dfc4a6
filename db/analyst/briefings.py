"""What a briefing shows of a watch at two times: objects with outlines, ground that was not seen, extent over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, text

from segwatch.db.analyst.rows import Rows, fetch_rows
from segwatch.db.codec import from_ewkb, to_ewkb
from segwatch.geo.bounded import operations

#: Objects that were there at ``{at}``, cut to the area: registered scenes move some of them over its border. What was
#: refuted counts nowhere.
_OBJECTS = """
    SELECT o.track_id, o.target, o.status, o.valid_from, w.geom,
           CASE WHEN w.is_whole THEN o.area_m2 ELSE ST_Area(CAST(w.geom AS geography)) END AS area_m2
    FROM watch.objects_as_of({at}, now(), CAST(:area AS geometry)) o
    CROSS JOIN LATERAL (SELECT ST_CoveredBy(o.geom, CAST(:area AS geometry)) AS is_whole) c
    CROSS JOIN LATERAL (
        SELECT c.is_whole, CASE WHEN c.is_whole THEN o.geom
            ELSE ST_CollectionExtract(ST_Intersection(o.geom, CAST(:area AS geometry)), 3) END AS geom) w
    WHERE o.watch = :watch AND o.status IS DISTINCT FROM 'refuted' AND NOT ST_IsEmpty(w.geom)
"""
#: The largest first: where not all can be shown, these are.
_OUTLINES = text(
    f"""
    SELECT o.track_id, o.target, o.status, o.area_m2, o.geom, count(*) OVER () AS of_all
    FROM ({_OBJECTS.format(at=":at")}) o ORDER BY o.area_m2 DESC, o.track_id LIMIT :limit
    """  # noqa: S608 - a part of this file
)
_TOTALS = text(
    f"""
    SELECT o.target, count(*) AS objects, sum(o.area_m2) AS area_m2,
           count(*) FILTER (WHERE o.status = 'confirmed') AS confirmed
    FROM ({_OBJECTS.format(at=":at")}) o GROUP BY o.target ORDER BY sum(o.area_m2) DESC, o.target
    """  # noqa: S608
)
#: Kinds of changes after which there is more of a target than before; of an object with several, the most telling one.
_GAINS = text(
    """
    SELECT g.target, g.kind, count(*) AS objects, count(*) FILTER (WHERE g.confirmed) AS confirmed
    FROM (
        SELECT DISTINCT ON (c.track_id) c.target, c.kind,
               bool_or(c.status = 'confirmed') OVER (PARTITION BY c.track_id) AS confirmed
        FROM watch.changes c
        WHERE c.watch = :watch AND NOT c.baseline AND c.retracted_at IS NULL AND c.status IS DISTINCT FROM 'refuted'
          AND c.kind IN ('appeared', 'reappeared', 'grew') AND c.valid_at > :after AND c.valid_at <= :until
        ORDER BY c.track_id, array_position(ARRAY['appeared', 'reappeared', 'grew'], c.kind)) g
    GROUP BY g.target, g.kind ORDER BY g.target, g.kind
    """
)
_EXTENTS = text(
    f"""
    SELECT n.at, coalesce(sum(o.area_m2), 0) AS area_m2
    FROM unnest(CAST(:moments AS timestamptz[])) n(at)
    LEFT JOIN LATERAL ({_OBJECTS.format(at="n.at")}) o ON true
    GROUP BY n.at ORDER BY n.at
    """  # noqa: S608
)
#: Each state once, however many of the times it lasted.
_STATES = text(
    f"""
    SELECT s.geom, count(*) OVER () AS of_all FROM (
        SELECT DISTINCT ON (o.track_id, o.valid_from) o.geom, o.area_m2
        FROM unnest(CAST(:moments AS timestamptz[])) n(at)
        CROSS JOIN LATERAL ({_OBJECTS.format(at="n.at")}) o ORDER BY o.track_id, o.valid_from) s
    ORDER BY s.area_m2 DESC LIMIT :limit
    """  # noqa: S608
)
#: Clear ones first: after a few of them nothing is left.
_FOOTPRINTS = text(
    """
    SELECT c.geom FROM watch.coverage c
    WHERE c.watch = :watch AND c.state = 'observed' AND c.superseded_at IS NULL
      AND (CAST(:after AS timestamptz) IS NULL OR c.acquired_at > CAST(:after AS timestamptz))
      AND c.acquired_at <= :until AND c.geom && CAST(:area AS geometry)
    ORDER BY c.clear_share DESC NULLS LAST, c.acquired_at DESC, c.observation_id
    """
).execution_options(yield_per=20)


@dataclass(frozen=True, slots=True)
class Outline:
    """An object at one time."""

    target: str
    status: str | None
    """provisional, confirmed or refuted; None = not judged."""
    area_m2: float
    """Geodesic."""
    geometry: BaseGeometry
    """EPSG:4326."""


@dataclass(frozen=True, slots=True)
class Outlines:
    """The largest objects at one time."""

    objects: tuple[Outline, ...]
    of_all: int
    """Number of objects, also those beyond the limit."""


def list_outlines(conn: Connection, watch: str, at: datetime, area: BaseGeometry, limit: int) -> Outlines:
    """List the objects of a watch that were in an area (EPSG:4326) at a time, cut to it, the largest first."""
    rows = fetch_rows(conn, _OUTLINES, watch=watch, at=at, area=to_ewkb(area), limit=limit)
    objects = tuple(
        Outline(row["target"], row["status"], float(row["area_m2"]), from_ewkb(row["geom"])) for row in rows
    )
    return Outlines(objects, rows[0]["of_all"] if rows else 0)


def sum_objects(conn: Connection, watch: str, at: datetime, area: BaseGeometry) -> Rows:
    """Sum up the objects at a time: ``target``, ``objects``, ``confirmed`` and ``area_m2``, the largest area first.

    Only what is inside the area counts, and no refuted object, as in every function here.
    """
    return fetch_rows(conn, _TOTALS, watch=watch, at=at, area=to_ewkb(area))


def count_gains(conn: Connection, watch: str, after: datetime, until: datetime) -> Rows:
    """Count objects that appeared, reappeared or grew after a time, by target and kind: ``objects``, ``confirmed``."""
    return fetch_rows(conn, _GAINS, watch=watch, after=after, until=until)


def list_extents(
    conn: Connection, watch: str, moments: Sequence[datetime], area: BaseGeometry
) -> list[tuple[datetime, float]]:
    """List the area that the objects of a watch covered at each time, geodesic m²."""
    rows = fetch_rows(conn, _EXTENTS, watch=watch, moments=list(moments), area=to_ewkb(area))
    return [(row["at"], float(row["area_m2"])) for row in rows]


def list_states(
    conn: Connection, watch: str, moments: Sequence[datetime], area: BaseGeometry, limit: int
) -> tuple[list[BaseGeometry], int]:
    """List the outlines that objects had at some of the times, EPSG:4326, and how many there are without the limit."""
    values = {"watch": watch, "moments": list(moments), "area": to_ewkb(area), "limit": limit}
    rows = fetch_rows(conn, _STATES, **values)
    return [from_ewkb(row["geom"]) for row in rows], rows[0]["of_all"] if rows else 0


def find_unseen(
    conn: Connection, watch: str, area: BaseGeometry, *, after: datetime | None, until: datetime
) -> BaseGeometry:
    """Find the part of an area that no scene acquired after one time and up to another has shown, EPSG:4326.

    ``after`` None = from the beginning. Bounded as :func:`segwatch.db.analyst.coverage.find_gap` is.
    """
    values = {"watch": watch, "after": after, "until": until, "area": to_ewkb(area)}
    with conn.execute(_FOOTPRINTS, values) as rows:
        return operations.subtract_all(area, (from_ewkb(row.geom) for row in rows))
