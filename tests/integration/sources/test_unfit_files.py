"""Files that are not what the profile says are refused by their header, with what to do; those that are, are read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from shapely.geometry import box

from segwatch.geo.crs import to_lonlat
from segwatch.geo.errors import UnfitPixels
from segwatch.geo.grid import get_crs, make_grid
from segwatch.geo.sources import profiles
from segwatch.geo.sources.rasters.pixels import SceneWindow, read_scene
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.source import BandRef, CloudMask, Profile
from tests.support.images import GRID, tiff
from tests.support.serving import serving_files

LEFT, TOP = GRID.transform.c, GRID.transform.f
AREA = to_lonlat(box(LEFT + 100, TOP - 300, LEFT + 300, TOP - 100), get_crs(GRID))
LON, LAT = AREA.bounds[0], AREA.bounds[3]
RGB = profiles.load("rgb-cog")
GREY = replace(RGB, green=BandRef("visual"), blue=BandRef("visual"))
REFLECTANCE = replace(RGB, scale=0.0001, low=0.0, high=0.3)
NUMBERS = replace(RGB, high=3000)


def pixels(count: int = 3, dtype: str = "uint8", side: int = 40) -> NDArray[Any]:
    return np.random.default_rng(1).integers(20, 120, (count, side, side)).astype(dtype)


def palette() -> bytes:
    """One band of indices and the colours that they stand for."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.tif"
        path.write_bytes(tiff(pixels(1)))
        with rasterio.open(path, "r+") as file:
            file.write_colormap(1, {index: (index, 255 - index, 9, 255) for index in range(256)})
        return path.read_bytes()


def transparent() -> bytes:
    return tiff(pixels(4), photometric="RGB", ALPHA="YES")


def spaced(metres: float, *, crs: str = "EPSG:32633") -> bytes:
    """Pixels of another size, around the area."""
    side = max(4, min(600, int(800 / metres)))
    left, top = LEFT + 200 - side * metres / 2, TOP - 200 + side * metres / 2
    return tiff(pixels(side=side), crs=crs, transform=Affine(metres, 0, left, 0, -metres, top))


def in_degrees(degrees: float) -> bytes:
    return tiff(
        pixels(side=80), crs="EPSG:4326", transform=Affine(degrees, 0, LON - 0.003, 0, -degrees, LAT + 0.003)
    )


def look(content: bytes, profile: Profile = RGB, **assets: bytes) -> SceneWindow:
    files = {"/visual.tif": content, **{f"/{name}.tif": one for name, one in assets.items()}}
    now = datetime(2024, 5, 1, 10, tzinfo=UTC)
    with serving_files(files) as served:
        hrefs = {name: f"{served.url}/{name}.tif" for name in ("visual", *assets)}
        item = Item("one", "visual", served.url, now, None, "made", "1", "", AREA, hrefs)
        scene = Scene("visual", "made", "1", date(2024, 5, 1), now, (item,), AREA)
        return read_scene(scene, profile, make_grid(AREA, profile.gsd_m), allowed_hosts=["127.0.0.1:*"])


@pytest.mark.parametrize(
    ("content", "profile", "why"),
    [
        (palette, GREY, "indices into a colour table"),
        (palette, RGB, "indices into a colour table"),
        (lambda: tiff(pixels(1)), RGB, "the profile names band 2, the file has 1"),
        (transparent, replace(RGB, red=BandRef("visual", 4)), "transparency"),
        (lambda: tiff(pixels(1), photometric="MINISWHITE"), GREY, "0 is white"),
        (lambda: tiff(pixels(3, "complex64")), RGB, "complex64 cannot be rendered"),
        (lambda: tiff(pixels()), REFLECTANCE, "type uint8 reaches 255"),
        (lambda: tiff(pixels()), NUMBERS, "nearly black"),
        (lambda: tiff(pixels(dtype="int8")), replace(RGB, high=600), "type int8 reaches 127"),
        (lambda: tiff(pixels(dtype="uint16")), replace(RGB, low=-9, high=-1), "all would be white"),
        (lambda: spaced(60.0), RGB, "pixels are 60 m long"),
        (lambda: spaced(30.0), RGB, "at most 20 m"),
        (lambda: spaced(1.0), RGB, "at least 1.25 m"),
        (lambda: spaced(0.0001), RGB, "pixels are 0.0001 m long"),
        (lambda: in_degrees(0.0003), RGB, "pixels are 33.3 m long"),
        (lambda: in_degrees(0.00001), RGB, "pixels are 1.11 m long"),
        (lambda: spaced(10.0, crs="EPSG:4326"), RGB, "its CRS is in degrees"),
    ],
    ids=[
        "a palette as grey", "a palette as RGB", "one band", "transparency as red", "0 is white", "complex",
        "8 bits as scaled", "8 bits as 16", "signed", "out of the type", "60 m", "30 m", "1 m",
        "degrees said to be metres", "coarse degrees", "fine degrees", "metres said to be degrees",
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_refused(content: Any, profile: Profile, why: str) -> None:
    with pytest.raises(UnfitPixels, match=why):
        look(content(), profile)


@pytest.mark.parametrize(
    ("content", "profile"),
    [
        (lambda: tiff(pixels(dtype="uint16")), RGB),
        (lambda: tiff(pixels(dtype="int16")), REFLECTANCE),
        (lambda: tiff(pixels(dtype="float32")), REFLECTANCE),
        (transparent, RGB),
        (lambda: tiff(pixels(4), photometric="CMYK"), RGB),
        (lambda: tiff(pixels(), photometric="YCBCR", compress="JPEG", tiled=True, blockxsize=16, blockysize=16), RGB),
        (lambda: tiff(pixels(1)), GREY),
        (lambda: tiff(pixels()), replace(NUMBERS, high=900)),
        (lambda: spaced(20.0), RGB),
        (lambda: spaced(1.25), RGB),
        (lambda: spaced(60.0), replace(RGB, coarsest_m=60)),
        (lambda: spaced(1.0), replace(RGB, finest_m=0.5)),
        (lambda: in_degrees(0.0001), RGB),
    ],
    ids=[
        "16 bits that may hold 8", "signed reflectance", "floats", "transparency beside", "inks", "JPEG's colours",
        "grey", "8 bits, stretched", "20 m bands", "an eighth", "coarse and wanted", "fine and wanted", "degrees",
    ],
)  # fmt: skip
def test_a_file_that_fits_is_read(content: Any, profile: Profile) -> None:
    assert look(content(), profile).valid.any()


def test_a_mask_may_have_colours_and_larger_pixels() -> None:
    clouds = replace(RGB, clouds=CloudMask(BandRef("mask"), unclear_values=(1,)))
    assert look(tiff(pixels()), clouds, mask=palette()).clear.any()
    with pytest.raises(UnfitPixels, match="the profile names band 3, the file has 1"):
        lacking = CloudMask(BandRef("mask", 3), unclear_values=(1,))
        look(tiff(pixels()), replace(RGB, clouds=lacking), mask=palette())
