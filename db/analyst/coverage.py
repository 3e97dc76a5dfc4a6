"""Coverage: which scenes were observed, which were not, and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, RowMapping, text

from segwatch.db import watches
from segwatch.db.analyst.cursors import fetch_page
from segwatch.db.analyst.rows import Rows, fetch_rows
from segwatch.db.codec import from_ewkb, to_ewkb
from segwatch.geo.bounded import operations

_COVERAGE = text(
    """
    SELECT c.observation_id, c.acquired_at, c.state, c.reason, c.waits, c.attempts, c.clear_share, c.item_hrefs,
           c.detections, c.shift_east_m, c.shift_north_m, c.shift_quality, c.shift_source, c.shift_problem
    FROM watch.coverage c
    WHERE c.watch = :watch AND (c.state <> 'rejected' OR c.superseded_at IS NULL)
    ORDER BY c.acquired_at NULLS LAST, c.observation_id
    """
)
#: Rows without a time sort as if it was long ago. What is costly is read for the rows of the page alone.
_PAGE = text(
    """
    WITH page AS MATERIALIZED (
        SELECT c.observation_id, coalesce(c.acquired_at, '0001-01-01T00:00:00Z') AS at FROM watch.coverage c
        WHERE c.watch = :watch AND (CAST(:states AS text[]) IS NULL OR c.state = ANY(CAST(:states AS text[])))
          AND (coalesce(c.acquired_at, '0001-01-01T00:00:00Z'), c.observation_id)
              < (CAST(:at AS timestamptz), CAST(:id AS uuid))
        ORDER BY at DESC, c.observation_id DESC LIMIT :limit)
    SELECT c.observation_id, c.watch, c.acquired_at, c.state, c.reason, c.waits, c.attempts, c.clear_share,
           c.detections, c.item_hrefs, c.model, c.discovered_at, c.committed_at, c.superseded_at, c.shift_east_m,
           c.shift_north_m
    FROM page p
    CROSS JOIN LATERAL (SELECT * FROM watch.coverage n WHERE n.observation_id = p.observation_id OFFSET 0) c
    ORDER BY p.at DESC, p.observation_id DESC
    """
)
_STATES = text(
    "SELECT state, count(*) AS n FROM watch.coverage WHERE watch = :watch AND superseded_at IS NULL GROUP BY state"
)
_WHY_NOT = text(
    """
    SELECT n.*, c.reason,
           (SELECT i.scene_id FROM watch.imagery i
            WHERE i.watch = :watch AND i.observation_id = n.observation_id LIMIT 1) AS scene_id
    FROM watch.why_not(:lon, :lat, :at, :watch) n
    LEFT JOIN watch.coverage c ON c.observation_id = n.observation_id
    ORDER BY n.acquired_at NULLS LAST, n.observation_id
    """
)
_SCENES = text(
    """
    SELECT DISTINCT i.scene_id, i.acquired_at, i.state,
           i.profile->>'attribution' AS attribution
    FROM watch.imagery i WHERE i.watch = :watch ORDER BY 2, i.scene_id
    """
)
_UNUSED = text(
    """
    WITH page AS MATERIALIZED (
        SELECT c.observation_id, c.acquired_at AS at, count(*) OVER () AS of_all FROM watch.coverage c
        WHERE c.watch = :watch AND c.superseded_at IS NULL AND c.state IN ('skipped', 'failed', 'rejected')
        ORDER BY at DESC NULLS FIRST, c.observation_id LIMIT :limit)
    SELECT c.acquired_at, c.state, c.reason, c.item_hrefs, p.of_all
    FROM page p
    CROSS JOIN LATERAL (SELECT * FROM watch.coverage n WHERE n.observation_id = p.observation_id OFFSET 0) c
    ORDER BY p.at DESC NULLS FIRST, p.observation_id
    """
)
_READABLE_ITEMS = text(
    "SELECT * FROM watch.readable_imagery(:watch, CAST(:scene_id AS uuid)) ORDER BY item_id"
)
_REPORTED_SCENES = text(
    """
    SELECT c.acquired_at, c.state, c.clear_share, c.reason, c.item_hrefs, c.model, e.preview,
           (SELECT min(s.shadow) FROM watch.shadow_comparisons s WHERE s.observation_id = c.observation_id) AS shadow,
           (SELECT jsonb_object_agg(s.target, s.iou) FROM watch.shadow_comparisons s
            WHERE s.observation_id = c.observation_id AND s.iou IS NOT NULL) AS agreement
    FROM watch.coverage c LEFT JOIN watch.evidence e ON e.observation_id = c.observation_id
    WHERE c.watch = :watch AND c.superseded_at IS NULL ORDER BY c.acquired_at NULLS LAST, c.observation_id
    """
)
#: Clear ones first: after a few of them nothing is left.
_FOOTPRINTS = text(
    """
    SELECT c.geom FROM watch.coverage c
    WHERE c.watch = :watch AND c.state = 'observed' AND c.superseded_at IS NULL AND c.acquired_at >= :since
      AND c.geom && CAST(:area AS geometry)
    ORDER BY c.clear_share DESC NULLS LAST, c.acquired_at DESC, c.observation_id
    """
).execution_options(yield_per=20)


def list_coverage(conn: Connection, watch: str) -> Rows:
    """List every observation and every rejected item of a watch with its state, its reason and what it waits for.

    Oldest first; items of unknown acquisition time come last.

    Raises
    ------
    segwatch.db.errors.NotFound
        No watch has this name.
    """
    watches.require(conn, watch)
    return fetch_rows(conn, _COVERAGE, watch=watch)


def list_coverage_page(
    conn: Connection, watch: str, limit: int, *, states: Sequence[str] | None = None, after: str | None = None
) -> tuple[Rows, str | None]:
    """List observations and rejected items of a watch, latest acquisition first, and the cursor of the next page.

    Parameters
    ----------
    states
        Only rows of these states; None = all.
    after
        Cursor that the page before returned; None = the first page.

    Raises
    ------
    segwatch.db.errors.InvalidCursor
        ``after`` is no cursor.
    """
    given = None if states is None else list(states)
    return fetch_page(conn, _PAGE, limit, after, ("acquired_at", "observation_id"), watch=watch, states=given)


def count_states(conn: Connection, watch: str) -> dict[str, int]:
    """Count the current observations of a watch by state; empty before the first scene is found."""
    return {row.state: row.n for row in conn.execute(_STATES, {"watch": watch})}


def explain_missing_alert(conn: Connection, watch: str, lon: float, lat: float, at: datetime) -> Rows:
    """Explain why a point has no alert: one row per observation or rejected item up to ``at``.

    ``lon`` and ``lat`` are degrees (EPSG:4326). See the database function ``watch.why_not``.

    Raises
    ------
    segwatch.db.errors.NotFound
        No watch has this name.
    """
    watches.require(conn, watch)
    return fetch_rows(conn, _WHY_NOT, watch=watch, lon=lon, lat=lat, at=at)


def list_scenes(conn: Connection, watch: str) -> Rows:
    """List the scenes of a watch by acquisition time, with state and attribution."""
    return fetch_rows(conn, _SCENES, watch=watch)


def list_unused(conn: Connection, watch: str, limit: int) -> Rows:
    """List skipped and failed scenes and rejected items with their reasons, newest first.

    Items of unknown acquisition time come first; ``of_all`` is the number of rows without the limit.
    """
    return fetch_rows(conn, _UNUSED, watch=watch, limit=limit)


def list_readable_items(conn: Connection, watch: str, scene_id: str) -> Rows:
    """List the current items of a scene with links that can be read now; signed links are secrets."""
    return fetch_rows(conn, _READABLE_ITEMS, watch=watch, scene_id=scene_id)


def list_reported_scenes(conn: Connection, watch: str) -> Sequence[RowMapping]:
    """List the current observations and rejected items of a watch, each with the path of its quicklook.

    ``shadow`` names the shadow segmenter, ``agreement`` has its IoU by target; null where nothing was compared.
    """
    return conn.execute(_REPORTED_SCENES, {"watch": watch}).mappings().all()


def find_gap(conn: Connection, watch: str, area: BaseGeometry, since: datetime) -> BaseGeometry:
    """Find the part of an area that no observation of a watch has observed since a time, EPSG:4326.

    However many observations there are, and however complex their footprints: see
    :func:`segwatch.geo.bounded.operations.subtract_all`.
    """
    with conn.execute(_FOOTPRINTS, {"watch": watch, "since": since, "area": to_ewkb(area)}) as rows:
        return operations.subtract_all(area, (from_ewkb(row.geom) for row in rows))
