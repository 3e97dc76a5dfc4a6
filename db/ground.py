"""Ground that a series has seen clearly: for each observation what it was the first to see.

The rows of a series are disjoint, and what had been seen before an observation is the union of the rows of those
before it. A scene in its turn reads only the rows that meet its footprint, and adds one where it sees new ground; a
late one makes those of everything that is folded again anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, text

from segwatch.db.codec import from_ewkb, hex_ewkb
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
#: What is not new any more keeps its row, without ground.
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


def known(conn: Connection, series_id: UUID) -> bool:
    """Whether it was worked out what the series has seen; not before its first observation, nor by older versions."""
    return bool(conn.execute(_KNOWN, {"series_id": series_id}).scalar_one())


def predecessor(conn: Connection, series_id: UUID) -> UUID | None:
    """The series whose objects, and seen ground, this one took over."""
    before: UUID | None = conn.execute(_PREDECESSOR, {"series_id": series_id}).scalar_one()
    return before


def inherit(conn: Connection, series_id: UUID) -> None:
    """Take over what the series before had seen when this one began."""
    conn.execute(_INHERIT, {"series_id": series_id})


def published(conn: Connection, series_id: UUID) -> list[tuple[UUID, BaseGeometry]]:
    """Observations of the series that hold, in order, with their footprints."""
    rows = conn.execute(_PUBLISHED, {"series_id": series_id})
    return [(row.id, from_ewkb(row.footprint)) for row in rows]


def near(
    conn: Connection, series_id: UUID, footprint: BaseGeometry, *, without: Iterable[UUID] = ()
) -> tuple[GroundPiece, ...]:
    """What the series has seen where a footprint is, without what some observations were the first to see."""
    values = {"series_id": series_id, "footprint": hex_ewkb(footprint), "without": sorted(without)}
    return tuple(
        GroundPiece(row.observation_id, from_ewkb(row.geom), row.inherited)
        for row in conn.execute(_NEAR, values)
    )


def renew(conn: Connection, series_id: UUID, folded: Iterable[UUID], steps: Iterable[TrackingStep]) -> None:
    """Store what observations that were folded again were the first to see; those without a step, nothing."""
    pieces: dict[UUID, BaseGeometry] = dict.fromkeys(folded, Polygon())
    pieces |= {step.observation_id: step.new_ground for step in steps}
    save(conn, series_id, sorted(pieces.items()))


def save(conn: Connection, series_id: UUID, pieces: Sequence[tuple[UUID, BaseGeometry]]) -> None:
    """Store what observations were the first to see; nothing where nothing is new and nothing was."""
    if pieces:
        ids, geometries = zip(*pieces, strict=True)
        values = {"series_id": series_id, "ids": list(ids), "geoms": [hex_ewkb(one) for one in geometries]}
        conn.execute(_SAVE, values)
