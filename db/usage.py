"""What the work costs: seconds of computing and bytes of each attempt, and the age of scenes at their alerts.

Both are sums that grow with each attempt and alert, in its transaction: reading them does not depend on how much was
observed, and restarts lose nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from enum import StrEnum
from math import inf
from uuid import UUID

from sqlalchemy import Connection, text

#: Upper limits of the age classes of scenes at their alerts, seconds.
AGE_LIMITS = (300.0, 900.0, 1800.0, 3600.0, 7200.0, 21600.0, 43200.0, 86400.0, 172800.0, 604800.0, inf)

_ADD = text(
    """
    INSERT INTO segwatch.usage AS u
        (watch_name, month, model_version, outcome, attempts, compute_seconds, bytes_read, area_km2)
    SELECT s.watch_name, CAST(date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC') AS date), o.model_version,
           :outcome, 1, :compute_seconds, :bytes_read,
           CASE WHEN :outcome = 'observed' THEN coalesce(o.area_km2, 0) ELSE 0 END
    FROM segwatch.observation o JOIN segwatch.series s ON s.id = o.series_id WHERE o.id = :id
    ON CONFLICT (watch_name, month, model_version, outcome) DO UPDATE
    SET attempts = u.attempts + 1, compute_seconds = u.compute_seconds + excluded.compute_seconds,
        bytes_read = u.bytes_read + excluded.bytes_read, area_km2 = u.area_km2 + excluded.area_km2
    """
)
_ADD_AGES = text(
    """
    INSERT INTO segwatch.alert_age AS a (watch_name, up_to_seconds, alerts, seconds)
    VALUES (:watch, :limit, :alerts, :seconds)
    ON CONFLICT (watch_name, up_to_seconds) DO UPDATE
    SET alerts = a.alerts + excluded.alerts, seconds = a.seconds + excluded.seconds
    """
)


class AttemptOutcome(StrEnum):
    """How an attempt at an observation ended."""

    OBSERVED = "observed"
    UNUSABLE = "unusable"
    """Too little of the area is imaged and clear."""
    SATURATED = "saturated"
    """Its rendering says nothing about the ground: saturated, constant, or of the wrong range."""
    TILES = "tiles"
    """The segmenter failed on too many tiles."""
    SCENE = "scene"
    """Its files cannot be used."""
    SOURCE = "source"
    """Its host did not respond or refused the credentials; not counted as an attempt at the scene."""
    MACHINE = "machine"
    """Disk, memory or device of the worker; not counted as an attempt at the scene."""


#: Outcomes of scenes whose rendering was judged.
JUDGED = frozenset({AttemptOutcome.OBSERVED, AttemptOutcome.UNUSABLE, AttemptOutcome.SATURATED})


def record_attempt(
    conn: Connection,
    observation_id: UUID,
    outcome: AttemptOutcome,
    *,
    compute_seconds: float = 0.0,
    bytes_read: float = 0.0,
) -> None:
    """Add an attempt to the sums of its watch; call it last, in the transaction that records the outcome.

    The row of a watch stays locked until the commit, so that only short transactions may follow each other on it.
    """
    values = {
        "id": observation_id,
        "outcome": outcome.value,
        "compute_seconds": compute_seconds,
        "bytes_read": bytes_read,
    }
    conn.execute(_ADD, values)


def record_alert_ages(conn: Connection, watch: str, ages_seconds: Iterable[float]) -> None:
    """Add alerts of a watch by the age that their scenes had, seconds."""
    classes: dict[float, list[float]] = defaultdict(list)
    for age in ages_seconds:
        classes[next(limit for limit in AGE_LIMITS if age <= limit)].append(max(age, 0.0))
    # sorted, so that two transactions of one watch cannot deadlock
    rows = [
        {"watch": watch, "limit": limit, "alerts": len(ages), "seconds": sum(ages)}
        for limit, ages in sorted(classes.items())
    ]
    if rows:
        conn.execute(_ADD_AGES, rows)
