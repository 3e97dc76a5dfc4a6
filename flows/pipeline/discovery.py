"""Search a watch's catalog for scenes, and queue an observation for each new one.

A watch may name a fallback: another catalog of the same scenes, which is searched while the first does not answer or is
silent. Its items count as items of the watch's catalog, so whichever shows a scene first, it is observed once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Concatenate, ParamSpec
from uuid import UUID

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from segwatch.db import (
    catalog_alarms,
    discoveries,
    fallbacks,
    observations,
    revisits,
    scenes,
    watch_actions,
    watches,
    watermarks,
)
from segwatch.db.errors import UnknownWatch, describe_error
from segwatch.db.watches import StoredWatch
from segwatch.flows.errors import ConfigError, WatchPaused
from segwatch.flows.failures.reasons import Reasons
from segwatch.geo.bounded import operations
from segwatch.geo.clock import ITEM_TOLERANCE
from segwatch.geo.errors import CatalogUnreachable, SearchIncomplete
from segwatch.geo.identity import identify_watch_catalog
from segwatch.geo.revisits import find_revisits, find_silence, measure_lag
from segwatch.geo.scenes import group_scenes, select_newest
from segwatch.geo.sources.http import hrefs
from segwatch.geo.sources.search.catalog import Catalog, open_catalog, require_collection
from segwatch.geo.sources.search.collections import CollectionInfo
from segwatch.geo.sources.search.item_search import RejectedItem, search
from segwatch.geo.sources.search.watermark import (
    CatalogSearch,
    UpdateTimes,
    advance,
    plan_searches,
    split_period,
)
from segwatch.geo.text.redaction import to_public_url
from segwatch.geo.types.revisits import MAX_LAG
from segwatch.geo.types.scene import Item, Scene, Watermark
from segwatch.geo.types.watch import Watch

_log = logging.getLogger(__name__)
_P = ParamSpec("_P")
#: Footprints of one product differ by less between catalogs.
_RIM_DEGREES = 0.001


@dataclass(slots=True)
class DiscoveryCounts:
    """Counts of one discovery."""

    watch: str
    items: int = 0
    """Usable items."""
    rejected: int = 0
    """Items recorded as rejected, with a reason."""
    scenes: int = 0
    queued: int = 0
    """New observations."""
    reasons: Reasons = field(default_factory=Reasons)
    """Why items were rejected -> how many."""
    note: str = ""
    """What the catalog says about the collection, when nothing was found; or why the fallback was searched."""

    def add(self, supplied: DiscoveryCounts | None) -> None:
        """Add the counts of the fallback catalog; None = there is none."""
        if supplied is None:
            return
        self.items += supplied.items
        self.rejected += supplied.rejected
        self.scenes += supplied.scenes
        self.queued += supplied.queued
        self.reasons.update(supplied.reasons)
        self.note = (
            f"the catalog is silent, so the fallback catalog was searched, too. {supplied.note}".rstrip()
        )


def _record_outcome(
    search_all: Callable[Concatenate[Engine, str, _P], DiscoveryCounts],
) -> Callable[Concatenate[Engine, str, _P], DiscoveryCounts]:
    """Record in the ledger whether the catalog responded: a silent catalog differs from one without new items.

    A search that was not narrowed to a period fulfils the request that a catalog's announcement left. Of a watch with a
    fallback, a catalog that did not respond is no error while the fallback does.
    """

    @wraps(search_all)
    def searched(engine: Engine, name: str, /, *args: _P.args, **kwargs: _P.kwargs) -> DiscoveryCounts:
        given: dict[str, Any] = dict(kwargs)
        narrowed = given.get("start") is not None or given.get("end") is not None
        with engine.connect() as conn:
            began_at = None if narrowed else discoveries.read_clock(conn)
        try:
            found = search_all(engine, name, *args, **kwargs)
        except (ConfigError, UnknownWatch, WatchPaused):
            raise  # no request was sent
        except Exception as error:
            reason = describe_error(error)
            _record(engine, lambda conn: discoveries.record_failure(conn, name, reason))
            if not narrowed:
                _record(
                    engine, lambda conn: compare_with_expected(conn, name, _find_now(given), is_shown=False)
                )
            supplied = None
            if isinstance(error, CatalogUnreachable):
                supplied = search_fallback(engine, name, **given)
            if supplied is None:
                raise
            supplied.note = (
                f"{reason}; the fallback catalog was searched in its place. {supplied.note}".rstrip()
            )
            return supplied
        _record(engine, lambda conn: discoveries.record_success(conn, name, began_at=began_at))
        if not narrowed:
            _record(engine, lambda conn: compare_with_expected(conn, name, _find_now(given)))
            if _is_silent(engine, name):
                found.add(search_fallback(engine, name, **given))
        return found

    return searched


def _find_now(given: Mapping[str, object]) -> datetime:
    moment = given.get("now")
    return moment if isinstance(moment, datetime) else datetime.now(UTC)


def _is_silent(engine: Engine, name: str) -> bool:
    with engine.connect() as conn:
        return catalog_alarms.is_silent(conn, name)


def compare_with_expected(conn: Connection, name: str, now: datetime, *, is_shown: bool = True) -> None:
    """Store which acquisitions the catalog of a watch should have shown until now, and how late it publishes.

    The channels of the watch are told once the catalog has shown nothing of any orbit for too many revisits, and again
    when it shows scenes.

    Parameters
    ----------
    is_shown
        False where the catalog did not respond: what it lacks is not known, but that nothing came is.
    """
    watch = watches.load_current(conn, name).watch
    catalog = identify_watch_catalog(watch)
    shown = revisits.list_acquisitions(conn, name, catalog)
    lag = measure_lag(shown)
    until = now if watch.end is None else min(now, watch.end)
    supplied = fallbacks.list_supplied(conn, name, catalog)
    found = find_revisits(shown, since=watch.start, now=until, lag=lag, supplied=supplied)
    if is_shown:
        revisits.save(conn, name, catalog, found, lag)
    silence = find_silence(found)
    if silence is not None:
        catalog_alarms.raise_silence(conn, watch, catalog, silence)
    elif is_shown:
        last_at = max((one.last_at for one in found), default=None)
        catalog_alarms.end_silence(conn, watch, catalog, last_at)


def _record(engine: Engine, write: Callable[[Connection], None]) -> None:
    """Write in a transaction; a failure is only logged, so that it does not hide the search's own error."""
    try:
        with engine.begin() as conn:
            write(conn)
    except SQLAlchemyError as error:
        _log.warning("the outcome of the search could not be recorded: %s", describe_error(error))


@_record_outcome
def discover_watch(
    engine: Engine,
    name: str,
    *,
    model_version: str,
    start: datetime | None = None,
    end: datetime | None = None,
    now: datetime | None = None,
) -> DiscoveryCounts:
    """Search the watch's catalog and queue an observation for each new scene.

    Without ``start`` and ``end`` the watch's watermark decides which searches are needed, see
    :mod:`segwatch.geo.sources.search.watermark`. Each search commits its results together with the watermark, so that
    an interrupted discovery continues there.

    Parameters
    ----------
    model_version
        Series that the observations are queued for.
    start, end
        Narrow the watch's own period; UTC where they name no zone.
    now
        Time of the search; None = the current time.

    Raises
    ------
    segwatch.db.errors.UnknownWatch
        No watch has this name.
    WatchPaused
        The watch is paused.
    ConfigError
        Nothing can lie in the period.
    segwatch.geo.errors.CatalogUnreachable
        The catalog did not respond after retries; nothing of the failed search is stored.
    segwatch.geo.errors.SearchIncomplete
        The catalog's result may be incomplete. The items found are queued; the watermark does not move.
    segwatch.geo.errors.NoSuchCollection
        Nothing was found because the catalog does not have the collection.
    """
    require_active(engine, name)
    with engine.begin() as conn:
        stored = watches.load_current(conn, name)
        mark = watermarks.load(conn, stored.revision_id)
    watch, moment = stored.watch, now or datetime.now(UTC)
    start, end = _in_zone(start), _in_zone(end)
    _check_period(watch, start, end)
    since = max(watch.start, start) if start else watch.start
    # no scene was acquired in the future, and people write 9999-12-31 for "no end"
    latest = max(moment, datetime.now(UTC)) + ITEM_TOLERANCE
    until = min(filter(None, (watch.end, end, latest if watch.end or end else moment)))
    catalog = open_catalog(watch.catalog)
    if start is not None or end is not None:
        planned = split_period(since, until, in_parts=catalog.is_api)
        keeper = _Keeper(engine, stored, model_version, moment, None)
    else:
        planned = plan_searches(mark, watch.profile, since, until, moment, in_parts=catalog.is_api)
        keeper = _Keeper(engine, stored, model_version, moment, mark)
    for look, last in _mark_last(planned):
        found, incomplete = _search(catalog, watch, look)
        if not found and incomplete is None and look.updated_after is None and not keeper.report.note:
            # catalogs respond to a search of a missing collection as if it had no new items
            held = require_collection(catalog, watch.profile)
            keeper.report.note = _describe_collection(held, catalog, watch)
        keeper.keep(look, found, last=last, complete=incomplete is None)
        if incomplete is not None:
            raise incomplete
    if keeper.report.items or keeper.report.rejected:
        keeper.report.note = ""
    _log.info("discover %s", asdict(keeper.report))
    return keeper.report


def search_fallback(
    engine: Engine,
    name: str,
    *,
    model_version: str,
    start: datetime | None = None,
    end: datetime | None = None,
    now: datetime | None = None,
) -> DiscoveryCounts | None:
    """Search the fallback catalog of a watch for scenes that are not known; None where it has none, or does not answer.

    It is searched from a month before the newest known scene on, unless a period is given. What of a scene is known
    already, by the id or the ground of its items, is left out. The watermark stays as it is.
    """
    with engine.connect() as conn:
        stored = watches.load_current(conn, name)
        watch = stored.watch
        newest = fallbacks.find_newest(conn, name, identify_watch_catalog(watch))
    if not watch.fallback:
        return None
    moment, start, end = now or datetime.now(UTC), _in_zone(start), _in_zone(end)
    since = max(watch.start, start or (watch.start if newest is None else newest - MAX_LAG))
    until = min(filter(None, (watch.end, end, moment)))
    keeper = _Keeper(engine, stored, model_version, moment, None)
    try:
        catalog = open_catalog(watch.fallback)
        for look in split_period(since, until, in_parts=catalog.is_api):
            found, incomplete = _search(catalog, watch, look)
            keeper.keep_supplied(found)
            if incomplete is not None:
                keeper.report.note = f"fallback: {incomplete}"
    except CatalogUnreachable as error:
        _log.warning("watch %s: its fallback catalog failed, too: %s", name, error)
        return None if keeper.report.items == 0 else keeper.report
    _log.info("discover in the fallback catalog %s", asdict(keeper.report))
    return keeper.report


def _check_period(watch: Watch, start: datetime | None, end: datetime | None) -> None:
    """Refuse a period in which nothing can be found."""
    begins, ends = start or watch.start, end or watch.end
    if start is not None and end is not None and end <= start:
        raise ConfigError(f"the period ends at {end} before it begins at {start}; exchange the two")
    if (start or end) and ((watch.end and begins >= watch.end) or (ends and ends <= watch.start)):
        until = watch.end or "now"
        raise ConfigError(
            f"the period from {begins} to {ends or 'now'} is outside the watch's period, {watch.start} to {until}"
        )


def require_active(engine: Engine, name: str) -> None:
    """Check that a watch is not paused.

    Raises
    ------
    WatchPaused
        The watch is paused.
    """
    with engine.connect() as conn:
        pause = watch_actions.find_pause(conn, name)
    if pause is not None:
        raise WatchPaused(f"{pause}; to go on: segwatch watch resume {name}")


def _search(
    catalog: Catalog, watch: Watch, look: CatalogSearch
) -> tuple[list[Item | RejectedItem], SearchIncomplete | None]:
    """Results of a search, and the error if they may be incomplete."""
    found: list[Item | RejectedItem] = []
    period = look.start, look.end
    try:
        every = search(
            catalog,
            watch.profile,
            watch.area,
            *period,
            updated_after=look.updated_after,
            identity=identify_watch_catalog(watch),
        )
        for one in every:
            found.append(one)
    except SearchIncomplete as error:
        return found, error
    return found, None


def _describe_collection(held: CollectionInfo | None, catalog: Catalog, watch: Watch) -> str:
    """Explain to a person why nothing was found."""
    where = hrefs.redact_href(catalog.url)
    if held is None:
        return f"{where} responded and has nothing here in this period"
    covers = f", which covers {held.extent}," if held.extent else ""
    return f"{where} has collection {held.name!r}{covers} and nothing of it here in this period"


def _in_zone(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


class _Keeper:
    """Stores the results of each search, its queued observations and the watermark in one transaction.

    Parameters
    ----------
    mark
        The watch's watermark; None for a narrowed period, which does not move it.
    """

    def __init__(
        self, engine: Engine, stored: StoredWatch, model_version: str, now: datetime, mark: Watermark | None
    ) -> None:
        self.report = DiscoveryCounts(stored.watch.name)
        self._engine = engine
        self._stored = stored
        self._model_version = model_version
        self._now = now
        self._mark = mark
        # an interrupted comparison does not know which items it saw before
        self._updated = UpdateTimes(every=mark is None or mark.reconciling_to is None)
        self._whole = self._updated.every
        self._rejected: set[RejectedItem] = set()
        self._rejections: set[UUID] = set()

    def keep(
        self, look: CatalogSearch, found: Sequence[Item | RejectedItem], *, last: bool, complete: bool
    ) -> None:
        """Store the results of one search; only a ``complete`` one moves the watermark.

        ``last`` is as in :func:`segwatch.geo.sources.search.watermark.advance`.
        """
        items = [one for one in found if isinstance(one, Item)]
        # an item without a time may be found in every part of the period
        rejected = {one for one in found if isinstance(one, RejectedItem)} - self._rejected
        self._rejected |= rejected
        for item in items:
            self._updated.add(item.updated_at, self._now)
        # with superseded versions: every item that the catalog holds must be accounted for
        grouped = group_scenes(items, all_versions=True)
        with self._engine.begin() as conn:
            self._reject(conn, rejected)
            scenes.end_rejections(conn, self._stored.watch.name, items, self._rejections)
            scene_ids = scenes.upsert(conn, grouped)
            scenes.settle(conn, scene_ids, select_newest)
            fallbacks.record_shown(conn, scene_ids)
            revision = self._stored.revision_id
            self.report.queued += observations.enqueue(conn, revision, self._model_version, scene_ids)
            if self._mark is not None and complete:
                self._mark = advance(self._mark, look, self._updated, last=last, now=self._now)
                watermarks.save(conn, revision, self._mark)
                if look.reconciles and last and self._whole:
                    scenes.end_missing_rejections(conn, self._stored.watch.name, self._rejections)
        self.report.items += len(items)
        self.report.scenes += len(grouped)
        self._count_rejected(rejected)

    def keep_supplied(self, found: Sequence[Item | RejectedItem]) -> None:
        """Store what a fallback catalog shows and the ledger does not know."""
        watch = self._stored.watch
        shown = group_scenes([one for one in found if isinstance(one, Item)])
        rejected = {one for one in found if isinstance(one, RejectedItem)} - self._rejected
        self._rejected |= rejected
        with self._engine.begin() as conn:
            self._reject(conn, rejected)
            known = fallbacks.read_known(conn, {scene.key for scene in shown})
            new = [item for scene in shown for item in select_unknown(scene, known.get(scene.key), watch)]
            grouped = group_scenes(new, all_versions=True)
            scene_ids = scenes.upsert(conn, grouped)
            scenes.settle(conn, scene_ids, select_newest)
            first_shown = {
                scene.key for scene in grouped if scene.key not in known or known[scene.key].is_supplied
            }
            fallbacks.record_supplied(conn, first_shown, to_public_url(watch.fallback, query=False))
            revision = self._stored.revision_id
            self.report.queued += observations.enqueue(conn, revision, self._model_version, scene_ids)
        self.report.items += len(new)
        self.report.scenes += len(grouped)
        self._count_rejected(rejected)

    def _count_rejected(self, rejected: Collection[RejectedItem]) -> None:
        self.report.rejected += len(rejected)
        for one in sorted(rejected, key=lambda one: (one.item_id, one.reason)):
            self.report.reasons.add(one.reason)

    def _reject(self, conn: Connection, rejected: Iterable[RejectedItem]) -> None:
        watch = self._stored.watch
        for one in sorted(rejected, key=lambda one: one.item_id):
            _log.warning("watch %s: item %s rejected: %s", watch.name, one.item_id, one.reason)
            collection = watch.profile.collection
            revision = self._stored.revision_id
            identity = scenes.reject(
                conn,
                revision,
                one.item_id,
                collection,
                one.href or "",
                one.reason,
                acquired_at=one.acquired_at,
                footprint=one.footprint,
            )
            self._rejections.add(identity)


def select_unknown(scene: Scene, known: fallbacks.KnownScene | None, watch: Watch) -> list[Item]:
    """Select the items of a scene whose id the ledger does not know, and that show ground of the AOI that it lacks.

    Two catalogs may give one product two ids; its ground is the same.
    """
    if known is None:
        return list(scene.items)
    covered = known.footprint.buffer(_RIM_DEGREES)
    return [
        item
        for item in scene.items
        if item.id not in known.item_ids
        and not operations.intersection(item.footprint, watch.area).within(covered)
    ]


def _mark_last(planned: Iterable[CatalogSearch]) -> Iterator[tuple[CatalogSearch, bool]]:
    every = list(planned)
    for look in every:
        yield look, look is every[-1]
