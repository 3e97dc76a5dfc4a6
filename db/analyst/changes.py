"""Changes of a watch summed up, for briefings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, RowMapping, text

_SUMS = text(
    """
    SELECT target, kind, count(*) AS objects, count(*) FILTER (WHERE status = 'confirmed') AS confirmed,
           sum(before_m2) AS before_m2, sum(after_m2) AS after_m2
    FROM watch.changes
    WHERE watch = :watch AND NOT baseline AND retracted_at IS NULL AND status IS DISTINCT FROM 'refuted'
      AND valid_at > coalesce(CAST(:since AS timestamptz), '-infinity')
      AND valid_at <= coalesce(CAST(:until AS timestamptz), 'infinity')
    GROUP BY target, kind ORDER BY target, abs(sum(after_m2) - sum(before_m2)) DESC
    """
)
_LARGEST = text(
    """
    SELECT valid_at, target, kind, before_m2, after_m2, track_id, confidence, status, observations_for,
           observations_against, confidence_calibrated, evidence, shadow_share, shadow_iou,
           ST_X(ST_PointOnSurface(geom)) AS lon, ST_Y(ST_PointOnSurface(geom)) AS lat
    FROM watch.changes
    WHERE watch = :watch AND NOT baseline AND retracted_at IS NULL AND status IS DISTINCT FROM 'refuted'
      AND valid_at > coalesce(CAST(:since AS timestamptz), '-infinity')
      AND valid_at <= coalesce(CAST(:until AS timestamptz), 'infinity')
    ORDER BY abs(after_m2 - before_m2) DESC, valid_at, track_id LIMIT :limit
    """
)
_REFUTED = text(
    """
    SELECT target, count(*) AS n FROM watch.changes
    WHERE watch = :watch AND NOT baseline AND retracted_at IS NULL AND status = 'refuted'
      AND valid_at > coalesce(CAST(:since AS timestamptz), '-infinity')
      AND valid_at <= coalesce(CAST(:until AS timestamptz), 'infinity')
    GROUP BY target ORDER BY target
    """
)


def sum_changes(
    conn: Connection, watch: str, since: datetime | None = None, until: datetime | None = None
) -> Sequence[RowMapping]:
    """Sum up the changes of a watch by target and kind: neither baseline nor retracted or refuted ones.

    Areas are in geodesic m²; ``confirmed`` counts those that observations confirmed. Only changes after ``since`` and
    up to ``until`` count; None = no limit.
    """
    return conn.execute(_SUMS, {"watch": watch, "since": since, "until": until}).mappings().all()


def count_refuted_changes(
    conn: Connection, watch: str, since: datetime | None = None, until: datetime | None = None
) -> dict[str, int]:
    """Count the changes of a watch that observations refuted, by target; limits as in :func:`sum_changes`."""
    rows = conn.execute(_REFUTED, {"watch": watch, "since": since, "until": until})
    return {row.target: row.n for row in rows}


def list_largest_changes(
    conn: Connection, watch: str, limit: int, since: datetime | None = None, until: datetime | None = None
) -> Sequence[RowMapping]:
    """List the changes of a watch that gained or lost most area, each with a point on it (degrees, EPSG:4326).

    Refuted changes are left out; limits as in :func:`sum_changes`.
    """
    values = {"watch": watch, "limit": limit, "since": since, "until": until}
    return conn.execute(_LARGEST, values).mappings().all()
