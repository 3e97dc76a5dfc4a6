"""The processing baseline is found wherever a catalog stores it, and never guessed."""

from __future__ import annotations

from typing import Any

import pytest
from shapely.geometry import box, mapping

from segwatch.geo.errors import BadItem
from segwatch.geo.items import parse_item
from segwatch.geo.scenes import group_scenes
from segwatch.geo.sources import profiles
from segwatch.geo.sources.rasters.pixels import compute_offset
from segwatch.geo.types.scene import Item

SENTINEL2 = [name for name in profiles.list_names() if name.startswith("sentinel2-l2a")]
NAME = "S2B_MSIL2A_20260501T100000_N0511_R079_T31TFJ_20260501T150000"
OLD_NAME = "S2B_MSIL2A_20260501T100000_N0301_R079_T31TFJ_20260501T150000"


def parsed(name: str = SENTINEL2[0], identity: str = "S2B_31TFJ_20260501_0_L2A", **parts: Any) -> Item:
    profile = profiles.load(name)
    at = parts.pop("at", "2026-05-01T10:00:00Z")
    link = parts.pop("link", "https://d.example.net/one")
    document = {
        "type": "Feature", "stac_version": "1.0.0", "id": identity, "collection": profile.collection,
        "geometry": mapping(parts.pop("ground", box(3, 44, 4, 45))), "links": [],
        "properties": {"datetime": at, "platform": "sentinel-2b", **parts},
        "assets": {asset: {"href": f"{link}/{asset}.tif"} for asset in profile.assets()},
    }  # fmt: skip
    return parse_item(document, profile)


@pytest.mark.parametrize("profile", SENTINEL2)
@pytest.mark.parametrize(
    ("given", "baseline", "added"),
    [
        ({"s2:processing_baseline": "05.11"}, "05.11", -0.1),
        ({"s2:processing_baseline": "N0511"}, "05.11", -0.1),
        ({"s2:processing_baseline": 5.1}, "05.10", -0.1),
        ({"sentinel:processing_baseline": "03.01"}, "03.01", 0.0),
        ({"processing:version": "05.11"}, "05.11", -0.1),
        ({"s2:product_uri": f"{NAME}.SAFE"}, "05.11", -0.1),
        ({"identity": NAME}, "05.11", -0.1),
        ({"identity": OLD_NAME}, "03.01", 0.0),
        ({"link": f"https://d.example.net/{NAME}.SAFE/GRANULE"}, "05.11", -0.1),
        ({"s2:datastrip_id": "S2B_OPER_MSI_L2A_DS_2BPS_20260501T1_S20260501T100700_N05.11"}, "05.11", -0.1),
        # an invalid baseline is ignored
        ({"processing:version": "v2.0", "s2:product_uri": f"{NAME}.SAFE"}, "05.11", -0.1),
        ({"processing:version": "2.0", "s2:product_uri": f"{NAME}.SAFE"}, "05.11", -0.1),
        ({"s2:processing_baseline": "unknown", "identity": NAME}, "05.11", -0.1),
        # the product name comes before the catalog's version
        ({"processing:version": "01.00", "identity": NAME}, "05.11", -0.1),
    ],
)
def test_the_baseline_is_parsed(profile: str, given: dict[str, Any], baseline: str, added: float) -> None:
    item = parsed(profile, **given)
    assert (item.processing_baseline, compute_offset(item, profiles.load(profile))) == (baseline, added)


@pytest.mark.parametrize("profile", SENTINEL2)
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"processing:version": "v2.0"},
        {"processing:version": "2.0"},
        {"s2:processing_baseline": ""},
        # acquired before any offset, but reprocessed since
        {"at": "2018-05-01T10:00:00Z", "s2:generation_time": "2023-10-06T00:00:00Z"},
    ],
)
def test_an_unknown_offset_is_refused_with_advice(profile: str, given: dict[str, Any]) -> None:
    with pytest.raises(BadItem, match=r"baseline is unknown.*s2:product_uri.*offset_from_baseline"):
        parsed(profile, **given)


@pytest.mark.parametrize("said", [True, "true", 1])
def test_no_baseline_is_needed_if_the_offset_was_removed(said: object) -> None:
    given: dict[str, Any] = {"earthsearch:boa_offset_applied": said}
    item = parsed("sentinel2-l2a-earthsearch", **given)
    assert compute_offset(item, profiles.load("sentinel2-l2a-earthsearch")) == 0.0


def test_an_unclear_offset_property_is_refused() -> None:
    with pytest.raises(BadItem, match="'perhaps', neither true nor false"):
        parsed(**{"earthsearch:boa_offset_applied": "perhaps"})


def test_no_baseline_is_needed_before_offsets() -> None:
    assert parsed(at="2020-05-01T10:00:00Z").processing_baseline == ""


def strip(sensed: str, made: str, baseline: str = "05.11") -> dict[str, str]:
    name = f"S2B_OPER_MSI_L2A_DS_2BPS_{made}_S{sensed}_N{baseline}"
    return {"s2:datastrip_id": name, "s2:processing_baseline": baseline, "grid:code": "MGRS-31TFJ"}


def test_datastrips_tell_parts_of_a_tile_apart() -> None:
    """Parts of two datastrips are both kept; a reprocessed datastrip supersedes its older version."""
    west = parsed(identity="west", **strip("20260501T100700", "20260501T150000"))
    east = parsed(identity="east", **strip("20260501T095100", "20260501T151000"))
    again = parsed(identity="again", **strip("20260501T095100", "20270101T000000", "05.12"))
    (two,) = group_scenes([west, east])
    assert [one.id for one in two.items] == ["east", "west"]
    (newer,) = group_scenes([again, west, east])
    assert [one.id for one in newer.items] == ["again", "west"]
