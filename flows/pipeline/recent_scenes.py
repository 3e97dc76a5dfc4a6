"""Find the scenes of an area that were acquired last, without searching a whole catalog."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import chain

from shapely.geometry.base import BaseGeometry

from segwatch.flows.config.times import EARLIEST
from segwatch.flows.errors import FlowError
from segwatch.geo.errors import SearchIncomplete
from segwatch.geo.identity import identify_watch_catalog
from segwatch.geo.scenes import estimate_clear_share, group_scenes
from segwatch.geo.sources.http.deadline import call_within
from segwatch.geo.sources.search.catalog import open_catalog, require_collection
from segwatch.geo.sources.search.item_search import RejectedItem, search
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.watch import Watch

#: A scene that shows less of the area is not clear, 0 to 1.
MIN_CLEAR = 0.5
#: Lengths of the periods that are searched one after another, back from the newest, in days; the last one is all.
_PERIODS_DAYS = (30.0, 335.0, 4 * 365.0)
#: Items of one period; more are not listed.
_MAX_ITEMS = 1000


def find_recent_scenes(watch: Watch, until: datetime, seconds: float) -> list[Scene]:
    """Find the newest scenes of a watch's area: those that look clear first, then the others.

    Clear ones are sorted by time, the newest first, the others by how clear they are. The search goes back in time,
    further at each step, until one scene looks clear by the cloud cover that the catalog tells. The period of the watch
    does not count.

    Parameters
    ----------
    until
        Only scenes acquired up to then.
    seconds
        Time limit.

    Raises
    ------
    FlowError
        There is no usable scene, or the catalog did not respond in time.
    segwatch.geo.errors.CatalogUnreachable
        The catalog does not respond, or does not have the collection.
    """
    try:
        found, rejected = call_within(seconds, lambda: _search_back(watch, until))
    except TimeoutError as error:
        raise FlowError(
            f"the catalog did not list its scenes of this area within {seconds:.0f} s; try a smaller area, or later"
        ) from error
    if not found and rejected:
        raise FlowError(
            f"none of the {len(rejected)} item(s) of this area can be used, for example {rejected[0].item_id}: "
            f"{rejected[0].reason}"
        )
    if not found:
        raise FlowError(
            f"the catalog has no scene of this area up to {until:%Y-%m-%d}; choose another area, source or date"
        )
    return _sort(found, watch.area)


def _search_back(watch: Watch, until: datetime) -> tuple[list[Scene], list[RejectedItem]]:
    catalog, identity = open_catalog(watch.catalog), identify_watch_catalog(watch)
    require_collection(catalog, watch.profile)
    items: list[Item] = []
    rejected: list[RejectedItem] = []
    for start, end in _list_periods(until):
        listed = 0
        try:
            for one in search(catalog, watch.profile, watch.area, start, end, identity=identity):
                if isinstance(one, Item):
                    items.append(one)
                else:
                    rejected.append(one)
                listed += 1
                if listed >= _MAX_ITEMS:
                    break
        except SearchIncomplete:
            if not items:
                raise
            # for a trial, what is there is enough
        scenes = group_scenes(items)
        if any(estimate_clear_share(scene, watch.area) >= MIN_CLEAR for scene in scenes):
            break
    return group_scenes(items), rejected


def _list_periods(until: datetime) -> Iterator[tuple[datetime, datetime]]:
    end = until
    for days in chain(_PERIODS_DAYS, [None]):
        start = EARLIEST if days is None else max(EARLIEST, end - timedelta(days=days))
        yield start, end
        if start <= EARLIEST:
            return
        end = start


def _sort(scenes: Sequence[Scene], area: BaseGeometry) -> list[Scene]:
    shares = {scene.key: estimate_clear_share(scene, area) for scene in scenes}
    newest = sorted(scenes, key=lambda scene: scene.acquired_at, reverse=True)
    return sorted(newest, key=lambda scene: -min(shares[scene.key], MIN_CLEAR))
