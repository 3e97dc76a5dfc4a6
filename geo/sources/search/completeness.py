"""Searches that are shown to be complete. Pure but for the answers it is given.

Some catalogs cut an answer and say nothing: a full page without a link to the next one, a page size that is silently
lowered, links that lead back to the first page. A search is taken as complete only where that can be shown:

| its last page, without a link to a next one, holds | then it is |
| --- | --- |
| fewer items than an earlier page of this search, or than any page that this catalog gave | complete |
| no item, or one | complete |
| as many as were asked for, as the pages before, or as a page that turned out to be cut | cut |
| fewer than were asked for, and nothing tells the catalog's own limit | checked, once for each length |
| whatever, where the catalog counts more than it gave | checked, until its counts turned out to be wrong |

The check asks for the period in two parts, each with an item that the other cannot have: if the answer was cut, one of
the parts must bring something new. Where a catalog counts more than it gave and a part is as long as the whole, the
answer is taken as cut. The check is left out where the catalog counts as many items as it gave, unless
their number is one that a limit may have. Counts alone decide nothing.

What is cut is asked for in parts: halves of the period; where that is a moment, quarters of the area or ranges of
ids. Parts must bring again what the whole brought. A catalog that does not keep to the parts it is asked for, or
cannot be asked for them, is not searched completely: that is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, auto

import shapely

from segwatch.geo.errors import SearchIncomplete
from segwatch.geo.sources.search.paging import Document, Pager, Pages, Seen
from segwatch.geo.sources.search.requests import Query, quarters

#: Shortest period that is split: catalogs round times to seconds.
_SHORTEST = timedelta(seconds=2)
_SECOND = timedelta(seconds=1)
#: More items than that come from a catalog without limit, or from one that a part was taken from again and again.
MAX_PARTS = 4096
_MAX_ID_SPLITS = 24
#: Smallest side of an area that is split, degrees.
_SMALLEST_SIDE = 1e-5

_Key = tuple[str, str]
Found = dict[_Key, Seen]
Searcher = Callable[[Query], Pager]
_Result = Generator[Document, None, Found]


@dataclass(slots=True)
class Learned:
    """What a catalog's answers taught about its paging, for as long as it is open."""

    largest: int = 0
    """Features of the largest page: its limit is no lower."""
    limit: int | None = None
    """Length of the shortest page that turned out to be cut."""
    miscounts: bool = False
    """Whether it counted items that it does not have."""


class Verdict(Enum):
    """What the pages of a search show."""

    COMPLETE = auto()
    CUT = auto()
    UNSURE = auto()


class Completing:
    """Searches of one catalog.

    Parameters
    ----------
    url
        Names the catalog in errors.
    by_id
        Whether the catalog can be asked for a range of ids.
    limit
        Gives the page size that the last search asked for, None where it was the catalog's own.
    """

    def __init__(
        self, url: str, search: Searcher, learned: Learned, *, by_id: bool, limit: Callable[[], int | None]
    ) -> None:
        self._url = url
        self._search = search
        self._learned = learned
        self._by_id = by_id
        self._limit = limit
        self._parts = 0

    def run(self, query: Query) -> _Result:
        """Documents as they come, some of them more than once.

        Raises
        ------
        SearchIncomplete
            At the end, when there may be more.
        """
        pages = yield from self._asked(query)
        return (yield from self._resolved(query, pages, 0))

    def _asked(self, query: Query) -> Pager:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise self._incomplete(f"it cuts its answers, and {MAX_PARTS} parts were not enough")
        pages = yield from self._search(query)
        self._learned.largest = max(self._learned.largest, pages.last, pages.largest_before)
        return pages

    def _resolved(self, query: Query, pages: Pages, depth: int) -> _Result:
        verdict = judge(pages, self._limit(), self._learned)
        if verdict is Verdict.COMPLETE:
            return pages.found
        if verdict is Verdict.UNSURE:
            return (yield from self._checked(query, pages, depth))
        return (yield from self._split(query, pages, depth))

    def _checked(self, query: Query, pages: Pages, depth: int) -> _Result:
        """Ask again in parts: an answer that was cut brings something new there."""
        tells_more = pages.repeats or _counts_more(pages)
        answers: list[tuple[Query, Pages]] = []
        for part in _parts_to_check(query, pages.found, thorough=tells_more):
            answers.append((part, (yield from self._asked(part))))
        again = _joined(one.found for _, one in answers)
        if set(again) - set(pages.found):
            self._learned.limit = min(filter(None, (self._learned.limit, _length(pages))), default=None)
            for part, one in answers:
                again |= yield from self._resolved(part, one, depth)
            return pages.found | again
        if tells_more:
            strays = any(_strays(part, one) for part, one in answers)
            if not answers or strays or _lost(pages.found, again, query):
                raise self._incomplete(_more_than_given(pages))
            if any(_length(one) >= max(2, _length(pages)) for _, one in answers):
                # a part as long as the whole may have been cut in the same way, and shows nothing
                return (yield from self._split(query, pages, depth))
            self._learned.miscounts = self._learned.miscounts or _counts_more(pages)
        return pages.found

    def _split(self, query: Query, pages: Pages, depth: int) -> _Result:
        found = pages.found
        if _strays(query, pages):
            raise self._incomplete(f"{_cut(pages)}, and it does not keep to the period that it is asked for")
        parts = (
            _halves(query) or _areas(query, found) or (self._ids(query, found, depth) if self._by_id else [])
        )
        if not parts:
            raise self._incomplete(f"{_cut(pages)}, and these cannot be asked for in smaller parts")
        again: Found = {}
        for part in parts:
            answer = yield from self._asked(part)
            by_id = part.after_id is not None or part.to_id is not None
            again |= yield from self._resolved(part, answer, depth + by_id)
        if lost := _lost(found, again, query):
            raise self._incomplete(
                f"{_cut(pages)}, and asked for in parts it leaves out {len(lost)} of them, such as {min(lost)[1]}"
            )
        return found | again

    def _ids(self, query: Query, found: Found, depth: int) -> list[Query]:
        ids = sorted({identity for _, identity in found})
        if len(ids) < 2 or depth > _MAX_ID_SPLITS:
            return []
        middle = ids[(len(ids) - 1) // 2]
        return [replace(query, to_id=middle), replace(query, after_id=middle)]

    def _incomplete(self, reason: str) -> SearchIncomplete:
        return SearchIncomplete(self._url, reason)


def judge(pages: Pages, limit: int | None, learned: Learned | None = None) -> Verdict:
    """Whether the pages of a search hold everything it asked for; see the table above.

    A catalog that gives more than it is asked for keeps no ``limit``: then nothing is known of its own.
    """
    learned = learned or Learned()
    length = _length(pages)
    before = 0 if pages.repeats else pages.largest_before
    as_told = length in {limit, pages.limit, before}
    if length and (as_told or (learned.limit is not None and length >= learned.limit)):
        return Verdict.CUT
    if _counts_more(pages) and not learned.miscounts:
        return Verdict.UNSURE
    if length < max(before, learned.largest):
        return Verdict.COMPLETE
    if pages.repeats and length:
        return Verdict.UNSURE
    counted = pages.matched == len(pages.found) and not _may_be_a_limit(length)
    return Verdict.COMPLETE if length < 2 or counted else Verdict.UNSURE


def _length(pages: Pages) -> int:
    """Of the page that would have been cut."""
    return max(pages.last, pages.largest_before) if pages.repeats else pages.last


def _may_be_a_limit(length: int) -> bool:
    """Limits are numbers that people choose: tens, twenty-fives, powers of two."""
    return length >= 10 and (length % 10 == 0 or length % 25 == 0 or length & (length - 1) == 0)


def _counts_more(pages: Pages) -> bool:
    return pages.matched is not None and pages.matched > len(pages.found)


def _cut(pages: Pages) -> str:
    told = "with a link that leads back to it" if pages.repeats else "without a link to the next one"
    return f"it gave a full page of {_length(pages)} items {told}"


def _more_than_given(pages: Pages) -> str:
    if pages.repeats:
        return f"its links to the next page lead back to the {len(pages.found)} items that it gave"
    return f"it counts {pages.matched} items and gave {len(pages.found)}"


def _joined(every: Iterable[Found]) -> Found:
    joined: Found = {}
    for one in every:
        joined |= one
    return joined


def _strays(query: Query, pages: Pages) -> bool:
    """Whether a search brought items of other times than it asked for."""
    return any(seen.moment is not None and not _within(seen.moment, query) for seen in pages.found.values())


def _within(moment: datetime, query: Query) -> bool:
    before = query.start is not None and moment < query.start - _SECOND
    after = query.end is not None and moment > query.end + _SECOND
    return not before and not after


def _lost(found: Found, again: Found, query: Query) -> set[_Key]:
    """Items that the whole brought and its parts did not, of those that must be in one of them."""
    certain = {key for key, seen in found.items() if seen.moment is not None and _within(seen.moment, query)}
    return certain - set(again)


def _halves(query: Query) -> list[Query]:
    """Two halves of the period, which share a moment; nothing where it cannot be split."""
    if (
        query.start is None
        or query.end is None
        or query.end - query.start <= _SHORTEST
        or query.to_id
        or query.after_id
    ):
        return []
    middle = (query.start + (query.end - query.start) / 2).replace(microsecond=0)
    return _at(query, middle)


def _at(query: Query, moment: datetime) -> list[Query]:
    return [replace(query, end=moment), replace(query, start=moment)]


def _parts_to_check(query: Query, found: Found, *, thorough: bool) -> list[Query]:
    """The period in two parts, each with an item that the other cannot hold.

    Items of one moment cannot be parted like that: then what lies around them is asked for, and, ``thorough``, their
    moment in quarters of the area.
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
        return _at(query, middle)
    if not thorough:
        return []
    since, until = first.replace(microsecond=0) - _SECOND, last.replace(microsecond=0) + 2 * _SECOND
    around = [replace(query, end=since), replace(query, start=until)]
    inner = replace(query, start=max(since, query.start), end=min(until, query.end))
    outer = [one for one in around if one.start is not None and one.end is not None and one.start < one.end]
    return [*outer, *(_areas(inner, {}) or [inner])]


def _areas(query: Query, found: Found) -> list[Query]:
    """Quarters of the area; nothing where each of them would bring all of what was found once more."""
    if query.area is None or query.to_id or query.after_id:
        return []
    west, south, east, north = query.area.bounds
    if max(east - west, north - south) < _SMALLEST_SIDE:
        return []
    parts = quarters(query.area)
    boxes = [seen.box for seen in found.values()]
    helps = not found or any(not _meets(box, part.bounds) for box in boxes for part in parts)
    return [replace(query, area=part) for part in parts] if helps else []


_Box = tuple[float, float, float, float]


def _meets(box: _Box | None, bounds: _Box) -> bool:
    if box is None or box[0] > box[2]:
        return True
    return bool(shapely.box(*box).intersects(shapely.box(*bounds)))
