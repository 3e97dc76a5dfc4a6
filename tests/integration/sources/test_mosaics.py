"""Scenes of several items: zones, swaths and clouds put together by a stated rule; nothing read that is not needed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.transform import from_origin
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from segwatch.geo.crs import to_crs
from segwatch.geo.grid import make_grid
from segwatch.geo.sources import profiles
from segwatch.geo.sources.rasters.pixels import SceneWindow, read_scene
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.source import BandRef, CloudMask, Profile
from tests.support.serving import serving_files

#: Around 12 degrees east, where the zones 32 and 33 meet.
AREA = box(11.96, 46.0, 12.04, 46.04)
GRID = make_grid(AREA, 20.0)
NOW = datetime(2024, 5, 1, 10, tzinfo=UTC)
CLEAR, CLOUD = 0, 1


def tiff(zone: int, ground: BaseGeometry, value: int, *, slant: float = 0.0, count: int = 3) -> bytes:
    """Constant pixels of a zone over some ground; with ``slant`` a swath whose left edge leans that far."""
    west, south, east, north = to_crs(ground, CRS.from_epsg(32600 + zone)).bounds
    height, width = int((north - south) / 10), int((east - west) / 10)
    pixels = np.full((count, height, width), value, np.uint8)
    cols, rows = np.arange(width)[None], np.arange(height)[:, None]
    pixels[:, cols < slant * rows] = 0
    # without overviews: those of a file that declares no value for no data mix it into their pixels themselves
    made = {"driver": "GTiff", "width": width, "height": height, "count": count, "dtype": "uint8",
            "tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "deflate"}  # fmt: skip
    with rasterio.MemoryFile() as memory:
        transform = from_origin(west, north, 10, 10)
        with memory.open(crs=f"EPSG:{32600 + zone}", transform=transform, **made) as file:
            file.write(pixels)
        content: bytes = memory.read()
        return content


def item(name: str, base: str, *, cloud: float | None = None, minutes: int = 0, **assets: str) -> Item:
    found = {"visual": f"{base}/{name}.tif", **{key: f"{base}/{path}" for key, path in assets.items()}}
    properties = {} if cloud is None else {"eo:cloud_cover": cloud}
    at = NOW + timedelta(minutes=minutes)
    return Item(name, "visual", f"{base}/{name}", at, None, "made", "1", "", AREA, found, properties)


def look(items: list[Item], profile: Profile | None = None, area: Any = AREA) -> SceneWindow:
    scene = Scene("visual", "made", "1", date(2024, 5, 1), NOW, tuple(items), AREA)
    profile = profile or replace(profiles.load("rgb-cog"), nodata=0)
    return read_scene(scene, profile, make_grid(area, 20.0), allowed_hosts=["127.0.0.1:*"])


def values(window: SceneWindow) -> NDArray[np.float32]:
    return np.where(window.valid, window.bands[0], 0)


WEST, EAST = box(11.9, 45.95, 12.01, 46.1), box(11.99, 45.95, 12.1, 46.1)


def test_items_of_two_zones_make_one_picture_without_a_seam() -> None:
    with serving_files({"/w.tif": tiff(32, WEST, 100), "/e.tif": tiff(33, EAST, 200)}) as files:
        window = look([item("w", files.url), item("e", files.url)])
    assert window.valid.all()
    assert set(np.unique(values(window))) == {100, 200}
    # each row changes once: the border between the zones is one line
    changes = (np.diff(values(window), axis=1) != 0).sum(axis=1)
    assert set(changes) == {1}


@pytest.mark.parametrize(
    ("first", "second", "wins"),
    [
        ({"cloud": 40.0}, {"cloud": 10.0}, 200),
        ({"cloud": 10.0}, {"cloud": 40.0, "minutes": 5}, 100),
        ({"cloud": 10.0}, {"cloud": 10.0, "minutes": 5}, 200),
        ({"minutes": 5}, {}, 100),
        ({}, {"cloud": 90.0}, 200),
    ],
    ids=["less cloud", "less cloud before newer", "newer", "newer, neither says", "said before unsaid"],
)
def test_where_items_overlap_the_less_cloudy_then_the_newer_is_shown(
    first: dict[str, Any], second: dict[str, Any], wins: int
) -> None:
    with serving_files({"/a.tif": tiff(32, WEST, 100), "/b.tif": tiff(33, EAST, 200)}) as files:
        for items in (
            [item("a", files.url, **first), item("b", files.url, **second)],
            [item("b", files.url, **second), item("a", files.url, **first)],
        ):
            window = look(items, area=box(11.995, 46.01, 12.005, 46.03))
            assert set(np.unique(values(window))) == {wins}


def test_a_cloud_is_filled_by_the_item_that_sees_the_ground() -> None:
    cloudy = replace(
        profiles.load("rgb-cog"), nodata=0, clouds=CloudMask(BandRef("mask"), unclear_values=(CLOUD,))
    )
    content = {
        "/a.tif": tiff(33, AREA.buffer(0.01), 100),
        "/b.tif": tiff(33, AREA.buffer(0.01), 200),
        "/over.tif": tiff(33, AREA.buffer(0.01), CLOUD, slant=1.0, count=1),
        "/free.tif": tiff(33, AREA.buffer(0.01), CLEAR, count=1),
    }
    with serving_files(content) as files:
        best = item("a", files.url, cloud=10.0, mask="over.tif")
        other = item("b", files.url, cloud=20.0, mask="free.tif")
        window = look([best, other], cloudy)
        alone = look([best], cloudy)
    assert window.valid.all()
    assert window.clear.all()
    assert set(np.unique(values(window))) == {100, 200}
    np.testing.assert_array_equal(values(window) == 100, alone.clear)


def test_the_slanted_edge_of_a_swath_shows_no_ground() -> None:
    whole = AREA.buffer(0.01)
    with serving_files({"/a.tif": tiff(33, whole, 100, slant=0.7)}) as files:
        window = look([item("a", files.url)])
    assert 0 < window.valid.mean() < 1
    assert set(np.unique(values(window))) == {0, 100}
    # once imaged, a row stays so to its end
    assert (np.diff(window.valid.astype(int), axis=1) >= 0).all()


def test_an_item_beside_the_area_is_not_read() -> None:
    far = box(13.0, 46.0, 13.1, 46.1)
    with serving_files({"/a.tif": tiff(33, AREA.buffer(0.01), 100), "/far.tif": tiff(33, far, 200)}) as files:
        window = look([item("far", files.url, cloud=0.0), item("a", files.url, cloud=50.0)])
        asked = files.bytes_asked("/far.tif")
    assert window.valid.all()
    assert set(np.unique(values(window))) == {100}
    # its head alone, to see where it lies
    assert asked <= 64 * 1024
