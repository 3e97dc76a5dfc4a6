"""Questions people ask of the ledger, as rows. Reads only.

About a watch that was never applied each raises :class:`segwatch.db.errors.NotFound`; see :func:`watches.require`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Engine, text

from segwatch.db import watches

_COVERAGE = text(
    """
    SELECT c.observation_id, c.acquired_at, c.state, c.reason, c.attempts, c.clear_share, c.item_hrefs,
           (SELECT count(*) FROM segwatch.detection d WHERE d.observation_id = c.observation_id) AS detections
    FROM watch.coverage c WHERE c.watch = :watch ORDER BY c.acquired_at, c.observation_id
    """
)
_WHY_NOT = text("SELECT * FROM watch.why_not(:lon, :lat, :at, :watch) ORDER BY acquired_at")
_REVIEWS = text("SELECT * FROM watch.reviews WHERE watch = :watch ORDER BY decided_at, review_id")
_UPGRADES = text(
    "SELECT * FROM watch.upgrades WHERE watch = :watch AND objects > 0 ORDER BY seed_known_at, series_id, kind"
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
           (SELECT count(*) FROM watch.objects_now o WHERE o.watch = w.watch) AS objects,
           (SELECT coalesce(sum(o.area_m2), 0) FROM watch.objects_now o WHERE o.watch = w.watch) / 1e4 AS hectares,
           (SELECT count(*) FROM watch.changes k WHERE k.watch = w.watch AND k.retracted_at IS NULL) AS changes,
           (SELECT count(*) FROM watch.alerts a WHERE a.watch = w.watch) AS alerts,
           (SELECT count(*) FROM watch.alerts a WHERE a.watch = w.watch AND a.delivered_at IS NOT NULL) AS delivered
    FROM (SELECT DISTINCT watch FROM watch.coverage) w ORDER BY w.watch
    """
)

_STATES = text(
    "SELECT state, count(*) AS n FROM watch.coverage WHERE watch = :watch AND superseded_at IS NULL GROUP BY state"
)


def states(engine: Engine, watch: str) -> dict[str, int]:
    """Number of current observations of a watch by state; empty before the first scene was found."""
    with engine.connect() as conn:
        return {row.state: row.n for row in conn.execute(_STATES, {"watch": watch})}


def coverage(engine: Engine, watch: str) -> list[dict[str, Any]]:
    """Every observation of a watch, oldest first, with its state and reason."""
    with engine.connect() as conn:
        watches.require(conn, watch)
        return [dict(row) for row in conn.execute(_COVERAGE, {"watch": watch}).mappings()]


def reviews(engine: Engine, watch: str) -> list[dict[str, Any]]:
    """Every verdict about the objects of a watch, oldest first."""
    with engine.connect() as conn:
        watches.require(conn, watch)
        return [dict(row) for row in conn.execute(_REVIEWS, {"watch": watch}).mappings()]


def upgrades(engine: Engine, watch: str) -> list[dict[str, Any]]:
    """What each new model or instruction of a watch alone changed, by kind."""
    with engine.connect() as conn:
        watches.require(conn, watch)
        return [dict(row) for row in conn.execute(_UPGRADES, {"watch": watch}).mappings()]


def why_not(engine: Engine, watch: str, lon: float, lat: float, at: datetime) -> list[dict[str, Any]]:
    """Why there is no alert at a point, for the observations up to ``at``."""
    with engine.connect() as conn:
        watches.require(conn, watch)
        parameters = {"watch": watch, "lon": lon, "lat": lat, "at": at}
        return [dict(row) for row in conn.execute(_WHY_NOT, parameters).mappings()]


def summary(engine: Engine) -> list[dict[str, Any]]:
    """One row a watch: observations by outcome, objects, area, changes, alerts."""
    with engine.connect() as conn:
        return [dict(row) for row in conn.execute(_SUMMARY).mappings()]
