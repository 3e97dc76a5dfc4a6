"""Imagery sources that watches use: profile and catalog, and what the ledger knows of their scenes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from segwatch.db.codec import from_ewkb, load_profile
from segwatch.db.errors import CodecError
from segwatch.geo.antimeridian import compute_bounds
from segwatch.geo.types.source import Profile

_SOURCES = text(
    """
    SELECT h.name, w.definition -> 'profile' AS profile, w.definition ->> 'catalog' AS catalog,
           coalesce(w.definition ->> 'catalog_name', '') AS catalog_name, a.geom, n.scenes, n.first_at, n.last_at
    FROM segwatch.watch_head h
    JOIN segwatch.watch w ON w.id = h.revision_id
    JOIN segwatch.area a ON a.id = w.area_id
    CROSS JOIN LATERAL (
        SELECT count(DISTINCT o.scene_id) AS scenes, min(c.acquired_at) AS first_at, max(c.acquired_at) AS last_at
        FROM segwatch.series s
        JOIN segwatch.observation o ON o.series_id = s.id
        JOIN segwatch.scene c ON c.id = o.scene_id
        WHERE s.watch_name = h.name) n
    ORDER BY h.name
    """
)


@dataclass(frozen=True, slots=True)
class WatchSource:
    """The source of one watch."""

    watch: str
    profile: Profile
    catalog: str
    """URL of the catalog, which may hold secrets."""
    catalog_name: str
    bbox: tuple[float, float, float, float]
    """West, south, east, north of the watch's area, degrees; west > east across the antimeridian."""
    scenes: int
    first_at: datetime | None
    """Acquisition of the first scene; None = none was found yet."""
    last_at: datetime | None


def list_watch_sources(conn: Connection) -> list[WatchSource]:
    """List the sources of all watches by name; without watches whose definition cannot be read."""
    found = []
    for row in conn.execute(_SOURCES):
        try:
            profile = load_profile(row.profile)
        except CodecError:
            continue
        bbox = compute_bounds(from_ewkb(row.geom))
        found.append(
            WatchSource(
                row.name,
                profile,
                row.catalog,
                row.catalog_name,
                bbox,
                row.scenes,
                row.first_at,
                row.last_at,
            )
        )
    return found
