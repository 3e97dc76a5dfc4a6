"""Acquisitions that a watch's catalog should have shown; :mod:`segwatch.geo.revisits` computes them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, insert, text

from segwatch.db import mutexes, tables
from segwatch.geo.types.revisits import Acquisition, Lag, Revisit

#: Newest acquisitions from which repeats are learned.
_MAX_ACQUISITIONS = 2000
#: Scenes of the watch, and rejected items, whose orbit is not stored.
_ACQUISITIONS = text(
    """
    SELECT s.platform, s.relative_orbit, s.acquired_at,
           (SELECT min(i.updated_at) FROM segwatch.scene_item i WHERE i.scene_id = s.id) AS published_at
    FROM segwatch.scene s
    WHERE s.catalog = :catalog AND s.id IN (
        SELECT o.scene_id FROM segwatch.series e JOIN segwatch.observation o ON o.series_id = e.id
        WHERE e.watch_name = :watch)
      AND NOT EXISTS (SELECT 1 FROM segwatch.fallback_scene f WHERE f.scene_id = s.id)
    UNION ALL
    SELECT '', '', r.acquired_at, NULL
    FROM segwatch.rejected_item r JOIN segwatch.watch w ON w.id = r.revision_id
    WHERE w.name = :watch AND r.acquired_at IS NOT NULL
    ORDER BY acquired_at DESC LIMIT :limit
    """
)
_DROP = text("DELETE FROM segwatch.revisit WHERE watch_name = :watch")
_LAG = text(
    """
    UPDATE segwatch.discovery SET lag_p50_seconds = :p50, lag_p95_seconds = :p95
    WHERE watch_name = :watch AND (lag_p50_seconds, lag_p95_seconds) IS DISTINCT FROM (:p50, :p95)
    """
)


def list_acquisitions(conn: Connection, watch: str, catalog: str) -> list[Acquisition]:
    """List the newest acquisitions that a catalog itself showed to a watch, the newest first."""
    given = {"watch": watch, "catalog": catalog, "limit": _MAX_ACQUISITIONS}
    return [Acquisition(*row) for row in conn.execute(_ACQUISITIONS, given)]


def save(conn: Connection, watch: str, catalog: str, revisits: Sequence[Revisit], lag: Lag | None) -> None:
    """Store what the catalog of a watch should have shown, in place of what was stored before."""
    mutexes.lock(conn, "revisits")
    conn.execute(_DROP, {"watch": watch})
    rows = [
        {
            "watch_name": watch,
            "platform": one.platform,
            "relative_orbit": one.relative_orbit,
            "catalog": catalog,
            "repeat_days": one.repeat.days,
            "seen": one.seen,
            "last_at": one.last_at,
            "next_at": one.next_at,
            "missing": list(one.missing),
            "missed_in_a_row": one.missed_in_a_row,
        }
        for one in revisits
    ]
    if rows:
        conn.execute(insert(tables.revisit), rows)
    seconds = (None, None) if lag is None else (lag.median.total_seconds(), lag.p95.total_seconds())
    conn.execute(_LAG, {"watch": watch, "p50": seconds[0], "p95": seconds[1]})
