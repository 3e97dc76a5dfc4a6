"""``source check`` passes only sources whose rendering it has read and judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from shapely.geometry import box, mapping

from segwatch.geo.crs import to_lonlat
from segwatch.geo.grid import get_crs
from segwatch.geo.sources import profiles
from segwatch.geo.sources.search.inspection import inspect
from segwatch.geo.sources.search.profile_check import SourceFinding
from segwatch.geo.types.source import BandRef, CloudMask, Profile
from tests.support.images import GRID, tiff
from tests.support.serving import serving_files
from tests.support.stac_store import Store, stac_store

SIDE = 100
LEFT, TOP = GRID.transform.c, GRID.transform.f
GROUND = to_lonlat(box(LEFT, TOP - 10 * SIDE, LEFT + 10 * SIDE, TOP), get_crs(GRID))
RGB = profiles.load("rgb-cog")
REFLECTANCE = replace(RGB, scale=0.0001, low=0.0, high=0.3, nodata=0)
CLOUDY = replace(RGB, clouds=CloudMask(BandRef("mask"), unclear_values=(8, 9), invalid_values=(0,)))


def pixels(low: int = 20, high: int = 200, count: int = 3, dtype: str = "uint8") -> NDArray[Any]:
    return np.random.default_rng(4).integers(low, high, (count, SIDE, SIDE)).astype(dtype)


def mask(value: int) -> bytes:
    return tiff(np.full((1, SIDE, SIDE), value, np.uint8))


def scaled(content: NDArray[Any], scale: float, offset: float) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.tif"
        path.write_bytes(tiff(content))
        with rasterio.open(path, "r+") as file:
            file.scales, file.offsets = [scale] * file.count, [offset] * file.count
        return path.read_bytes()


def check(profile: Profile, *items: Mapping[str, bytes]) -> dict[str, SourceFinding]:
    """Last finding of each subject, for a catalog of these items."""
    files = {f"/{number}/{name}.tif": one for number, item in enumerate(items) for name, one in item.items()}
    store = Store()
    with stac_store(store) as url, serving_files(files) as served:
        for number, item in enumerate(items):
            name = f"a{number}"
            store.put(name, f"2024-05-0{number + 1}T10:00:00Z")
            hrefs = {asset: {"href": f"{served.url}/{number}/{asset}.tif"} for asset in item}
            store.items[name] |= {"geometry": mapping(GROUND), "assets": hrefs}
        return {one.about: one for one in inspect(url, profile, imagery_hosts=["127.0.0.1:*"])}


def test_a_fitting_source_passes_every_check() -> None:
    found = check(CLOUDY, {"visual": tiff(pixels(), nodata=0), "mask": mask(4)})
    assert all(one.good for one in found.values()), found
    assert "3 band(s) of uint8" in found["values"].says
    assert "pixels of 10 m, the profile reads at 10 m" in found["pixel size"].says
    assert "the file declares 0" in found["nodata"].says
    assert found["rendering"].says.startswith("values from 20 to 199; 0% of them rendered white")
    assert "in the sample 4; of these the profile masks none" in found["cloud mask"].says


@pytest.mark.parametrize(
    ("content", "profile", "about", "words"),
    [
        (tiff(pixels(300, 3000, dtype="uint16")), RGB, "rendering", "more than 8 bits"),
        (tiff(pixels()), REFLECTANCE, "rendering", "type uint8 reaches 255"),
        (tiff(np.full((3, SIDE, SIDE), 60, np.uint8)), RGB, "rendering", "one colour"),
        (tiff(pixels(count=1)), RGB, "rendering", "the profile names band 2"),
        (tiff(pixels()), replace(RGB, gsd_m=1.0), "rendering", "pixels are 10 m long"),
        (tiff(pixels()), replace(RGB, nodata=-9999), "nodata", "which type uint8 cannot hold"),
        (
            scaled(pixels(300, 2500, dtype="uint16"), 0.0000275, -0.2),
            REFLECTANCE,
            "scale",
            "one of them is wrong",
        ),
    ],
    ids=[
        "16 bits",
        "8 bits",
        "one colour",
        "one band",
        "pixel size",
        "nodata out of the type",
        "another scale",
    ],
)
def test_a_source_that_does_not_fit_fails(content: bytes, profile: Profile, about: str, words: str) -> None:
    found = check(profile, {"visual": content})
    assert not found[about].good
    assert words in found[about].says


def test_equal_scales_pass() -> None:
    content = scaled(pixels(300, 2500, dtype="uint16"), 0.0001, 0.0)
    assert check(REFLECTANCE, {"visual": content})["scale"].good


@pytest.mark.parametrize(
    ("clouds", "words"),
    [
        (CloudMask(BandRef("mask"), unclear_values=(300,)), "the profile lists 300, which uint8 cannot hold"),
        (
            CloudMask(BandRef("mask"), unclear_bits=(3, 10)),
            "the profile lists bit 10, which uint8 cannot hold",
        ),
    ],
    ids=["values", "bits"],
)
def test_mask_values_that_its_type_cannot_hold_fail(clouds: CloudMask, words: str) -> None:
    found = check(replace(RGB, clouds=clouds), {"visual": tiff(pixels()), "mask": mask(4)})
    assert not found["cloud mask"].good
    assert words in found["cloud mask"].says


def test_a_cloudy_sample_is_skipped_and_all_cloudy_fails() -> None:
    cloudy = {"visual": tiff(pixels()), "mask": mask(9)}
    clear = {"visual": tiff(pixels()), "mask": mask(5)}
    assert check(CLOUDY, cloudy, cloudy, clear)["rendering"].good
    found = check(CLOUDY, cloudy, cloudy)
    assert not found["rendering"].good
    assert "not judged" in found["rendering"].says
