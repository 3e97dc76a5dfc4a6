"""Alerts with their status, for the command line, the map and the feeds."""

from __future__ import annotations

import enum
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from segwatch.db.analyst.rows import Rows, fetch_rows


class ChangeStatus(enum.StrEnum):
    """Status of the change of an alert, to choose alerts by."""

    CONFIRMED = "confirmed"
    PROVISIONAL = "provisional"
    REFUTED = "refuted"
    NOT_JUDGED = "not judged"


_LIST = text(
    """
    SELECT alert_id, created_at, rule, kind, target, valid_at, before_m2, after_m2, retracted_at, delivered_at,
           deliveries_pending, deliveries_failed, deliveries_withdrawn, status, status_by, status_note, snoozed_until,
           change_status, confidence, observations_for, observations_against,
           (SELECT c.confidence_calibrated FROM watch.changes c WHERE c.change_id = alerts.change_id)
               AS confidence_calibrated
    FROM watch.alerts WHERE watch = :watch AND (NOT CAST(:unresolved AS boolean) OR status <> 'resolved')
    ORDER BY created_at DESC, alert_id LIMIT :limit
    """
)
_COUNT = text(
    """
    SELECT count(*) FROM watch.alerts
    WHERE watch = :watch AND (NOT CAST(:unresolved AS boolean) OR status <> 'resolved')
    """
)
_WITH_CORRECTIONS = """
    SELECT a.alert_id, a.track_id, a.watch, a.rule, a.kind, a.target, a.valid_at, a.created_at, a.before_m2, a.after_m2,
           a.geom, a.retracted_at, a.retracted_because, a.item_hrefs, a.model, c.score, o.instruction,
           c.confidence_calibrated, a.change_status, a.confidence, a.observations_for, a.observations_against,
           a.evidence, a.shadow_share, a.shadow_iou, a.accuracy, k.corrections, k.corrected_at
    FROM watch.alerts a JOIN watch.changes c ON c.change_id = a.change_id
    JOIN watch.coverage o ON o.observation_id = a.observation_id
    CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(n.kind ORDER BY n.ordinal), '{}') AS corrections,
               coalesce(array_agg(n.recorded_at ORDER BY n.ordinal), '{}') AS corrected_at
        FROM watch.alert_corrections n WHERE n.alert_id = a.alert_id) k
"""
_FOR_FEED = text(
    _WITH_CORRECTIONS
    + " WHERE a.watch = :watch ORDER BY greatest(a.created_at, k.corrected_at[cardinality(k.corrected_at)]) DESC,"
    " a.alert_id LIMIT :limit"
)
_ONE_FOR_FEED = text(_WITH_CORRECTIONS + " WHERE a.alert_id = :alert_id")


def list_alerts(conn: Connection, watch: str, *, unresolved: bool = False, limit: int = 200) -> Rows:
    """List the newest alerts of a watch with their status and deliveries; ``unresolved`` leaves out resolved ones."""
    return fetch_rows(conn, _LIST, watch=watch, unresolved=unresolved, limit=limit)


def count_alerts(conn: Connection, watch: str, *, unresolved: bool = False) -> int:
    """Count the alerts that :func:`list_alerts` would return without a limit."""
    return int(conn.execute(_COUNT, {"watch": watch, "unresolved": unresolved}).scalar_one())


def list_alerts_for_feed(conn: Connection, watch: str, limit: int) -> tuple[Rows, int]:
    """List the alerts of a watch that were raised or corrected last, with their corrections.

    Returns
    -------
    tuple[Rows, int]
        At most ``limit`` alerts, ``geom`` as hex EWKB, and the number of all alerts.
    """
    rows = fetch_rows(conn, _FOR_FEED, watch=watch, limit=limit)
    return rows, count_alerts(conn, watch)


def read_alert_for_feed(conn: Connection, alert_id: UUID) -> dict[str, Any] | None:
    """Read one alert as :func:`list_alerts_for_feed` lists it; None if there is no such alert."""
    rows = fetch_rows(conn, _ONE_FOR_FEED, alert_id=alert_id)
    return rows[0] if rows else None
