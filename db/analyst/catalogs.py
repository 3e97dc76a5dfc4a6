"""Watches and their observations as a STAC API shows them: pages by key, from the views alone.

The rows are those of :mod:`segwatch.db.analyst.observed`; there, exports read the ledger of any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, text

from segwatch.db.analyst.cursors import fetch_page
from segwatch.db.analyst.rows import Rows, choose_bounds, fetch_rows
from segwatch.db.codec import to_ewkb

#: The page is chosen first, so that only its rows are counted and joined.
_PAGE = text(
    """
    WITH page AS MATERIALIZED (
        SELECT c.observation_id FROM watch.coverage c
        WHERE c.state = 'observed' AND c.superseded_at IS NULL
          AND (CAST(:watches AS text[]) IS NULL OR c.watch = ANY(CAST(:watches AS text[])))
          AND (CAST(:ids AS uuid[]) IS NULL OR c.observation_id = ANY(CAST(:ids AS uuid[])))
          AND (CAST(:begin AS timestamptz) IS NULL OR c.acquired_at >= CAST(:begin AS timestamptz))
          AND (CAST(:end AS timestamptz) IS NULL OR c.acquired_at <= CAST(:end AS timestamptz))
          AND (CAST(:bounds AS geometry) IS NULL OR ST_Intersects(c.geom, CAST(:bounds AS geometry)))
          AND (c.acquired_at, c.observation_id) < (CAST(:at AS timestamptz), CAST(:id AS uuid))
        ORDER BY c.acquired_at DESC, c.observation_id DESC LIMIT :limit)
    SELECT c.observation_id, c.watch, c.acquired_at, c.committed_at, c.model, c.instruction,
           CASE WHEN w.instruction_revision = c.instruction_revision THEN w.targets END AS targets,
           c.catalog, i.collection, i.platform, c.clear_share, c.area_km2, c.tiles, c.tiles_failed, c.answer,
           ST_AsBinary(ST_Multi(c.geom)) AS footprint, c.item_hrefs, c.detections, i.assets
    FROM page
    CROSS JOIN LATERAL (SELECT * FROM watch.coverage n WHERE n.observation_id = page.observation_id OFFSET 0) c
    JOIN watch.watches w ON w.watch = c.watch
    LEFT JOIN LATERAL (
        SELECT min(n.collection) AS collection, min(n.platform) AS platform,
               CASE WHEN count(*) = 1 THEN (array_agg(n.assets))[1] END AS assets
        FROM watch.imagery n WHERE n.observation_id = page.observation_id) i ON true
    ORDER BY c.acquired_at DESC, c.observation_id DESC
    """
)
_WATCHES = text(
    """
    SELECT w.watch, w.instruction, w.targets, w.model, w.starts_at, o.begin, o.end, o.models,
           ST_XMin(w.geom) AS west, ST_YMin(w.geom) AS south, ST_XMax(w.geom) AS east, ST_YMax(w.geom) AS north,
           ST_XMin(ST_ShiftLongitude(w.geom)) AS west_to_360, ST_XMax(ST_ShiftLongitude(w.geom)) AS east_to_360
    FROM watch.watches w
    LEFT JOIN LATERAL (
        SELECT min(c.acquired_at) AS begin, max(c.acquired_at) AS end, array_agg(DISTINCT c.model) AS models
        FROM watch.coverage c
        WHERE c.watch = w.watch AND c.state = 'observed' AND c.superseded_at IS NULL) o ON true
    WHERE CAST(:watches AS text[]) IS NULL OR w.watch = ANY(CAST(:watches AS text[]))
    ORDER BY w.watch
    """
)
_NAMES = text("SELECT w.watch FROM watch.watches w ORDER BY w.watch")
_MODELS = text(
    """
    SELECT c.watch, c.model, min(c.acquired_at) AS begin, max(c.acquired_at) AS end,
           ST_XMin(ST_Extent(c.geom)) AS west, ST_YMin(ST_Extent(c.geom)) AS south,
           ST_XMax(ST_Extent(c.geom)) AS east, ST_YMax(ST_Extent(c.geom)) AS north,
           ST_XMin(ST_Extent(ST_ShiftLongitude(c.geom))) AS west_to_360,
           ST_XMax(ST_Extent(ST_ShiftLongitude(c.geom))) AS east_to_360
    FROM watch.coverage c
    WHERE c.state = 'observed' AND c.superseded_at IS NULL
      AND (CAST(:watches AS text[]) IS NULL OR c.watch = ANY(CAST(:watches AS text[])))
    GROUP BY c.watch, c.model ORDER BY c.watch, c.model
    """
)
_DETECTIONS = text(
    """
    SELECT CAST(d.detection_id AS text) AS id, CAST(d.track_id AS text) AS track_id, d.target, d.score, d.area_m2,
           ST_AsBinary(ST_Multi(d.geom)) AS geometry
    FROM watch.detections d WHERE d.observation_id = :observation_id AND d.watch = :watch ORDER BY d.detection_id
    """
)
_IS_OBSERVED = text(
    """
    SELECT EXISTS (SELECT 1 FROM watch.coverage c WHERE c.observation_id = :observation_id AND c.watch = :watch
                   AND c.state = 'observed' AND c.superseded_at IS NULL)
    """
)


@dataclass(frozen=True, slots=True)
class CatalogSearch:
    """Which observations to list."""

    watches: tuple[str, ...] | None = None
    """None = all that the session may read."""
    ids: tuple[UUID, ...] | None = None
    begin: datetime | None = None
    """Earliest acquisition, inclusive, UTC."""
    end: datetime | None = None
    """Latest acquisition, inclusive, UTC."""
    bounds: BaseGeometry | None = None
    """Only observed footprints that intersect this geometry, EPSG:4326."""


def list_catalog_page(
    conn: Connection, search: CatalogSearch, limit: int, after: str | None = None
) -> tuple[Rows, str | None]:
    """List published observations, latest acquisition first, and the cursor of the next page.

    ``footprint`` is WKB, EPSG:4326; ``targets`` is None for an instruction that is not in force any more; ``assets``
    maps names to links of the only item of the scene, None if there are several.

    Raises
    ------
    segwatch.db.errors.InvalidCursor
        ``after`` is no cursor.
    """
    return fetch_page(
        conn, _PAGE, limit, after, ("acquired_at", "observation_id"),
        watches=_list(search.watches), ids=_list(search.ids), begin=search.begin, end=search.end,
        bounds=None if search.bounds is None else to_ewkb(search.bounds),
    )  # fmt: skip


def list_catalog_watches(conn: Connection, watches: Sequence[str] | None = None) -> Rows:
    """List watches with the bounds of their AOI (degrees, west > east across the antimeridian) and what they hold.

    ``begin`` and ``end`` are the first and last acquisition that was observed, None before any was.
    """
    return [choose_bounds(row) for row in fetch_rows(conn, _WATCHES, watches=_list(watches))]


def list_watch_names(conn: Connection) -> list[str]:
    """List the names of the watches that the session may read, in order."""
    return list(conn.execute(_NAMES).scalars())


def list_model_uses(conn: Connection, watches: Sequence[str] | None = None) -> Rows:
    """List the models of published observations: watch, model, first and last acquisition, bounds as above."""
    return [choose_bounds(row) for row in fetch_rows(conn, _MODELS, watches=_list(watches))]


def iter_published_detections(
    conn: Connection, watch: str, observation_id: UUID
) -> Iterator[Sequence[Sequence[Any]]]:
    """Yield the detections of a published observation in parts of rows of ``DETECTION_COLUMNS``, by id."""
    yield from conn.execute(_DETECTIONS, {"observation_id": observation_id, "watch": watch}).partitions(500)


def is_observed(conn: Connection, watch: str, observation_id: UUID) -> bool:
    """Whether this is a published observation of a watch."""
    return bool(conn.execute(_IS_OBSERVED, {"observation_id": observation_id, "watch": watch}).scalar_one())


def _list(given: Sequence[Any] | None) -> list[Any] | None:
    return None if given is None else list(given)
