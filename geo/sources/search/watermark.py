"""Plan the searches of a catalog so that no item is missed and little is searched twice. Pure.

| items of the catalog | search |
| --- | --- |
| all have an ``updated`` time | items updated since the newest time found, minus an overlap of an hour |
| some have none | acquisitions of the last ``rescan_days`` of the profile, else the whole period |

Once a day, a reconcile compares everything that the catalog holds with the ledger: an item may have been published with
an old time, or become visible after a newer one. No acquisition is skipped because a later one was found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from segwatch.geo.clock import ITEM_TOLERANCE, is_too_far_ahead
from segwatch.geo.types.scene import Watermark
from segwatch.geo.types.source import Profile

RECONCILE_EVERY = timedelta(days=1)
OVERLAP = timedelta(hours=1)
"""Catalogs index asynchronously on several machines, so an item may appear after one that was updated later."""
CHUNK = timedelta(days=366)
"""Longest period that is searched and stored at once."""


@dataclass(frozen=True, slots=True)
class CatalogSearch:
    """One search of a catalog."""

    start: datetime
    end: datetime
    """Acquisition period, inclusive; timezone-aware."""
    updated_after: datetime | None = None
    reconciles: bool = False
    """Whether it is part of a reconcile."""


def plan_searches(
    mark: Watermark, profile: Profile, start: datetime, end: datetime, now: datetime, *, in_parts: bool = True
) -> Iterator[CatalogSearch]:
    """Plan the searches that bring a watch up to date, in order.

    Parameters
    ----------
    start, end
        Acquisition period of the watch.
    in_parts
        False for a catalog that returns everything for any search, such as static files.
    """
    if not in_parts:
        yield from split_period(start, end, reconciles=True, in_parts=False)
    elif mark.reconciled_at is None or _is_due(mark.reconciled_at, now) or mark.reconciling_to:
        begin = max(start, mark.reconciling_to or start)
        yield from split_period(begin, end, reconciles=True)
    elif mark.updated_to is not None:
        yield CatalogSearch(start, end, updated_after=min(mark.updated_to, now) - OVERLAP)
    elif profile.rescan_days is not None:
        yield from split_period(
            max(start, min(mark.reconciled_at, end) - timedelta(days=profile.rescan_days)), end
        )
    else:
        yield from split_period(start, end)


def _is_due(reconciled_at: datetime, now: datetime) -> bool:
    """Whether the last reconcile is a day ago, or in the future because the clock was set back."""
    return now - reconciled_at >= RECONCILE_EVERY or is_too_far_ahead(reconciled_at, now, ITEM_TOLERANCE)


def split_period(
    start: datetime, end: datetime, *, reconciles: bool = False, in_parts: bool = True
) -> Iterator[CatalogSearch]:
    """Split a period into parts of at most :data:`CHUNK`; none where it has not begun."""
    while start <= end:
        stop = min(end, start + CHUNK) if in_parts else end
        yield CatalogSearch(start, stop, reconciles=reconciles)
        if stop == end:
            return
        start = stop


def advance(
    mark: Watermark, look: CatalogSearch, updated: UpdateTimes, *, last: bool, now: datetime
) -> Watermark:
    """Compute the watermark after the results of a search were stored.

    Parameters
    ----------
    updated
        ``updated`` times of the items of all searches since the reconcile began.
    last
        Whether it was the last search of :func:`plan_searches`.
    now
        Upper bound of the watermark: beyond it, items updated until then would be missed.
    """
    if look.reconciles:
        if not last:
            return replace(mark, reconciling_to=look.end, updated_to=None)
        newest = min(updated.newest, now) if updated.newest is not None and updated.every else None
        return Watermark(now, None, newest)
    if look.updated_after is not None and updated.newest is not None:
        newest = min(updated.newest, now)
        return replace(mark, updated_to=max(newest, mark.updated_to or newest))
    return mark


@dataclass(slots=True)
class UpdateTimes:
    """``updated`` times of the items found."""

    newest: datetime | None = None
    every: bool = True
    """Whether every item has one."""

    def add(self, moment: datetime | None, now: datetime) -> None:
        """Add the time of an item; a time in the future is ignored."""
        if moment is None:
            self.every = False
        elif not is_too_far_ahead(moment, now, ITEM_TOLERANCE):
            self.newest = max(self.newest or moment, moment)
