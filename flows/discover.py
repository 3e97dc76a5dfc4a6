"""discover: find scenes of a watch in its catalog and queue one observation each."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from prefect import flow
from sqlalchemy import Engine

from segwatch.db import observations, scenes, watches
from segwatch.flows.assemble import worker_engine
from segwatch.flows.errors import ConfigError
from segwatch.flows.segmenters import version_of
from segwatch.flows.settings import load_settings
from segwatch.geo.scenes import group
from segwatch.geo.sources.catalog import Rejected, search
from segwatch.geo.types import Item

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Discovered:
    """Counts of one look into a catalog; ``items`` = usable ones, ``rejected`` = recorded with a reason."""

    watch: str
    items: int
    rejected: int
    scenes: int
    queued: int
    """Observations that were not there before."""


def discover_watch(
    engine: Engine,
    name: str,
    *,
    model_version: str,
    start: datetime | None = None,
    end: datetime | None = None,
) -> Discovered:
    """Search the watch's catalog and queue what is new. ``start``/``end`` narrow the watch's own period.

    Raises
    ------
    ConfigError
        The watch does not exist.
    segwatch.geo.errors.CatalogUnreachable
        The catalog did not answer after retries; nothing is written.
    """
    with engine.begin() as conn:
        if name not in watches.names(conn):
            raise ConfigError(f"watch {name!r} is not in the ledger; run `segwatch apply FILE` first")
        stored = watches.current(conn, name)
    watch = stored.watch
    since = max(watch.start, start) if start else watch.start
    until = min(filter(None, (watch.end, end)), default=datetime.now(UTC))
    items: list[Item] = []
    rejected: list[Rejected] = []
    for found in search(watch.catalog, watch.profile, watch.area, since, until):
        if isinstance(found, Item):
            items.append(found)
        else:
            rejected.append(found)
    grouped = group(items)
    with engine.begin() as conn:
        for one in rejected:
            _log.warning("watch %s: item %s rejected: %s", name, one.item_id, one.reason)
            scenes.reject(
                conn, stored.revision_id, one.item_id, watch.profile.collection, one.href or "", one.reason
            )
        scene_ids = scenes.upsert(conn, grouped)
        queued = observations.enqueue(conn, stored.revision_id, model_version, scene_ids)
    report = Discovered(name, len(items), len(rejected), len(grouped), queued)
    _log.info("discover %s", asdict(report))
    return report


@flow(name="discover", log_prints=False)
def discover(watch: str, start: datetime | None = None, end: datetime | None = None) -> dict[str, Any]:
    """Queue the new scenes of one watch."""
    settings = load_settings()
    engine = worker_engine(settings)
    try:
        return asdict(discover_watch(engine, watch, model_version=version_of(settings), start=start, end=end))
    finally:
        engine.dispose()
