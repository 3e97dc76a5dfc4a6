"""Questions people ask of the ledger, as rows. Reads only.

About a watch that was never applied each raises :class:`segwatch.db.errors.NotFound`; see :func:`watches.require`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Engine, text

from segwatch.db import watches, watermarks

_COVERAGE = text(
    """
    SELECT c.observation_id, c.acquired_at, c.state, c.reason, c.attempts, c.clear_share, c.item_hrefs,
           (SELECT count(*) FROM segwatch.detection d WHERE d.observation_id = c.observation_id) AS detections
    FROM watch.coverage c
    WHERE c.watch = :watch AND (c.state <> 'rejected' OR c.superseded_at IS NULL)
    ORDER BY c.acquired_at NULLS LAST, c.observation_id
    """
)
_WHY_NOT = text(
    """
    SELECT n.*, c.reason FROM watch.why_not(:lon, :lat, :at, :watch) n
    LEFT JOIN watch.coverage c ON c.observation_id = n.observation_id
    ORDER BY n.acquired_at NULLS LAST, n.observation_id
    """
)
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
           (SELECT count(*) FROM watch.coverage c WHERE c.watch = w.watch AND c.state = 'rejected'
              AND c.superseded_at IS NULL) AS rejected,
           (SELECT count(*) FROM watch.objects_now o WHERE o.watch = w.watch) AS objects,
           (SELECT coalesce(sum(o.area_m2), 0) FROM watch.objects_now o WHERE o.watch = w.watch) / 1e4 AS hectares,
           (SELECT count(*) FROM watch.changes k WHERE k.watch = w.watch AND k.retracted_at IS NULL) AS changes,
           (SELECT count(*) FROM watch.alerts a WHERE a.watch = w.watch AND a.retracted_at IS NULL) AS alerts,
           (SELECT count(*) FROM watch.alerts a WHERE a.watch = w.watch AND a.retracted_at IS NULL
              AND a.delivered_at IS NOT NULL) AS delivered
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
    """Every observation and every rejected item of a watch, oldest first, with its state and reason.

    Those of unknown time come last.
    """
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
    """Why there is no alert at a point, for the observations and rejected items up to ``at``."""
    with engine.connect() as conn:
        watches.require(conn, watch)
        parameters = {"watch": watch, "lon": lon, "lat": lat, "at": at}
        return [dict(row) for row in conn.execute(_WHY_NOT, parameters).mappings()]


def unsearched(engine: Engine, watch: str) -> bool:
    """Whether the catalog of a watch was never searched to the end: scenes that are missing here may be there."""
    with engine.connect() as conn:
        return watermarks.unsearched(conn, watch)


def summary(engine: Engine) -> list[dict[str, Any]]:
    """One row a watch: observations by outcome, objects, area, changes, alerts."""
    with engine.connect() as conn:
        return [dict(row) for row in conn.execute(_SUMMARY).mappings()]
