"""Search a catalog and prove that nothing is missing. Pure: the caller sends the requests.

Some catalogs truncate results silently: a full page without a link to the next one, a page size that is lowered
without notice, links that lead back to the first page. So a search counts as complete only if that can be shown:

| the last page, without a link to a next one, has | result |
| --- | --- |
| fewer items than an earlier page of this search, or than any page of this catalog | complete |
| no item, or one | complete |
| as many as requested, as the pages before, or as a page that proved to be truncated | truncated |
| fewer than requested, and the catalog's own limit is unknown | verified, once for each length |
| any number, and the catalog reports more (``numberMatched``) | verified, until its counts proved wrong |

To verify, the period is searched again in two parts, each of which contains an item that the other cannot contain. If
the first result was truncated, a part must return a new item. Where the catalog reports more items and a part is as
long as the whole, the result counts as truncated. No verification is needed where the catalog reports exactly the
number of items returned, unless that number looks like a page limit. Counts alone decide nothing.

A truncated search is repeated in parts: halves of the period, or for a single moment quarters of the area or ranges of
ids. The parts must return every item of the whole again. A catalog that ignores the conditions of the parts, or does
not support them, cannot be searched completely: that is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, auto

import shapely

from segwatch.geo.errors import SearchIncomplete
from segwatch.geo.sources.search.paging import Document, FoundItem, Pager, PagingResult
from segwatch.geo.sources.search.requests import SearchQuery, split_quarters

#: Shortest period to split: catalogs round times to seconds.
_MIN_PERIOD = timedelta(seconds=2)
_SECOND = timedelta(seconds=1)
MAX_PARTS = 4096
"""Maximum searches into which one search is split."""
_MAX_ID_SPLITS = 24
#: Smallest side of an area to split, in degrees.
_MIN_SIDE = 1e-5

_Key = tuple[str, str]
Found = dict[_Key, FoundItem]
Searcher = Callable[[SearchQuery], Pager]
_Result = Generator[Document, None, Found]


@dataclass(slots=True)
class LearnedLimits:
    """What earlier responses of an open catalog showed about its page limit and counts."""

    largest: int = 0
    """Features of the largest page: the catalog's limit is at least that."""
    limit: int | None = None
    """Length of the shortest page that proved to be truncated."""
    miscounts: bool = False
    """Whether its counts proved to be too high."""


class Completeness(Enum):
    """Result of checking the pages of a search."""

    COMPLETE = auto()
    TRUNCATED = auto()
    UNKNOWN = auto()


class CompleteSearch:
    """Complete searches of one catalog.

    Parameters
    ----------
    url
        Name of the catalog in errors.
    search
        Sends one search and follows its pages.
    learned
        Updated by every search.
    by_id
        Whether the catalog supports conditions on ids.
    limit
        Returns the page size of the last search; None = the catalog's default.
    """

    def __init__(
        self,
        url: str,
        search: Searcher,
        learned: LearnedLimits,
        *,
        by_id: bool,
        limit: Callable[[], int | None],
    ) -> None:
        self._url = url
        self._search = search
        self._learned = learned
        self._by_id = by_id
        self._limit = limit
        self._parts = 0

    def run(self, query: SearchQuery) -> _Result:
        """Yield the item documents found, some of them more than once.

        Raises
        ------
        SearchIncomplete
            After all documents: there may be more items.
        """
        pages = yield from self._search_part(query)
        return (yield from self._complete(query, pages, 0))

    def _search_part(self, query: SearchQuery) -> Pager:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise self._incomplete(f"it truncates results, and {MAX_PARTS} parts were not enough")
        pages = yield from self._search(query)
        self._learned.largest = max(self._learned.largest, pages.last, pages.largest_before)
        return pages

    def _complete(self, query: SearchQuery, pages: PagingResult, depth: int) -> _Result:
        completeness = judge_completeness(pages, self._limit(), self._learned)
        if completeness is Completeness.COMPLETE:
            return pages.found
        if completeness is Completeness.UNKNOWN:
            return (yield from self._verify(query, pages, depth))
        return (yield from self._search_in_parts(query, pages, depth))

    def _verify(self, query: SearchQuery, pages: PagingResult, depth: int) -> _Result:
        """Search again in two parts: if the result was truncated, a part returns a new item."""
        reports_more = pages.repeats or _reports_more(pages)
        results: list[tuple[SearchQuery, PagingResult]] = []
        for part in _parts_to_verify(query, pages.found, thorough=reports_more):
            results.append((part, (yield from self._search_part(part))))
        again = _merge(one.found for _, one in results)
        if set(again) - set(pages.found):
            self._learned.limit = min(filter(None, (self._learned.limit, _length(pages))), default=None)
            for part, one in results:
                again |= yield from self._complete(part, one, depth)
            return pages.found | again
        if reports_more and not results and self._by_id:
            # one moment at one place, which leaves the ids to tell the items apart
            return (yield from self._search_in_parts(query, pages, depth))
        if reports_more:
            ignores_period = any(_ignores_period(part, one) for part, one in results)
            if not results or ignores_period or _find_lost(pages.found, again, query):
                raise self._incomplete(_describe_excess(pages))
            if any(_length(one) >= max(2, _length(pages)) for _, one in results):
                # a part as long as the whole may be truncated in the same way, so it proves nothing
                return (yield from self._search_in_parts(query, pages, depth))
            self._learned.miscounts = self._learned.miscounts or _reports_more(pages)
        return pages.found

    def _search_in_parts(self, query: SearchQuery, pages: PagingResult, depth: int) -> _Result:
        found = pages.found
        if _ignores_period(query, pages):
            raise self._incomplete(f"{_describe_truncation(pages)}, and it ignores the requested period")
        parts = _halves(query) or _quarter_areas(query, found) or self._id_ranges(query, found, depth)
        if not parts:
            raise self._incomplete(
                f"{_describe_truncation(pages)}, and these cannot be requested in smaller parts"
            )
        again: Found = {}
        for part in parts:
            result = yield from self._search_part(part)
            by_id = part.after_id is not None or part.to_id is not None
            again |= yield from self._complete(part, result, depth + by_id)
        if lost := _find_lost(found, again, query):
            omitted = f"requested in parts it omits {len(lost)} of them, such as {min(lost)[1]}"
            raise self._incomplete(f"{_describe_truncation(pages)}, and {omitted}")
        return found | again

    def _id_ranges(self, query: SearchQuery, found: Found, depth: int) -> list[SearchQuery]:
        ids = sorted({identity for _, identity in found})
        if not self._by_id or len(ids) < 2 or depth > _MAX_ID_SPLITS:
            return []
        middle = ids[(len(ids) - 1) // 2]
        return [replace(query, to_id=middle), replace(query, after_id=middle)]

    def _incomplete(self, reason: str) -> SearchIncomplete:
        return SearchIncomplete(self._url, reason)


def judge_completeness(
    pages: PagingResult, limit: int | None, learned: LearnedLimits | None = None
) -> Completeness:
    """Check whether the pages of a search are complete, by the table in the module docstring.

    Parameters
    ----------
    limit
        Requested page size; None = the catalog's default.
    """
    learned = learned or LearnedLimits()
    length = _length(pages)
    before = 0 if pages.repeats else pages.largest_before
    is_full = length in {limit, pages.limit, before}
    if length and (is_full or (learned.limit is not None and length >= learned.limit)):
        return Completeness.TRUNCATED
    if _reports_more(pages) and not learned.miscounts:
        return Completeness.UNKNOWN
    if length < max(before, learned.largest):
        return Completeness.COMPLETE
    if pages.repeats and length:
        return Completeness.UNKNOWN
    counted = pages.matched == len(pages.found) and not _looks_like_limit(length)
    return Completeness.COMPLETE if length < 2 or counted else Completeness.UNKNOWN


def _length(pages: PagingResult) -> int:
    """Length of the page that may be truncated."""
    return max(pages.last, pages.largest_before) if pages.repeats else pages.last


def _looks_like_limit(length: int) -> bool:
    """Whether a number is one that people choose as a limit: a multiple of 10 or 25, or a power of two."""
    return length >= 10 and (length % 10 == 0 or length % 25 == 0 or length & (length - 1) == 0)


def _reports_more(pages: PagingResult) -> bool:
    return pages.matched is not None and pages.matched > len(pages.found)


def _describe_truncation(pages: PagingResult) -> str:
    link = "with a link that leads back to it" if pages.repeats else "without a link to the next one"
    return f"it returned a full page of {_length(pages)} items {link}"


def _describe_excess(pages: PagingResult) -> str:
    if pages.repeats:
        return f"its links to the next page lead back to the {len(pages.found)} items that it returned"
    return f"it reports {pages.matched} items and returned {len(pages.found)}"


def _merge(every: Iterable[Found]) -> Found:
    joined: Found = {}
    for one in every:
        joined |= one
    return joined


def _ignores_period(query: SearchQuery, pages: PagingResult) -> bool:
    """Whether a search returned items from outside its period."""
    return any(seen.moment is not None and not _within(seen.moment, query) for seen in pages.found.values())


def _within(moment: datetime, query: SearchQuery) -> bool:
    before = query.start is not None and moment < query.start - _SECOND
    after = query.end is not None and moment > query.end + _SECOND
    return not before and not after


def _find_lost(found: Found, again: Found, query: SearchQuery) -> set[_Key]:
    """Items of the whole search that its parts did not return, although their times are in the period."""
    certain = {key for key, seen in found.items() if seen.moment is not None and _within(seen.moment, query)}
    return certain - set(again)


def _halves(query: SearchQuery) -> list[SearchQuery]:
    """Two halves of the period, which share a moment; empty where it cannot be split."""
    if (
        query.start is None
        or query.end is None
        or query.end - query.start <= _MIN_PERIOD
        or query.to_id
        or query.after_id
    ):
        return []
    middle = (query.start + (query.end - query.start) / 2).replace(microsecond=0)
    return _split_at(query, middle)


def _split_at(query: SearchQuery, moment: datetime) -> list[SearchQuery]:
    return [replace(query, end=moment), replace(query, start=moment)]


def _parts_to_verify(query: SearchQuery, found: Found, *, thorough: bool) -> list[SearchQuery]:
    """Split the period into two parts, each with an item that the other cannot contain.

    Where all items are of one moment that is impossible: then the time around it is searched, and if ``thorough`` the
    moment itself in quarters of the area.
    """
    if query.start is None or query.end is None or query.to_id or query.after_id:
        return []
    moments = sorted(
        seen.moment.astimezone(UTC)
        for seen in found.values()
        if seen.moment is not None and query.start <= seen.moment <= query.end
    )
    if not moments:
        return _halves(query) if thorough else []
    first, last = moments[0], moments[-1]
    middle = moments[len(moments) // 2].replace(microsecond=0)
    if not first < middle < last:
        middle = first.replace(microsecond=0) + _SECOND
    if first < middle < last:
        return _split_at(query, middle)
    if not thorough:
        return []
    since, until = first.replace(microsecond=0) - _SECOND, last.replace(microsecond=0) + 2 * _SECOND
    around = [replace(query, end=since), replace(query, start=until)]
    inner = replace(query, start=max(since, query.start), end=min(until, query.end))
    outer = [one for one in around if one.start is not None and one.end is not None and one.start < one.end]
    return [*outer, *(_quarter_areas(inner, {}) or [inner])]


def _quarter_areas(query: SearchQuery, found: Found) -> list[SearchQuery]:
    """Quarters of the area; empty where every item found intersects each of them."""
    if query.area is None or query.to_id or query.after_id:
        return []
    west, south, east, north = query.area.bounds
    if max(east - west, north - south) < _MIN_SIDE:
        return []
    parts = split_quarters(query.area)
    boxes = [seen.box for seen in found.values()]
    helps = not found or any(not _may_intersect(box, part.bounds) for box in boxes for part in parts)
    return [replace(query, area=part) for part in parts] if helps else []


_Box = tuple[float, float, float, float]


def _may_intersect(box: _Box | None, bounds: _Box) -> bool:
    if box is None or box[0] > box[2]:
        return True
    return bool(shapely.box(*box).intersects(shapely.box(*bounds)))
