"""Items of real catalogs parse; grouping depends on the set of items only."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pystac
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import box

from segwatch.geo.errors import BadItem
from segwatch.geo.items import parse_item
from segwatch.geo.scenes import group_scenes, select_best_scene
from segwatch.geo.sources import profiles
from segwatch.geo.types.scene import Item
from segwatch.geo.types.source import BandRef, CloudMask, Profile
from tests.support.paths import DATA

DATA = DATA / "stac"


def document(name: str) -> dict[str, Any]:
    return dict(json.loads((DATA / name).read_text()))


def features(name: str) -> list[dict[str, Any]]:
    found = document(name)
    return list(found.get("response", found)["features"])


def profile(collection: str, *assets: str, mask: str | None = None) -> Profile:
    red, green, blue = (BandRef(name) for name in assets)
    clouds = CloudMask(BandRef(mask), (1,)) if mask else None
    return replace(
        profiles.load("rgb-cog"), collection=collection, red=red, green=green, blue=blue, clouds=clouds
    )


PLANETARY = profiles.load("sentinel2-l2a-planetary")
BASE: dict[str, Any] = {
    "type": "Feature",
    "stac_version": "1.0.0",
    "id": "one",
    "collection": "visual",
    "geometry": {"type": "Polygon", "coordinates": [[[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]]]},
    "properties": {"datetime": "2024-05-01T10:00:00Z", "platform": "Sentinel-2A"},
    "links": [{"rel": "self", "href": "https://stac.example.org/items/one.json"}],
    "assets": {"visual": {"href": "https://data.example.org/one.tif"}},
}
VISUAL = profiles.load("rgb-cog")


def changed(**parts: Any) -> dict[str, Any]:
    return {**deepcopy(BASE), **parts}


@pytest.mark.parametrize(
    ("name", "used", "platform", "orbit", "baseline"),
    [
        (
            "S2A_28QCH_20200714_0_L2A.json",
            profile("sentinel-s2-l2a-cogs", "B04", "B03", "B02", mask="SCL"),
            "sentinel-2a",
            "123",
            "",
        ),
        (
            "S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531.json",
            PLANETARY,
            "sentinel-2b",
            "43",
            "02.12",
        ),
        (
            "LC08_L2SP_028030_20200114_20200824_02_T1_SR.json",
            profile("landsat-c2l2-sr", "red", "green", "blue", mask="qa_pixel"),
            "landsat-8",
            "28",
            "",
        ),
        (
            "LC08_L2SR_081119_20200101_20200823_02_T2.json",
            profile("landsat-c2l2-sr", "SR_B4.TIF", "SR_B3.TIF", "SR_B2.TIF"),
            "landsat-8",
            "81",
            "",
        ),
        (
            "ga_ls8c_ard_3-1-0_088080_2020-05-25_final.stac-item.json",
            profile("ga_ls8c_ard_3", "nbart_red", "nbart_green", "nbart_blue", mask="oa_fmask"),
            "landsat-8",
            "88",
            "",
        ),
    ],
)
def test_real_items(name: str, used: Profile, platform: str, orbit: str, baseline: str) -> None:
    item = parse_item(document(name), used, base="https://stac.example.org/c/items/i.json")
    assert (item.platform, item.relative_orbit, item.processing_baseline) == (platform, orbit, baseline)
    assert set(item.assets) == {*used.assets(), *used.optional_assets()}
    assert all(href.startswith("http") for href in item.assets.values())
    assert item.acquired_at.tzinfo is not None
    assert item.footprint.is_valid
    assert not item.footprint.has_z


def test_a_planetary_computer_series_is_one_scene_per_pass() -> None:
    items = [parse_item(one, PLANETARY) for one in features("site2-2020_jun_jul-35MNM.geojson")]
    scenes = group_scenes(items)
    assert len(scenes) == len(items) == 13
    assert scenes[0].key == "sentinel-2-l2a/sentinel-2a/78/2020-06-01"
    assert [scene.acquired_at for scene in scenes] == sorted(item.acquired_at for item in items)


def test_earth_search_keeps_boa_offset_applied() -> None:
    used = profiles.load("sentinel2-l2a-earthsearch")
    items = [parse_item(one, used) for one in features("earthsearch_31UDQ.json")]
    assert all(item.properties["earthsearch:boa_offset_applied"] is True for item in items)
    assert {item.relative_orbit for item in items} == {"51", "94"}
    assert all(item.updated_at for item in items)


def test_tiles_next_to_the_antimeridian() -> None:
    items = [parse_item(one, PLANETARY) for one in features("pc_s2_antimeridian.json")]
    (scene,) = group_scenes(items)
    assert len(scene.items) == 2
    # one second after midnight UTC, but noon by solar time
    assert scene.solar_day == date(2019, 1, 1)
    assert scene.footprint.bounds[0] >= -180
    assert scene.footprint.bounds[2] <= 180


def test_a_pass_over_the_antimeridian_is_one_scene() -> None:
    west, east = (
        Item(name, "c", "https://stac.example.org/i", at, None, "p", "72", "", ground, {"red": "r"})
        for name, ground, at in (
            ("east", box(179.5, -17, 180, -16), datetime(2024, 5, 1, 22, 0, 10, tzinfo=UTC)),
            ("west", box(-180, -17, -179.5, -16), datetime(2024, 5, 1, 22, 0, 0, tzinfo=UTC)),
        )
    )
    (scene,) = group_scenes([west, east])
    assert scene.solar_day == date(2024, 5, 2)
    # without an orbit, a day later: two days are two scenes
    later = [replace(one, acquired_at=one.acquired_at + timedelta(days=1)) for one in (west, east)]
    days = group_scenes([replace(one, relative_orbit="") for one in (west, east, *later)], all_versions=True)
    assert [(one.solar_day, len(one.items)) for one in days] == [(date(2024, 5, 2), 2), (date(2024, 5, 3), 2)]


@pytest.mark.parametrize("shift", [0, 360, -360])
def test_footprints_over_180_degrees_are_split(shift: int) -> None:
    ring = [[179 + shift, 1], [181 + shift, 1], [181 + shift, 2], [179 + shift, 2], [179 + shift, 1]]
    if shift == 0:
        ring = [[(x + 180) % 360 - 180, y] for x, y in ring]
    item = parse_item(changed(geometry={"type": "Polygon", "coordinates": [ring]}), VISUAL)
    assert item.footprint.geom_type == "MultiPolygon"
    assert item.footprint.area == pytest.approx(2)
    assert item.footprint.bounds == pytest.approx((-180, 1, 180, 2))


def test_start_and_end_datetime_replace_datetime() -> None:
    times = {
        "datetime": None,
        "start_datetime": "2024-05-01T10:00:00Z",
        "end_datetime": "2024-05-01T10:00:10Z",
    }
    item = parse_item(changed(properties=times), VISUAL)
    assert item.acquired_at == datetime(2024, 5, 1, 10, 0, 5, tzinfo=UTC)


def test_three_coordinates_and_nanoseconds() -> None:
    ring = [[1, 1, 9], [2, 1, 9], [2, 2, 9], [1, 2, 9], [1, 1, 9]]
    made = changed(
        geometry={"type": "Polygon", "coordinates": [ring]},
        properties={"datetime": "2024-05-01T12:00:00.123456789+02:00"},
    )
    item = parse_item(made, VISUAL)
    assert not item.footprint.has_z
    assert item.acquired_at == datetime(2024, 5, 1, 10, 0, 0, 123456, tzinfo=UTC)


def test_pystac_items_are_accepted() -> None:
    assert parse_item(pystac.Item.from_dict(BASE), VISUAL) == parse_item(BASE, VISUAL)


def test_relative_and_alternate_hrefs() -> None:
    item = parse_item(changed(assets={"visual": {"href": "./one.tif"}}), VISUAL)
    assert item.assets["visual"] == "https://stac.example.org/items/one.tif"
    both = {"href": "s3://b/one.tif", "alternate": {"https": {"href": "https://data.example.org/1.tif"}}}
    assert parse_item(changed(assets={"visual": both}), VISUAL).assets["visual"].endswith("/1.tif")


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"geometry": None}, "no geometry"),
        ({"geometry": {"type": "Point", "coordinates": [1, 2]}}, "Point"),
        ({"geometry": {"type": "Polygon", "coordinates": [[[1, 1], [2]]]}}, "geometry"),
        ({"geometry": {"type": "Polygon", "coordinates": []}}, "Polygon"),
        *(
            (
                {"geometry": {"type": "Polygon", "coordinates": [[[1, 1], [2, 1], [2, lat], [1, 1]]]}},
                "a latitude",
            )
            for lat in (90.5, -91, 1e308)
        ),
        ({"properties": {}}, "time is missing or invalid"),
        ({"properties": {"datetime": "yesterday"}}, "yesterday"),
        ({"properties": None}, "no properties"),
        ({"assets": {"thumbnail": {"href": "x"}}}, r"'visual' is missing \(present: thumbnail\)"),
        ({"assets": {"visual": {}}}, "no href"),
        ({"assets": {"visual": {"href": "s3://bucket/one.tif"}}}, "s3://bucket"),
        ({"assets": {"visual": {"href": "one.tif"}}, "links": []}, "relative"),
        ({"collection": "other"}, "'other'"),
    ],
)
def test_bad_items_are_rejected_with_a_reason(parts: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadItem, match=reason) as caught:
        parse_item(changed(**parts), VISUAL)
    assert caught.value.item_id == "one"


def test_missing_id() -> None:
    with pytest.raises(BadItem, match="no id"):
        parse_item(changed(id=None), VISUAL)


def item(
    name: str, *, tile: str = "", baseline: str = "", west: float = 0, hour: int = 10, catalog: str = ""
) -> Item:
    return Item(
        id=name,
        collection="c",
        href=f"https://stac.example.org/{name}",
        acquired_at=datetime(2024, 5, 1, hour, tzinfo=UTC),
        updated_at=None,
        platform="p",
        relative_orbit="1",
        processing_baseline=baseline,
        footprint=box(west, 0, west + 1, 1),
        assets={},
        properties={"grid:code": tile} if tile else {},
        catalog=catalog,
    )


def test_newest_version_of_an_acquisition_is_kept() -> None:
    old, new = item("z-old", tile="T", baseline="02.09"), item("a-new", tile="T", baseline="05.10")
    (scene,) = group_scenes([new, old])
    assert [one.id for one in scene.items] == ["a-new"]


def test_same_id_by_update_time() -> None:
    old = replace(item("x"), updated_at=datetime(2024, 5, 2, tzinfo=UTC))
    new = replace(item("x"), updated_at=datetime(2024, 5, 3, tzinfo=UTC), href="https://stac.example.org/v2")
    (scene,) = group_scenes([new, old, old])
    assert scene.items == (new,)


def test_complementary_parts_of_a_tile_are_both_kept() -> None:
    (scene,) = group_scenes([item("a", tile="T"), item("b", tile="T", west=0.9)])
    assert len(scene.items) == 2
    assert scene.footprint.bounds == (0, 0, 1.9, 1)


def test_noon_passes_are_never_cut_at_midnight() -> None:
    # local noon at 170 degrees east is half past midnight UTC
    (scene,) = group_scenes([item("a", west=172, hour=0), item("b", west=173, hour=0)])
    assert scene.solar_day == date(2024, 5, 1)


ITEMS = st.lists(
    st.builds(
        item,
        st.sampled_from(["a", "b", "c", "d"]),
        tile=st.sampled_from(["", "T", "U"]),
        baseline=st.sampled_from(["", "02.09", "10.01"]),
        west=st.sampled_from([0.0, 0.2, 0.9, 40.0]),
        hour=st.integers(0, 23),
        catalog=st.sampled_from(["", "https://a.example", "https://b.example"]),
    ),
    max_size=8,
)


@given(items=ITEMS, data=st.data())
def test_order_and_repetition_change_nothing(items: list[Item], data: st.DataObject) -> None:
    again = data.draw(st.permutations(items + items))
    assert group_scenes(again) == group_scenes(items)


#: Parts of one tile: west and east edges, and a version.
PIECES = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 10), st.integers(1, 4)), min_size=1, max_size=6)


@settings(deadline=None)
@given(pieces=PIECES, data=st.data())
def test_kept_versions_cover_all_versions(pieces: list[tuple[int, int, int]], data: st.DataObject) -> None:
    """In any order the same items are kept, and the newest is among them."""
    found = [
        replace(
            item(f"{index}", tile="T", baseline=f"05.{version:02d}"),
            footprint=box(west / 10, 0, (west + width) / 10, 1),
        )
        for index, (west, width, version) in enumerate(pieces)
    ]
    (scene,) = group_scenes(found)
    everything = shapely.union_all([one.footprint for one in found])
    assert everything.difference(scene.footprint).area == pytest.approx(0, abs=1e-9)
    newest = max(found, key=lambda one: (one.processing_baseline, one.id))
    assert newest in scene.items
    assert group_scenes(data.draw(st.permutations(found))) == [scene]


def test_a_scene_never_spans_two_catalogs() -> None:
    one = replace(item("a"), catalog="https://one.example")
    two = replace(item("a"), catalog="https://two.example", footprint=box(0.1, 0, 1.1, 1))
    scenes = group_scenes([one, two, one])
    assert [(scene.catalog, scene.items) for scene in scenes] == [(x.catalog, (x,)) for x in (one, two)]
    assert len({scene.key for scene in scenes}) == 2
    # the collection of the items, in either place
    stray = changed(collection=None)
    stray["properties"]["collection"] = "visual"
    assert parse_item(stray, replace(VISUAL, collection="*")).collection == "visual"


def test_an_unknown_cloud_cover_does_not_count_as_clear() -> None:
    def of(cover: float | None, day: int) -> Any:
        at = datetime(2024, 5, day, 10, tzinfo=UTC)
        properties = {} if cover is None else {"eo:cloud_cover": cover}
        return group_scenes([replace(item("a"), acquired_at=at, properties=properties)])[0]

    clear, unsaid = of(10.0, 1), of(None, 2)
    assert select_best_scene([clear, unsaid], box(0, 0, 1, 1)) == clear
    assert select_best_scene([of(None, 1), unsaid], box(0, 0, 1, 1)) == unsaid
