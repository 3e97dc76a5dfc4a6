"""Watches with their counts, and what a new model or instruction revision changed."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text

from segwatch.db import watches
from segwatch.db.analyst.accuracy import describe_accuracy, read_accuracy
from segwatch.db.analyst.rows import Rows, choose_bounds, fetch_rows

#: A scene counts once per state, also when a newer instruction revision or model observes it again. The instruction in
#: force is that of the objects; before any object is found, the one queued last. Refuted objects count nowhere.
_WATCHES = text(
    """
    SELECT g.*, CASE WHEN :counts THEN n.objects END AS objects, CASE WHEN :counts THEN n.hectares END AS hectares
    FROM (
        SELECT c.watch,
               coalesce((SELECT n.instruction FROM watch.objects_now n WHERE n.watch = c.watch LIMIT 1),
                        (array_agg(c.instruction ORDER BY c.discovered_at DESC, c.acquired_at DESC))[1]) AS instruction,
               (array_agg(c.model ORDER BY c.committed_at DESC NULLS LAST))[1] AS model,
               count(DISTINCT c.scene_key) FILTER (WHERE c.state = 'observed') AS observed,
               count(DISTINCT c.scene_key) FILTER (WHERE c.state = 'skipped') AS skipped,
               count(DISTINCT c.scene_key) FILTER (WHERE c.state = 'failed') AS failed,
               count(DISTINCT c.scene_key) FILTER (WHERE c.state IN ('pending', 'leased', 'inferred')) AS pending,
               count(*) FILTER (WHERE c.state = 'rejected') AS rejected,
               (SELECT w.min_polygon_m2 FROM watch.watches w WHERE w.watch = c.watch) AS min_polygon_m2,
               (SELECT w.min_change_m2 FROM watch.watches w WHERE w.watch = c.watch) AS min_change_m2,
               (SELECT w.state FROM watch.watches w WHERE w.watch = c.watch) AS state,
               (SELECT w.state_since FROM watch.watches w WHERE w.watch = c.watch) AS state_since,
               ST_XMin(ST_Extent(c.geom)) AS west, ST_YMin(ST_Extent(c.geom)) AS south,
               ST_XMax(ST_Extent(c.geom)) AS east, ST_YMax(ST_Extent(c.geom)) AS north,
               ST_XMin(ST_Extent(ST_ShiftLongitude(c.geom))) AS west_to_360,
               ST_XMax(ST_Extent(ST_ShiftLongitude(c.geom))) AS east_to_360
        FROM watch.coverage c WHERE c.superseded_at IS NULL GROUP BY c.watch) g
    CROSS JOIN LATERAL (
        SELECT count(*) AS objects, coalesce(sum(o.area_m2), 0) / 1e4 AS hectares FROM watch.objects_now o
        WHERE :counts AND o.watch = g.watch AND o.status IS DISTINCT FROM 'refuted') n
    ORDER BY g.watch
    """
)
_SUMMARY = text(
    """
    SELECT w.watch,
           (SELECT count(*) FROM watch.coverage c WHERE c.watch = w.watch AND c.state = 'observed'
              AND c.superseded_at IS NULL) AS observed,
           (SELECT count(*) FROM watch.coverage c WHERE c.watch = w.watch AND c.state = 'skipped'
              AND c.superseded_at IS NULL) AS skipped,
           (SELECT count(*) FROM watch.coverage c WHERE c.watch = w.watch AND c.state = 'failed') AS failed,
           (SELECT count(*) FROM watch.coverage c
            WHERE c.watch = w.watch AND c.state IN ('pending', 'leased', 'inferred')) AS waiting,
           (SELECT count(*) FROM watch.coverage c WHERE c.watch = w.watch AND c.state = 'rejected'
              AND c.superseded_at IS NULL) AS rejected,
           (SELECT count(*) FROM watch.objects_now o
            WHERE o.watch = w.watch AND o.status IS DISTINCT FROM 'refuted') AS objects,
           (SELECT coalesce(sum(o.area_m2), 0) FROM watch.objects_now o
            WHERE o.watch = w.watch AND o.status IS DISTINCT FROM 'refuted') / 1e4 AS hectares,
           (SELECT count(*) FROM watch.changes k WHERE k.watch = w.watch AND k.retracted_at IS NULL
              AND NOT k.baseline AND k.status IS DISTINCT FROM 'refuted') AS changes,
           (SELECT count(*) FROM watch.alerts a WHERE a.watch = w.watch AND a.retracted_at IS NULL) AS alerts,
           (SELECT count(*) FROM watch.alerts a WHERE a.watch = w.watch AND a.retracted_at IS NULL
              AND a.delivered_at IS NOT NULL) AS delivered
    FROM (SELECT DISTINCT watch FROM watch.coverage) w ORDER BY w.watch
    """
)
_WATCH = text(
    """
    SELECT w.watch, w.state, w.state_since, w.instruction, w.targets, w.profile, w.collection, w.catalog, w.gsd_m,
           w.starts_at, w.ends_at, w.schedule, w.priority, w.min_polygon_m2, w.min_change_m2, w.min_change_ratio,
           w.applied_at, w.watch_revision,
           ST_Area(CAST(w.geom AS geography)) / 1e6 AS area_km2,
           ARRAY[ST_XMin(w.geom), ST_YMin(w.geom), ST_XMax(w.geom), ST_YMax(w.geom)] AS bbox
    FROM watch.watches w WHERE w.watch = :watch
    """
)
_HAS_WATCH = text("SELECT EXISTS (SELECT FROM watch.watches w WHERE w.watch = :watch)")
_UPGRADES = text(
    "SELECT * FROM watch.upgrades WHERE watch = :watch AND objects > 0 ORDER BY seed_known_at, series_id, kind"
)


def list_watches(conn: Connection, *, counts: bool = True) -> Rows:
    """List the watches that have observations, with counts of scenes and objects and the bounds of their coverage.

    Parameters
    ----------
    counts
        Whether to count the objects and sum their area, which reads all of them.

    Returns
    -------
    Rows
        By name. ``west``, ``south``, ``east``, ``north`` in degrees (EPSG:4326) are None before the first observation,
        and ``west`` is east of ``east`` where the coverage crosses the antimeridian. ``accuracy`` has lines of text.
        ``objects`` and ``hectares`` are None without ``counts``.
    """
    rows = [choose_bounds(row) for row in fetch_rows(conn, _WATCHES, counts=counts)]
    return [row | {"accuracy": describe_accuracy(read_accuracy(conn, row["watch"]))} for row in rows]


def has_watch(conn: Connection, watch: str) -> bool:
    """Whether there is a watch of this name that the reader may see."""
    return bool(conn.execute(_HAS_WATCH, {"watch": watch}).scalar_one())


def read_watch(conn: Connection, watch: str) -> dict[str, Any]:
    """Read a watch as it is now, its area by its bounding box (degrees) and size.

    Raises
    ------
    segwatch.db.errors.NotFound
        No watch has this name.
    """
    rows = fetch_rows(conn, _WATCH, watch=watch)
    if not rows:
        raise watches.make_unknown(conn, watch)
    return dict(rows[0])


def summarize_watches(conn: Connection) -> Rows:
    """Count, per watch, observations by outcome, objects, hectares, changes, and alerts raised and delivered.

    What was there on ground seen for the first time is no change, and refuted objects and changes are left out.
    """
    return fetch_rows(conn, _SUMMARY)


def list_upgrades(conn: Connection, watch: str) -> Rows:
    """List what each new model or instruction revision of a watch changed by itself, one row per kind of change.

    Raises
    ------
    segwatch.db.errors.NotFound
        No watch has this name.
    """
    watches.require(conn, watch)
    return fetch_rows(conn, _UPGRADES, watch=watch)
