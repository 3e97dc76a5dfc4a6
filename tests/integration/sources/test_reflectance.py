"""Stored numbers as reflectance: the producers' scales, and the offsets that came and went."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest
from shapely.geometry import box

from segwatch.geo.errors import ReadFailed
from segwatch.geo.sources import profiles
from segwatch.geo.sources.rasters.pixels import read_scene
from segwatch.geo.types.scene import Item, Scene
from tests.support.images import GRID, image
from tests.support.serving import serving_files

SENTINEL2 = [name for name in profiles.list_names() if name.startswith("sentinel2-l2a")]
APPLIED = {"earthsearch:boa_offset_applied": True}
NOT_APPLIED = {"earthsearch:boa_offset_applied": False}


NOW, BEFORE = datetime.now(UTC), datetime(2022, 1, 24, tzinfo=UTC)


def shown(
    profile_name: str, stored: int, baseline: str, properties: dict[str, object], now: datetime = NOW
) -> float:
    """The red value of a file of one number."""
    profile = replace(profiles.load(profile_name), access=None, clouds=None)
    square = box(0, 0, 1, 1)
    with serving_files({"/a.tif": image(stored, dtype="uint16")}) as files:
        assets = dict.fromkeys(profile.assets(), f"{files.url}/a.tif")
        item = Item("one", "c", files.url, now, None, "made", "1", baseline, square, assets, properties)
        scene = Scene("c", "made", "1", date(2024, 5, 1), now, (item,), square)
        window = read_scene(scene, profile, GRID, allowed_hosts=["127.0.0.1:*"])
    assert window.valid.all() == (stored != 0)
    return float(np.unique(window.bands[0]).item())


@pytest.mark.parametrize("profile", SENTINEL2)
@pytest.mark.parametrize(
    ("baseline", "properties", "reflectance"),
    [
        ("02.09", {}, 0.3),
        ("03.01", {}, 0.3),
        ("04.00", {}, 0.2),
        ("05.10", {}, 0.2),
        ("05.10", NOT_APPLIED, 0.2),
        ("05.10", APPLIED, 0.3),
        ("", APPLIED, 0.3),
    ],
)
def test_sentinel_2_has_an_offset_since_baseline_4_unless_it_was_taken_out(
    profile: str, baseline: str, properties: dict[str, object], reflectance: float
) -> None:
    assert shown(profile, 3000, baseline, properties) == pytest.approx(reflectance, abs=1e-6)


@pytest.mark.parametrize("profile", SENTINEL2)
def test_without_a_baseline_the_offset_is_not_guessed(profile: str) -> None:
    """Before the first baseline with an offset there is none; what was made since may have one."""
    assert shown(profile, 3000, "", {}, BEFORE) == pytest.approx(0.3, abs=1e-6)
    with pytest.raises(ReadFailed, match="baseline of item one is unknown"):
        shown(profile, 3000, "", {})
    with pytest.raises(ReadFailed, match="baseline of item one is unknown"):
        shown(profile, 3000, "", {"s2:generation_time": "2023-10-06T00:00:00Z"}, BEFORE)


@pytest.mark.parametrize("profile", ["landsat-c2-l2-planetary", "landsat-c2-l2-earthsearch"])
def test_landsat_is_scaled_by_the_usgs(profile: str) -> None:
    assert shown(profile, 20_000, "", {}) == pytest.approx(0.35, abs=1e-6)


@pytest.mark.parametrize("profile", [*SENTINEL2, "landsat-c2-l2-planetary"])
def test_nothing_stored_is_nothing_imaged(profile: str) -> None:
    assert shown(profile, 0, "05.10", {}) == 0.0
