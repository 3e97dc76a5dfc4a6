"""discover: find scenes of a watch in its catalog and queue one observation each."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from prefect import flow
from sqlalchemy import Engine

from segwatch.db import observations, scenes, watches, watermarks
from segwatch.flows.assemble import worker_engine
from segwatch.flows.errors import ConfigError
from segwatch.flows.segmenters import version_of
from segwatch.flows.settings import load_settings
from segwatch.geo.scenes import group, newest
from segwatch.geo.sources.catalog import Rejected, opened, search
from segwatch.geo.sources.watermark import Look, Updated, after, chunks, looks
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
    now: datetime | None = None,
) -> Discovered:
    """Search the watch's catalog and queue what is new. ``start``/``end`` narrow the watch's own period.

    Without them the watch's watermark decides what has to be asked for, see :mod:`segwatch.geo.sources.watermark`. Each
    search is stored with its queue and the mark, so that one that is stopped goes on there.

    Raises
    ------
    ConfigError
        The watch does not exist.
    segwatch.geo.errors.CatalogUnreachable
        The catalog did not answer after retries; of the search it was asked for nothing is written.
    """
    with engine.begin() as conn:
        if name not in watches.names(conn):
            raise ConfigError(f"watch {name!r} is not in the ledger; run `segwatch apply FILE` first")
        stored = watches.current(conn, name)
        mark = watermarks.load(conn, stored.revision_id)
    watch, moment = stored.watch, now or datetime.now(UTC)
    since = max(watch.start, start) if start else watch.start
    until = min(filter(None, (watch.end, end)), default=moment)
    narrowed = start is not None or end is not None
    catalog = opened(watch.catalog)
    if narrowed:
        planned = chunks(since, until, in_parts=catalog.is_api)
    else:
        planned = looks(mark, watch.profile, since, until, moment, in_parts=catalog.is_api)
    # what was seen before an interrupted comparison stopped is not known any more
    updated = Updated(every=mark.reconciling_to is None)
    report = Discovered(name, 0, 0, 0, 0)
    told: set[Rejected] = set()
    for look, last in _with_last(planned):
        found = list(
            search(
                catalog,
                watch.profile,
                watch.area,
                look.start,
                look.end,
                updated_after=look.updated_after,
            )
        )
        items = [one for one in found if isinstance(one, Item)]
        # an item without a time may be found in every part of the period
        rejected = {one for one in found if isinstance(one, Rejected)} - told
        told |= rejected
        for item in items:
            updated.add(item.updated_at)
        # also what is superseded by something found with it: nothing that a catalog holds is passed over in silence
        grouped = group(items, all_versions=True)
        with engine.begin() as conn:
            for one in sorted(rejected, key=lambda one: one.item_id):
                _log.warning("watch %s: item %s rejected: %s", name, one.item_id, one.reason)
                collection = watch.profile.collection
                scenes.reject(conn, stored.revision_id, one.item_id, collection, one.href or "", one.reason)
            scene_ids = scenes.upsert(conn, grouped)
            scenes.settle(conn, scene_ids, newest)
            queued = observations.enqueue(conn, stored.revision_id, model_version, scene_ids)
            if not narrowed:
                mark = after(mark, look, updated, last=last, now=moment)
                watermarks.save(conn, stored.revision_id, mark)
        report = Discovered(
            name,
            report.items + len(items),
            report.rejected + len(rejected),
            report.scenes + len(grouped),
            report.queued + queued,
        )
    _log.info("discover %s", asdict(report))
    return report


def _with_last(planned: Iterable[Look]) -> Iterator[tuple[Look, bool]]:
    every = list(planned)
    for look in every:
        yield look, look is every[-1]


@flow(name="discover", log_prints=False)
def discover(watch: str, start: datetime | None = None, end: datetime | None = None) -> dict[str, Any]:
    """Queue the new scenes of one watch."""
    settings = load_settings()
    with worker_engine(settings) as engine:
        return asdict(discover_watch(engine, watch, model_version=version_of(settings), start=start, end=end))
