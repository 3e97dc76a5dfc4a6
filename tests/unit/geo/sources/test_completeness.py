"""However a catalog truncates its results, every item is found or an error is raised."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from shapely.geometry import box

from segwatch.geo.errors import SearchIncomplete
from segwatch.geo.sources.search.completeness import (
    Completeness,
    CompleteSearch,
    LearnedLimits,
    judge_completeness,
)
from segwatch.geo.sources.search.paging import FoundItem, Pager, PagingResult
from segwatch.geo.sources.search.requests import SearchQuery

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
WHOLE = SearchQuery("c", box(0, 0, 4, 4), BEGIN, BEGIN + timedelta(days=366))
Place = tuple[float, float, float, float]


class Cutting:
    """A catalog that silently truncates its results."""

    def __init__(self, held: list[tuple[datetime, Place]], most: int, *, counts: bool, by_id: bool) -> None:
        self.held = {f"i{number:03d}": one for number, one in enumerate(held)}
        self.most = most
        self.counts = counts
        self.by_id = by_id

    def search(self, query: SearchQuery) -> Pager:
        wanted = [
            name for name, (moment, place) in self.held.items() if self._wanted(query, name, moment, place)
        ]
        given = wanted[: self.most]
        found = {("c", name): FoundItem(*self.held[name]) for name in given}
        yield from ({"id": name} for name in given)
        matched = len(wanted) if self.counts else None
        return PagingResult(found, pages=1, last=len(given), matched=matched)

    def _wanted(self, query: SearchQuery, name: str, moment: datetime, place: Place) -> bool:
        assert query.start is not None
        assert query.end is not None
        assert query.area is not None
        inside = query.start <= moment <= query.end and query.area.intersects(box(*place))
        return inside and (query.after_id or "") < name <= (query.to_id or "~")

    def everything(self) -> Iterator[dict[str, Any]]:
        searches = CompleteSearch("c", self.search, LearnedLimits(), by_id=self.by_id, limit=lambda: 100)
        return searches.run(WHOLE)


MOMENTS = st.builds(lambda seconds: BEGIN + timedelta(seconds=seconds), st.integers(0, 365 * 86400))
FEW_MOMENTS = st.sampled_from([BEGIN + timedelta(days=day) for day in (0, 1, 1, 200)])
PLACES = st.sampled_from(
    [(0.0, 0.0, 4.0, 4.0), (0.1, 0.1, 0.9, 0.9), (3.1, 3.1, 3.9, 3.9), (0.1, 3.1, 0.9, 3.9)]
)


@given(
    st.lists(st.tuples(st.one_of(MOMENTS, FEW_MOMENTS), PLACES), max_size=60),
    st.sampled_from([2, 3, 5, 10, 16, 25, 50, 100]),
    st.booleans(),
)
@example([(BEGIN, (0.0, 0.0, 4.0, 4.0))] * 4, 2, True)
@example([(BEGIN, (0.0, 0.0, 4.0, 4.0))] * 20, 3, True)
def test_with_id_ranges_every_item_is_found(
    held: list[tuple[datetime, Place]], most: int, counts: bool
) -> None:
    catalog = Cutting(held, most, counts=counts, by_id=True)
    # a few items of one moment without a count look like a complete result
    if not counts and len({moment for moment, _ in held[:most]}) < 2:
        return
    assert {one["id"] for one in catalog.everything()} == set(catalog.held)


@given(
    st.lists(st.tuples(st.one_of(MOMENTS, FEW_MOMENTS), PLACES), max_size=60),
    st.sampled_from([2, 3, 5, 10, 16, 25, 50, 100]),
)
@example([(BEGIN, (0.0, 0.0, 4.0, 4.0))] * 3, 2)
def test_without_id_ranges_a_search_is_complete_or_raises(
    held: list[tuple[datetime, Place]], most: int
) -> None:
    catalog = Cutting(held, most, counts=True, by_id=False)
    try:
        found = {one["id"] for one in catalog.everything()}
    except SearchIncomplete:
        assert len(held) > most
    else:
        assert found == set(catalog.held)


def pages(last: int, *, before: int = 0, matched: int | None = None, repeats: bool = False) -> PagingResult:
    found = {("c", str(number)): FoundItem(BEGIN, None) for number in range(last)}
    return PagingResult(found, pages=1, last=last, largest_before=before, matched=matched, repeats=repeats)


def test_judging_the_last_page() -> None:
    complete, cut, unsure = Completeness.COMPLETE, Completeness.TRUNCATED, Completeness.UNKNOWN
    assert judge_completeness(pages(0), 100) is judge_completeness(pages(1), 100) is complete
    assert judge_completeness(pages(100), 100) is cut
    assert judge_completeness(pages(99, before=100), 100) is complete
    assert judge_completeness(pages(30, before=30), 100) is cut
    assert judge_completeness(pages(37), 100) is judge_completeness(pages(40, matched=40), 100) is unsure
    assert judge_completeness(pages(37, matched=37), 100) is complete
    assert judge_completeness(pages(37, matched=36), 100) is unsure
    assert (
        judge_completeness(pages(37, matched=250), 100)
        is judge_completeness(pages(0, matched=250), 100)
        is unsure
    )
    assert judge_completeness(pages(37), 100, LearnedLimits(largest=50)) is complete
    assert (
        judge_completeness(pages(37, matched=250), 100, LearnedLimits(largest=50, miscounts=True)) is complete
    )
    assert judge_completeness(pages(37), 100, LearnedLimits(largest=50, limit=37)) is cut
    assert judge_completeness(pages(250), 100) is unsure, "it keeps no limit"
    assert judge_completeness(pages(37, before=37, repeats=True), 100) is unsure
