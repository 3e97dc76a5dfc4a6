"""Whatever marks no data, in the file or in the profile, is left out: of pixels and of means, at every grid."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling
from shapely.geometry import box

from segwatch.geo.crs import to_lonlat
from segwatch.geo.grid import get_crs, make_grid
from segwatch.geo.sources import profiles
from segwatch.geo.sources.rasters.pixels import SceneWindow, read_scene
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.source import BandRef, CloudMask, Profile
from tests.support.images import GRID, tiff
from tests.support.serving import serving_files

SIDE, COLLAR, GROUND = 320, 151, 100
#: Of the image, without its outermost pixels.
LEFT, TOP = GRID.transform.c, GRID.transform.f
AREA = to_lonlat(box(LEFT + 800, TOP - 2400, LEFT + 2400, TOP - 800), get_crs(GRID))
RGB = replace(profiles.load("rgb-cog"), finest_m=1.0)
STEPS = (1, 2, 4, 8, 12)


def collared(empty: float, dtype: str = "uint8", count: int = 3) -> NDArray[Any]:
    """(count, side, side) of ground, with a collar of another value on the left that ends inside cells of 2 to 12."""
    pixels = np.full((count, SIDE, SIDE), GROUND, dtype)
    pixels[:, :, :COLLAR] = empty
    return pixels


def changed(content: bytes, **how: Any) -> bytes:
    """A file with a mask, colours or overviews added to it."""
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), TemporaryDirectory() as folder:
        path = Path(folder) / "a.tif"
        path.write_bytes(content)
        with rasterio.open(path, "r+") as file:
            if "mask" in how:
                file.write_mask(how["mask"])
            if "colours" in how:
                file.colorinterp = how["colours"]
            if "overviews" in how:
                file.build_overviews(how["overviews"], Resampling.average)
        return path.read_bytes()


def look(content: bytes, profile: Profile, step: int, **assets: bytes) -> SceneWindow:
    """An image, and further assets, on a grid so many times coarser."""
    files = {"/visual.tif": content, **{f"/{name}.tif": one for name, one in assets.items()}}
    now = datetime(2024, 5, 1, 10, tzinfo=UTC)
    with serving_files(files) as served:
        hrefs = {name: f"{served.url}/{name}.tif" for name in ("visual", *assets)}
        item = Item("one", "visual", served.url, now, None, "made", "1", "", AREA, hrefs)
        scene = Scene("visual", "made", "1", date(2024, 5, 1), now, (item,), AREA)
        profile = replace(profile, gsd_m=10.0 * step)
        return read_scene(scene, profile, make_grid(AREA, profile.gsd_m), allowed_hosts=["127.0.0.1:*"])


def shares(window: SceneWindow) -> tuple[float, set[float]]:
    """Share that is imaged, and the values there."""
    return float(window.valid.mean()), set(np.unique(window.bands.values[:, window.valid.values]).tolist())


def assert_ground_alone(window: SceneWindow, step: int) -> None:
    share, values = shares(window)
    assert values == {GROUND}
    # the area begins at column 80 and ends at 240; cells at the edge of the collar may count or not
    assert share == pytest.approx((240 - COLLAR) / 160, abs=1.5 * step / 160 + 0.02)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("declared", [None, 0, 255, -9999, float("nan")], ids=str)
def test_the_profiles_value_counts_whatever_the_file_declares(declared: float | None, step: int) -> None:
    dtype = "float32" if declared is not None and not 0 <= declared <= 255 else "uint8"
    content = tiff(collared(0, dtype), nodata=declared)
    assert_ground_alone(look(content, replace(RGB, nodata=0), step), step)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("said", [None, 255, -9999, float("nan")], ids=str)
def test_the_files_value_counts_whatever_the_profile_says(said: float | None, step: int) -> None:
    content = tiff(collared(0), nodata=0)
    assert_ground_alone(look(content, replace(RGB, nodata=said), step), step)


@pytest.mark.parametrize("step", STEPS)
def test_both_values_count_beside_each_other(step: int) -> None:
    pixels = collared(0)
    pixels[:, :160] = np.where(pixels[:, :160] == 0, 255, pixels[:, :160])
    assert_ground_alone(look(tiff(pixels, nodata=255), replace(RGB, nodata=0), step), step)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("nodata", [None, 0], ids=["no value", "a value, too"])
def test_a_mask_and_a_value_count_both(nodata: float | None, step: int) -> None:
    pixels = collared(7)
    pixels[:, :160, :COLLAR] = 0
    mask = np.where(pixels[0] == 7, 0, 255).astype(np.uint8)
    if nodata is None:
        mask[pixels[0] == 0] = 0
    content = changed(tiff(pixels), mask=mask)
    assert_ground_alone(look(content, replace(RGB, nodata=nodata), step), step)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("declared", [None, 255], ids=["no value", "a value, too"])
def test_transparency_counts(declared: float | None, step: int) -> None:
    pixels = collared(30, count=4)
    pixels[3] = np.where(pixels[0] == 30, 0, 255)
    colours = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
    content = changed(tiff(pixels, nodata=declared, photometric="RGB"), colours=colours)
    assert_ground_alone(look(content, RGB, step), step)


@pytest.mark.parametrize("declared", [None, 255], ids=str)
def test_overviews_that_mixed_the_collar_in_are_not_believed(declared: float | None) -> None:
    content = changed(
        tiff(collared(0), nodata=declared, tiled=True, blockxsize=64, blockysize=64), overviews=[2, 4, 8]
    )
    assert_ground_alone(look(content, replace(RGB, nodata=0), 4), 4)


@pytest.mark.parametrize("step", STEPS)
def test_what_is_not_a_number_is_no_data(step: int) -> None:
    content = tiff(collared(np.nan, "float32"))
    assert_ground_alone(look(content, replace(RGB, nodata=0), step), step)


def test_means_are_of_ground_alone_where_it_is_scattered() -> None:
    pixels = np.full((3, SIDE, SIDE), 0, np.uint8)
    pixels[:, ::3, ::2] = 90
    pixels[:, 1::3, 1::2] = 130
    window = look(tiff(pixels, nodata=255), replace(RGB, nodata=0), 4)
    assert window.valid.all()
    assert 90 <= window.bands.min() <= window.bands.max() <= 130


def test_a_band_alone_may_be_as_dark_as_no_data() -> None:
    pixels = collared(0)
    pixels[0] = 0
    window = look(tiff(pixels, nodata=255), replace(RGB, nodata=0), 4)
    assert window.valid.mean() == pytest.approx(89 / 160, abs=0.06)
    assert set(np.unique(window.bands.values[:, window.valid.values]).tolist()) == {0, GROUND}


CLOUDY = replace(RGB, clouds=CloudMask(BandRef("mask"), unclear_values=(1,)))


@pytest.mark.parametrize("step", [1, 4])
@pytest.mark.parametrize(
    ("empty", "dtype", "declared", "clouds"),
    [
        (255, "uint8", 255, CLOUDY.clouds),
        (np.nan, "float32", None, CLOUDY.clouds),
        (0, "uint8", 0, CloudMask(BandRef("mask"), unclear_values=(1,), invalid_values=(0,))),
        (9, "uint8", None, CloudMask(BandRef("mask"), unclear_values=(1,), invalid_values=(9,))),
    ],
    ids=["declared by the mask", "not a number", "declared by both", "the profile's list"],
)
def test_ground_of_which_the_mask_says_nothing_is_not_clear(
    empty: float, dtype: str, declared: float | None, clouds: CloudMask, step: int
) -> None:
    mask = np.full((1, SIDE, SIDE), 2, dtype)
    mask[:, :, :COLLAR] = empty
    window = look(
        tiff(collared(GROUND)), replace(CLOUDY, clouds=clouds), step, mask=tiff(mask, nodata=declared)
    )
    assert window.valid.all()
    assert window.clear.mean() == pytest.approx(89 / 160, abs=0.03)


def test_a_mask_that_declares_its_clear_value_as_no_data_hides_nothing() -> None:
    mask = np.zeros((1, SIDE, SIDE), np.uint8)
    window = look(tiff(collared(GROUND)), CLOUDY, 1, mask=tiff(mask, nodata=0))
    assert window.clear.all()
