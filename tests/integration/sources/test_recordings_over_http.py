"""Recorded responses of public catalogs, replayed page by page over HTTP."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from shapely.geometry import box

from segwatch.geo.items import parse_item
from segwatch.geo.scenes import group_scenes
from segwatch.geo.sources import profiles
from segwatch.geo.sources.search.catalog import describe, open_catalog
from segwatch.geo.sources.search.inspection import inspect
from segwatch.geo.sources.search.item_search import RejectedItem, search
from segwatch.geo.types.scene import Item
from tests.support.replaying import features, replaying

EVERYWHERE = box(-180, -90, 180, 90)
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


def found(recording: str, profile: str) -> list[Item | RejectedItem]:
    with replaying(recording) as url:
        return list(search(url, profiles.load(profile), EVERYWHERE, *ALWAYS))


@pytest.mark.parametrize(
    ("recording", "profile", "collection"),
    [
        ("earthsearch_pages.yaml", "sentinel2-l2a-earthsearch", "sentinel-2-l2a"),
        ("earthsearch_two_collections.yaml", "sentinel2-l2a-earthsearch", "sentinel-2-l2a"),
        ("earthsearch_two_collections.yaml", "landsat-c2-l2-earthsearch", "landsat-c2-l2"),
        ("planetary_without_matched.yaml", "naip-planetary", "naip"),
    ],
)
def test_every_item_is_returned_once_and_others_are_rejected(
    recording: str, profile: str, collection: str
) -> None:
    recorded = features(recording)
    wanted = {one["id"] for one in recorded if one["collection"] == collection}
    results = found(recording, profile)
    assert wanted
    assert {one.id for one in results if isinstance(one, Item)} == wanted
    others = {one["id"] for one in recorded} - wanted
    told = {one.item_id: one.reason for one in results if isinstance(one, RejectedItem)}
    assert set(told) == others
    assert all("it belongs to collection" in reason for reason in told.values())
    assert len(results) == len(wanted) + len(others)


def test_declared_conformance_of_recorded_catalogs() -> None:
    with replaying("earthsearch_pages.yaml") as url:
        kind, conforms = describe(open_catalog(url))
    assert kind == "STAC API"
    assert conforms == {"ITEM_SEARCH", "SORT", "QUERY"}
    with replaying("planetary_without_matched.yaml") as url:
        kind, conforms = describe(open_catalog(url))
    assert kind == "STAC API"
    assert conforms == {"ITEM_SEARCH", "SORT", "QUERY", "FILTER"}


def test_a_check_reads_recorded_pages() -> None:
    profile = replace(profiles.load("sentinel2-l2a-earthsearch"), collection="*")
    with replaying("earthsearch_pages.yaml") as url:
        findings = {one.about: one for one in inspect(url, None)}
    with replaying("earthsearch_pages.yaml") as url:
        fits = {one.about: one for one in inspect(url, profile)}
    assert findings["items"].good
    assert findings["paging"].good
    assert findings["updated"].says.startswith("20 of 20")
    assert "of 20 items can be used" in fits["profile"].says


def test_a_page_of_landsat_is_scenes_by_pass_and_day() -> None:
    """Landsat items of the Planetary Computer since 1982."""
    documents = features("planetary_landsat.yaml")
    profile = profiles.load("landsat-c2-l2-planetary")
    items = [parse_item(one, profile, base="https://planetarycomputer.microsoft.com/x") for one in documents]
    scenes = group_scenes(items)
    assert sum(len(one.items) for one in scenes) == len(items)
    for scene in scenes:
        assert len({(item.platform, item.relative_orbit) for item in scene.items}) == 1
