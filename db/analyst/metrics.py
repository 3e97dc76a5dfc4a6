"""What a monitoring system and the cost report ask: state of each watch, cost by month, age of scenes at alerts."""

from __future__ import annotations

from sqlalchemy import Connection, text

from segwatch.db.analyst.rows import Rows, fetch_rows
from segwatch.db.usage import JUDGED, AttemptOutcome

_METRICS = text("SELECT * FROM watch.metrics()")
_AGES = text("SELECT * FROM watch.alert_ages()")
_USAGE = text(
    """
    SELECT * FROM watch.usage() u
    WHERE (CAST(:watch AS text) IS NULL OR u.watch = :watch)
      AND (CAST(:month AS text) IS NULL OR to_char(u.month, 'YYYY-MM') = :month)
    """
)

_RENDERINGS = text(
    """
    SELECT u.watch, CAST(sum(u.attempts) AS bigint) AS judged,
           CAST(coalesce(sum(u.attempts) FILTER (WHERE u.outcome = :saturated), 0) AS bigint) AS saturated
    FROM watch.usage() u
    WHERE to_char(u.month, 'YYYY-MM') = :month AND u.outcome = ANY (CAST(:judged AS text[]))
    GROUP BY u.watch ORDER BY u.watch
    """
)


def list_metrics(conn: Connection) -> Rows:
    """List the state of each watch, by name; see the database function ``watch.metrics``."""
    return fetch_rows(conn, _METRICS)


def list_alert_ages(conn: Connection) -> Rows:
    """List the classes of age of scenes at their alerts; see the database function ``watch.alert_ages``."""
    return fetch_rows(conn, _AGES)


def list_usage(conn: Connection, *, watch: str | None = None, month: str | None = None) -> Rows:
    """List what watches cost by month, model and outcome; ``month`` is ``YYYY-MM``. None = all."""
    return fetch_rows(conn, _USAGE, watch=watch, month=month)


def list_renderings(conn: Connection, month: str) -> Rows:
    """List how many scenes of a month (``YYYY-MM``) were judged, and how many of these were ``saturated``."""
    judged = sorted(JUDGED)
    return fetch_rows(conn, _RENDERINGS, month=month, judged=judged, saturated=AttemptOutcome.SATURATED)
