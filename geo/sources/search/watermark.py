"""What to ask a catalog for, so that nothing is missed and little is asked twice. Pure.

| a catalog whose items | is asked for |
| --- | --- |
| all say when they were updated | what was updated since the newest time seen, less an hour |
| do not | acquisitions of the last ``rescan_days``, where the profile has that; else the whole period |

Once a day everything it holds is compared with the ledger: an item may have been published with an old time, or
have come into sight after a newer one. Never is an acquisition skipped because a later one was seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from segwatch.geo.clock import ITEM_TOLERANCE, is_ahead
from segwatch.geo.types.scene import Watermark
from segwatch.geo.types.source import Profile

RECONCILE_EVERY = timedelta(days=1)
#: Catalogs index in the background, and on several machines: what was updated earlier may be seen later.
OVERLAP = timedelta(hours=1)
#: Longest period that is searched, stored and done with at a time.
CHUNK = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Look:
    """One search."""

    start: datetime
    end: datetime
    """Of the acquisition, inclusive."""
    updated_after: datetime | None = None
    reconciles: bool = False
    """Whether it is a part of comparing everything."""


def looks(
    mark: Watermark, profile: Profile, start: datetime, end: datetime, now: datetime, *, in_parts: bool = True
) -> Iterator[Look]:
    """The searches that bring a watch of this period up to date, in order.

    ``in_parts`` is False for a catalog that gives everything whatever it is asked for.
    """
    if not in_parts:
        yield from chunks(start, end, reconciles=True, in_parts=False)
    elif mark.reconciled_at is None or _is_due(mark.reconciled_at, now) or mark.reconciling_to:
        begin = max(start, mark.reconciling_to or start)
        yield from chunks(begin, end, reconciles=True)
    elif mark.updated_to is not None:
        yield Look(start, end, updated_after=min(mark.updated_to, now) - OVERLAP)
    elif profile.rescan_days is not None:
        yield from chunks(max(start, min(mark.reconciled_at, end) - timedelta(days=profile.rescan_days)), end)
    else:
        yield from chunks(start, end)


def _is_due(reconciled_at: datetime, now: datetime) -> bool:
    """Whether the last comparison is a day ago, or lies ahead, as after a clock was set back."""
    return now - reconciled_at >= RECONCILE_EVERY or is_ahead(reconciled_at, now, ITEM_TOLERANCE)


def chunks(
    start: datetime, end: datetime, *, reconciles: bool = False, in_parts: bool = True
) -> Iterator[Look]:
    """The period in parts that are searched one by one; nothing where it has not begun."""
    while start <= end:
        stop = min(end, start + CHUNK) if in_parts else end
        yield Look(start, stop, reconciles=reconciles)
        if stop == end:
            return
        start = stop


def after(mark: Watermark, look: Look, updated: Updated, *, last: bool, now: datetime) -> Watermark:
    """The mark once a search was stored.

    Parameters
    ----------
    updated
        What the items of all searches since the comparison began said.
    now
        No later time is believed of an item: what is updated until then would not be found.
    last
        Whether it was the last of :func:`looks`.
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
class Updated:
    """What items say about when they were updated."""

    newest: datetime | None = None
    every: bool = True
    """Whether each of them said it."""

    def add(self, moment: datetime | None, now: datetime) -> None:
        """One item more. A time that lies ahead says nothing of how far the catalog was searched."""
        if moment is None:
            self.every = False
        elif not is_ahead(moment, now, ITEM_TOLERANCE):
            self.newest = max(self.newest or moment, moment)
