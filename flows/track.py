"""track: fold answered observations into their series and publish each in one transaction."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from prefect import flow
from sqlalchemy import Connection, Engine

from segwatch.db import rederiving, tracks
from segwatch.flows.assemble import worker_engine
from segwatch.flows.settings import load_settings
from segwatch.geo.tracking.history import Look, refold
from segwatch.geo.tracking.replay import advance
from segwatch.geo.tracking.rules import matching
from segwatch.geo.types import TrackingStep

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tracked:
    """Counts of one pass over the series that had answered observations."""

    observations: int = 0
    alerts: int = 0
    changes: dict[str, int] = field(default_factory=dict)
    """Changes by kind."""


def track_ready(engine: Engine) -> Tracked:
    """Publish every observation whose turn has come, series by series, oldest first.

    An observation waits while an earlier one of its series is still pending or leased, so order inside
    a series is kept however many workers answer scenes. Killed at any point, the next pass goes on where
    the last commit ended.
    """
    total = Tracked()
    with engine.connect() as conn:
        series = tracks.ready_series(conn)
    for series_id in series:
        while True:
            with engine.begin() as conn:
                if not _publish_next(conn, series_id, total):
                    break
    if total.observations:
        _log.info("track %s", asdict(total))
    return total


def _publish_next(conn: Connection, series_id: UUID, total: Tracked) -> bool:
    """Publish the series' next observation in this transaction; False when none is ready."""
    tracks.lock(conn, series_id)
    ready = tracks.next_ready(conn, series_id)
    if ready is None:
        return False
    if isinstance(ready, tracks.LateObservations):
        _publish_late(conn, series_id, ready.origin, total)
        return True
    live = tracks.live(conn, series_id, ready.observation.footprint)
    step = advance(
        live,
        ready.observation,
        ready.watch.tracking,
        series_id=series_id,
        origin=ready.origin,
        baseline=ready.baseline,
    )
    alerts = matching(ready.watch.rules, step.changes)
    tracks.publish(conn, series_id, ready.observation.id, step, alerts)
    total.observations += 1
    total.alerts += len(alerts)
    _count(total, step)
    return True


def _publish_late(conn: Connection, series_id: UUID, origin: tuple[float, float], total: Tracked) -> None:
    """Fold everything from the earliest late observation on anew, and publish the difference."""
    old = rederiving.past(conn, series_id, tracks.detections)
    looks = [Look(one.observation, one.watch.tracking, one.baseline) for one in old.looks]
    steps = refold(old.before, looks, series_id=series_id, origin=origin)
    chosen = {
        step.observation_id: matching(look.watch.rules, step.changes)
        for look, step in zip(old.looks, steps, strict=True)
    }
    total.alerts += rederiving.publish(conn, series_id, old, steps, chosen)
    total.observations += len(old.arriving)
    for step in steps:
        if step.observation_id in old.arriving:
            _count(total, step)
    _log.info("series %s: %d late observation(s), %d folded again", series_id, len(old.arriving), len(looks))


def _count(total: Tracked, step: TrackingStep) -> None:
    for change in step.changes:
        total.changes[change.kind.value] = total.changes.get(change.kind.value, 0) + 1


@flow(name="track", log_prints=False)
def track() -> dict[str, Any]:
    """Publish what is ready."""
    engine = worker_engine(load_settings())
    try:
        return asdict(track_ready(engine))
    finally:
        engine.dispose()
