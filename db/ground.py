"""Observed ground of a series: for each observation, the part of its footprint that it was the first to observe.

The parts of a series are disjoint; the ground observed before an observation is the union of the parts of those before
it. An observation in order reads only the parts that meet its footprint, and adds one where it covers new ground; a
late one replaces the parts of all observations that are folded again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, text

from segwatch.db.codec import from_ewkb, to_ewkb
from segwatch.geo.types.tracking import GroundPiece, TrackingStep

_KNOWN = text("SELECT EXISTS (SELECT 1 FROM segwatch.seen_ground WHERE series_id = :series_id)")
_NEAR = text(
    """
    SELECT g.observation_id, g.geom, g.inherited FROM segwatch.seen_ground g
    WHERE g.series_id = :series_id AND ST_Intersects(g.geom, CAST(:footprint AS geometry))
      AND NOT (g.observation_id = ANY(CAST(:without AS uuid[])))
    ORDER BY g.observation_id
    """
)
#: An observation that is no longer the first anywhere keeps its row, with an empty geometry.
_SAVE = text(
    """
    INSERT INTO segwatch.seen_ground AS g (series_id, observation_id, inherited, geom)
    SELECT :series_id, n.id, false, CAST(n.geom AS geometry)
    FROM unnest(CAST(:ids AS uuid[]), CAST(:geoms AS text[])) AS n(id, geom)
    WHERE NOT ST_IsEmpty(CAST(n.geom AS geometry))
       OR EXISTS (SELECT 1 FROM segwatch.seen_ground k WHERE k.series_id = :series_id AND k.observation_id = n.id)
    ON CONFLICT (series_id, observation_id) DO UPDATE SET geom = excluded.geom
    WHERE ST_AsBinary(g.geom) <> ST_AsBinary(excluded.geom)
    """
)
_PREDECESSOR = text("SELECT seeded_from FROM segwatch.series WHERE id = :series_id")
_INHERIT = text(
    """
    INSERT INTO segwatch.seen_ground (series_id, observation_id, inherited, geom)
    SELECT s.id, g.observation_id, true, g.geom
    FROM segwatch.series s
    JOIN segwatch.seen_ground g ON g.series_id = s.seeded_from
    JOIN segwatch.observation o ON o.id = g.observation_id
    WHERE s.id = :series_id AND (g.inherited OR o.acquired_at <= s.seed_valid_at) AND NOT ST_IsEmpty(g.geom)
    ON CONFLICT DO NOTHING
    """
)
_PUBLISHED = text(
    """
    SELECT o.id, o.footprint FROM segwatch.observation o
    WHERE o.series_id = :series_id AND o.state = 'observed' AND o.superseded_at IS NULL AND o.footprint IS NOT NULL
    ORDER BY o.acquired_at, o.scene_id
    """
)


def is_computed(conn: Connection, series_id: UUID) -> bool:
    """Tell whether the observed ground of a series is stored: not before its first observation, nor by old versions."""
    return bool(conn.execute(_KNOWN, {"series_id": series_id}).scalar_one())


def find_predecessor(conn: Connection, series_id: UUID) -> UUID | None:
    """Find the series whose objects and observed ground this one took over."""
    before: UUID | None = conn.execute(_PREDECESSOR, {"series_id": series_id}).scalar_one()
    return before


def inherit_ground(conn: Connection, series_id: UUID) -> None:
    """Take over the ground that the previous series had observed when this one began."""
    conn.execute(_INHERIT, {"series_id": series_id})


def list_published(conn: Connection, series_id: UUID) -> list[tuple[UUID, BaseGeometry]]:
    """List the published observations of a series in order, with their footprints (EPSG:4326)."""
    rows = conn.execute(_PUBLISHED, {"series_id": series_id})
    return [(row.id, from_ewkb(row.footprint)) for row in rows]


def load_near(
    conn: Connection, series_id: UUID, footprint: BaseGeometry, *, without: Iterable[UUID] = ()
) -> tuple[GroundPiece, ...]:
    """Load the parts of observed ground that meet a footprint, except those of the observations ``without``."""
    values = {"series_id": series_id, "footprint": to_ewkb(footprint), "without": sorted(without)}
    return tuple(
        GroundPiece(row.observation_id, from_ewkb(row.geom), row.inherited)
        for row in conn.execute(_NEAR, values)
    )


def replace_ground(
    conn: Connection, series_id: UUID, folded: Iterable[UUID], steps: Iterable[TrackingStep]
) -> None:
    """Replace the parts of observations that were folded again; those without a step get an empty one."""
    pieces: dict[UUID, BaseGeometry] = dict.fromkeys(folded, Polygon())
    pieces |= {step.observation_id: step.new_ground for step in steps}
    save_ground(conn, series_id, sorted(pieces.items()))


def save_ground(conn: Connection, series_id: UUID, pieces: Sequence[tuple[UUID, BaseGeometry]]) -> None:
    """Store the parts that observations were the first to observe; empty ones only where a row exists."""
    if pieces:
        ids, geometries = zip(*pieces, strict=True)
        values = {"series_id": series_id, "ids": list(ids), "geoms": [to_ewkb(one) for one in geometries]}
        conn.execute(_SAVE, values)
