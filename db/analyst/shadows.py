"""Comparisons of the main segmenter with the shadow segmenter of a watch."""

from __future__ import annotations

from sqlalchemy import Connection, text

from segwatch.db.analyst.rows import Rows, fetch_rows

#: The comparisons with the newest shadow and model: earlier ones would be averaged with what is to be judged.
_NEWEST = """
    WITH newest AS (
        SELECT c.shadow, c.model, c.instruction_revision FROM watch.shadow_comparisons c WHERE c.watch = :watch
        ORDER BY c.acquired_at DESC, c.shadow, c.model LIMIT 1)
"""
_SCENES = text(
    _NEWEST  # noqa: S608 - parts of this file
    + """
    SELECT c.acquired_at, c.target, c.iou, c.both_m2, c.only_primary_m2, c.only_shadow_m2, c.primary_count,
           c.shadow_count, c.lost_count, c.gained_count, c.changed_count, c.share, c.reason, c.observation_id, c.shadow,
           c.model
    FROM watch.shadow_comparisons c JOIN newest USING (shadow, model, instruction_revision)
    WHERE c.watch = :watch ORDER BY c.acquired_at, c.target
    """
)
#: Observations by the main segmenter from the first compared scene on, whether or not the shadow ran on them.
_OBSERVED = text(
    _NEWEST  # noqa: S608 - parts of this file
    + """
    SELECT count(DISTINCT c.observation_id) FROM watch.coverage c
    JOIN newest ON newest.model = c.model AND newest.instruction_revision = c.instruction_revision
    WHERE c.watch = :watch AND c.state = 'observed' AND c.superseded_at IS NULL AND c.acquired_at >= (
        SELECT min(s.acquired_at) FROM watch.shadow_comparisons s
        JOIN newest USING (shadow, model, instruction_revision) WHERE s.watch = :watch)
    """
)
_OBJECTS = text(
    _NEWEST  # noqa: S608 - parts of this file
    + """
    SELECT DISTINCT ON (d.track_id) d.track_id, d.target, d.acquired_at, d.area_m2, d.shadow_share, d.shadow_iou,
           d.evidence, ST_X(ST_PointOnSurface(d.geom)) AS lon, ST_Y(ST_PointOnSurface(d.geom)) AS lat
    FROM watch.detections d
    JOIN watch.shadow_comparisons c ON c.observation_id = d.observation_id AND c.target = d.target
    JOIN newest ON newest.shadow = c.shadow AND newest.model = c.model
         AND newest.instruction_revision = c.instruction_revision
    JOIN (SELECT n.track_id FROM watch.objects_now n WHERE n.watch = :watch) held ON held.track_id = d.track_id
    WHERE d.watch = :watch AND d.shadow_share IS NOT NULL
    ORDER BY d.track_id, d.acquired_at DESC, d.area_m2 DESC
    """
)
_PLACES = text(
    _NEWEST  # noqa: S608 - parts of this file
    + """
    SELECT d.acquired_at, d.target, d.found_by, d.area_m2, ST_X(ST_PointOnSurface(d.geom)) AS lon,
           ST_Y(ST_PointOnSurface(d.geom)) AS lat, d.observation_id
    FROM watch.shadow_differences d
    JOIN newest ON newest.shadow = d.shadow AND newest.model = d.model
    WHERE d.watch = :watch ORDER BY d.area_m2 DESC, d.acquired_at, d.ordinal LIMIT :limit
    """
)


def list_compared_scenes(conn: Connection, watch: str) -> Rows:
    """List the comparisons of a watch with its newest shadow and model, by time and target; areas in geodesic m²."""
    return fetch_rows(conn, _SCENES, watch=watch)


def count_observed(conn: Connection, watch: str) -> int:
    """Count the scenes that the main segmenter observed since the newest shadow began, those not compared, too."""
    return int(conn.execute(_OBSERVED, {"watch": watch}).scalar_one())


def list_compared_objects(conn: Connection, watch: str) -> Rows:
    """List each object of now with the agreement of its newest compared detection, and a point on it (EPSG:4326)."""
    return fetch_rows(conn, _OBJECTS, watch=watch)


def list_differences(conn: Connection, watch: str, limit: int) -> Rows:
    """List the largest places where only one segmenter found something, each with a point (EPSG:4326)."""
    return fetch_rows(conn, _PLACES, watch=watch, limit=limit)
