"""A search finds every item or raises SearchIncomplete, over HTTP, for catalogs of all kinds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from shapely.geometry import Polygon, box
from shapely.geometry.base import BaseGeometry

from segwatch.geo.errors import NoSuchCollection, SearchIncomplete
from segwatch.geo.sources import profiles
from segwatch.geo.sources.search.item_search import search
from segwatch.geo.types.scene import Item
from tests.support.odd_catalog import CORE, FILTER, QUERY, OddCatalog, items, odd_catalog

AREA = box(0.2, 0.2, 0.8, 0.8)
WIDE = box(0, 0, 20, 20)
PERIOD = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 12, 31, tzinfo=UTC)
PROFILE = profiles.load("rgb-cog")
AT_ONCE = timedelta(0)


def found(url: str, area: BaseGeometry = AREA) -> list[str]:
    every = list(search(url, PROFILE, area, *PERIOD))
    assert all(isinstance(one, Item) for one in every)
    return [one.id for one in every if isinstance(one, Item)]


def ids(catalog: OddCatalog) -> list[str]:
    return [one["id"] for one in catalog.items]


@pytest.mark.parametrize("matched", [None, 250, 100], ids=["uncounted", "counted", "miscounted"])
@pytest.mark.parametrize("order", [1, -1], ids=["oldest first", "newest first"])
def test_full_pages_without_a_link_are_split_by_period(order: int, matched: int | None) -> None:
    catalog = OddCatalog(items(250)[::order], link="none", matched=matched)
    with odd_catalog(catalog) as url:
        assert sorted(found(url)) == sorted(ids(catalog))


@pytest.mark.parametrize("most", [7, 10, 25, 50])
@pytest.mark.parametrize("matched", [None, 120])
def test_a_silently_lowered_limit_is_detected(most: int, matched: int | None) -> None:
    catalog = OddCatalog(items(120), most=most, link="none", matched=matched)
    with odd_catalog(catalog) as url:
        assert sorted(found(url)) == ids(catalog)


def test_a_catalog_whose_count_is_the_page_size() -> None:
    catalog = OddCatalog(items(120), most=50, link="none", matched=50)
    with odd_catalog(catalog) as url:
        assert sorted(found(url)) == ids(catalog)


@pytest.mark.parametrize("link", ["post", "merge", "get", "relative", "header"])
@pytest.mark.parametrize("most", [7, 100])
def test_every_form_of_next_link_is_followed(link: str, most: int) -> None:
    methods = ("POST",) if link in {"post", "merge"} else ("GET",)
    catalog = OddCatalog(items(33), most=most, link=link, methods=methods)
    with odd_catalog(catalog) as url:
        assert found(url) == ids(catalog)


def test_next_links_that_lead_back_are_replaced_by_periods() -> None:
    catalog = OddCatalog(items(60), most=20, link="loop")
    with odd_catalog(catalog) as url:
        assert sorted(found(url)) == ids(catalog)


@pytest.mark.parametrize("conforms", [(*CORE, QUERY), CORE], ids=["by id", "not by id"])
def test_items_of_one_moment_and_place_are_split_by_id(conforms: tuple[str, ...]) -> None:
    catalog = OddCatalog(items(250, every=AT_ONCE), link="none", conforms=conforms)
    with odd_catalog(catalog) as url:
        if QUERY in conforms:
            assert sorted(found(url)) == ids(catalog)
        else:
            with pytest.raises(SearchIncomplete, match="smaller parts"):
                found(url)


def test_items_of_one_moment_side_by_side_are_split_by_area() -> None:
    catalog = OddCatalog(items(250, every=AT_ONCE, column=16), link="none")
    with odd_catalog(catalog) as url:
        assert sorted(found(url, WIDE)) == ids(catalog)


def test_a_catalog_that_ignores_the_period_is_incomplete() -> None:
    catalog = OddCatalog(items(250), link="none", keeps_period=False)
    every: list[str] = []
    with odd_catalog(catalog) as url, pytest.raises(SearchIncomplete, match="period") as told:
        for one in search(url, PROFILE, AREA, *PERIOD):
            assert isinstance(one, Item)
            every.append(one.id)
    assert len(every) >= 100
    assert "100 items" in str(told.value)


@pytest.mark.parametrize("filtering", [QUERY, FILTER])
def test_a_catalog_that_ignores_id_ranges_is_incomplete(filtering: str) -> None:
    catalog = OddCatalog(items(250, every=AT_ONCE), link="none", conforms=(*CORE, filtering), most=100)
    catalog._wanted = lambda one, asked: True  # type: ignore[method-assign]
    with odd_catalog(catalog) as url, pytest.raises(SearchIncomplete):
        found(url)


def test_a_well_behaved_catalog_needs_no_further_requests() -> None:
    for count, pages in ((33, 1), (101, 2), (250, 3), (0, 1), (1, 1)):
        catalog = OddCatalog(items(count), matched=count)
        with odd_catalog(catalog) as url:
            assert found(url) == ids(catalog)
        assert len(catalog.asked) == pages


def test_a_count_that_is_too_high_is_verified_once() -> None:
    catalog = OddCatalog(items(3), matched=7_000_000)
    with odd_catalog(catalog) as url:
        assert found(url) == ids(catalog)
    assert len(catalog.asked) == 3


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("most", [80, 30, 10, 5])
def test_a_lower_maximum_limit_is_respected(status: int, most: int) -> None:
    catalog = OddCatalog(items(45), most=most, refuses_limit=status)
    if most < 10:
        catalog.matched = 45
    with odd_catalog(catalog) as url:
        assert sorted(found(url)) == ids(catalog)


@pytest.mark.parametrize("status", [400, 403, 404, 405, 415, 501])
@pytest.mark.parametrize("only", ["GET", "POST"])
@pytest.mark.parametrize("declared", [("POST",), ("GET",), (None,), ("GET", "POST")])
def test_search_by_get_or_post(status: int, only: str, declared: tuple[str | None, ...]) -> None:
    link = "get" if only == "GET" else "post"
    catalog = OddCatalog(items(17), most=5, takes=(only,), methods=declared, refusal=status, link=link)
    with odd_catalog(catalog) as url:
        assert found(url) == ids(catalog)


def test_bounding_box_for_long_urls_and_catalogs_without_intersects() -> None:
    round_area = AREA.centroid.buffer(0.3, quad_segs=64)
    assert isinstance(round_area, Polygon)
    for catalog in (
        OddCatalog(items(17), takes=("GET",), methods=("GET",)),
        OddCatalog(items(17), intersects=False),
    ):
        with odd_catalog(catalog) as url:
            assert found(url, round_area) == ids(catalog)
        assert "bbox" in catalog.asked[-1][1]


def test_an_area_across_the_antimeridian_is_two_boxes() -> None:
    catalog = OddCatalog(items(3), intersects=False)
    catalog.items[0]["geometry"]["coordinates"] = [[[179, 0], [180, 0], [180, 1], [179, 1], [179, 0]]]
    catalog.items[1]["geometry"]["coordinates"] = [[[-180, 0], [-179, 0], [-179, 1], [-180, 1], [-180, 0]]]
    area = box(179.5, 0.2, 180, 0.8).union(box(-180, 0.2, -179.5, 0.8))
    with odd_catalog(catalog) as url:
        assert sorted(found(url, area)) == ids(catalog)[:2]
    assert all(asked["bbox"][2] - asked["bbox"][0] < 1 for _, asked in catalog.asked if "bbox" in asked)


@pytest.mark.parametrize("most", [10, 100])
def test_a_catalog_of_features_without_a_search(most: int) -> None:
    catalog = OddCatalog(items(25), most=most, search=False, link="get", refusal=404)
    with odd_catalog(catalog) as url:
        assert sorted(found(url)) == ids(catalog)


@pytest.mark.parametrize(
    "part",
    ["", "/", "/collections/visual", "/collections/visual/", "/collections/visual/items", "/collections"],
)
@pytest.mark.parametrize("search_", [True, False])
def test_every_url_of_an_api_finds_all_items(part: str, search_: bool) -> None:
    catalog = OddCatalog(
        [*items(25), *items(40, at=datetime(2020, 1, 1, tzinfo=UTC))[25:]], link="get", most=10
    )
    catalog.methods, catalog.search, catalog.refusal = ("GET",), search_, 404
    with odd_catalog(catalog) as url:
        assert sorted(found(url + part)) == ids(catalog)[:25]


def test_the_url_of_a_search_and_of_items_with_a_query() -> None:
    catalog = OddCatalog(items(25), link="get", most=10, methods=("GET",))
    with odd_catalog(catalog) as url:
        for part in ("/search", "/search?limit=3", "/collections/visual/items?limit=3"):
            assert sorted(found(url + part)) == ids(catalog)


def test_the_url_of_another_collection_is_refused() -> None:
    catalog = OddCatalog(items(3), collections=("visual", "other"))
    with odd_catalog(catalog) as url, pytest.raises(NoSuchCollection, match=r"'other'.*'visual'"):
        found(url + "/collections/other")
