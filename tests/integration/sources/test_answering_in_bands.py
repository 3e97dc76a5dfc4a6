"""A scene that is read, answered and made into polygons band by band is the scene that is so at once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import cache
from uuid import UUID

import numpy as np
import pytest
import rasterio
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.transform import from_origin
from scipy import ndimage

from segwatch.db.ledger import LeasedObservation
from segwatch.flows.inference.quicklooks import Preview
from segwatch.flows.inference.segmenters import Prediction, Tiles, adapt
from segwatch.flows.inference.strips import StripReader
from segwatch.flows.inference.tiled import (
    ObservationGroup,
    Outcome,
    SceneMisrendered,
    predict_group,
    split_grid,
)
from segwatch.geo.crs import to_lonlat
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.source import BandRef, CloudMask, Profile
from segwatch.geo.types.tracking import ObservationResult
from segwatch.geo.types.watch import Instruction, Watch
from tests.support.colour_segmenter import ColourSegmenter
from tests.support.serving import serving_files

SIDE, GSD_M, UTM = 400, 10.0, CRS.from_epsg(32633)
#: More pixels a side than the area and the tiles at its border.
AT_ONCE = SIDE + 2 * 64
WHOLE = shapely.box(500_000, 5_100_000 - SIDE * GSD_M, 500_000 + SIDE * GSD_M, 5_100_000)
NOW = datetime(2024, 5, 1, 10, tzinfo=UTC)
BRIGHT, DARK, RED = (200, 200, 200), (40, 40, 40), (255, 0, 0)


class Frail(ColourSegmenter):
    """Answers with the bright pixels; does not get over tiles that hold one of pure red."""

    tile_px = 64
    colour = BRIGHT

    def __init__(self) -> None:
        self.asked = 0

    def segment(self, tiles: Tiles, instructions: Sequence[str]) -> list[list[Prediction]]:
        self.asked += len(tiles)
        if any((tile == RED).all(axis=2).any() for tile in tiles):
            raise RuntimeError("out of memory")
        return super().segment(tiles, instructions)


def tiff(pixels: NDArray[np.uint8 | np.uint16]) -> bytes:
    made = {"driver": "GTiff", "width": SIDE, "height": SIDE, "count": len(pixels), "dtype": pixels.dtype,
            "tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "deflate"}  # fmt: skip
    with rasterio.MemoryFile() as memory:
        with memory.open(crs=UTM.to_wkt(), transform=from_origin(500_000, 5_100_000, 10, 10), **made) as file:
            file.write(pixels)
        content: bytes = memory.read()
        return content


def ground(*, broken: bool) -> tuple[bytes, bytes]:
    """An image with bright blobs across every seam, and its mask of clouds."""
    rng = np.random.default_rng(5)
    bright = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 12) > 0.01
    image = np.where(bright[:, :, None], BRIGHT, DARK).astype(np.uint8).transpose(2, 0, 1)
    if broken:
        image[:, 300, 250] = RED
    clouds = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 25) > 0.012
    return tiff(image), tiff(clouds.astype(np.uint8)[None])


def group_of(url: str) -> tuple[Scene, ObservationGroup]:
    area = to_lonlat(WHOLE.buffer(-60), UTM)
    assets = {"image": f"{url}/image.tif", "mask": f"{url}/mask.tif"}
    item = Item("one", "c", f"{url}/one", NOW, None, "made", "1", "", area, assets)
    scene = Scene("c", "made", "1", date(2024, 5, 1), NOW, (item,), area)
    red, green, blue = (BandRef("image", index) for index in (1, 2, 3))
    clouds = CloudMask(BandRef("mask"), unclear_values=(1,))
    profile = Profile("p", "p", "c", red, green, blue, low=0, high=255, gsd_m=GSD_M, clouds=clouds)
    watch = Watch("w", Instruction("segment it", ("bright",)), area, profile, url, NOW, min_polygon_m2=0)
    watch = replace(watch, max_failed_tiles=1.0)
    leased = LeasedObservation(UUID(int=1), watch, 1)
    return scene, ObservationGroup((leased,), frozenset({"127.0.0.1:*"}), Frail.tile_px)


@dataclass(frozen=True)
class Seen:
    result: ObservationResult
    picture: NDArray[np.uint8]
    asked: int


def outcome(url: str, most_px: int, rows: int) -> tuple[Outcome, Frail]:
    scene, group = group_of(url)
    segmenter = Frail()
    columns = split_grid(group.view.grid, segmenter.tile_px, most_px)
    with (
        ThreadPoolExecutor(1) as executor,
        StripReader(executor, scene, group.view, columns, rows) as reading,
    ):
        ((_, result),) = predict_group(group, reading, adapt(segmenter), 1)
    return result, segmenter


def observe(url: str, most_px: int, rows: int) -> Seen:
    scene, group = group_of(url)
    segmenter, grid = Frail(), group.view.grid
    preview = Preview(group.view)
    columns = split_grid(grid, segmenter.tile_px, most_px)
    with (
        ThreadPoolExecutor(1) as executor,
        StripReader(executor, scene, group.view, columns, rows) as reading,
    ):
        ((_, result),) = predict_group(group, reading, adapt(segmenter), 1, preview)
    assert isinstance(result, ObservationResult)
    return Seen(result, preview.draw(result), segmenter.asked)


@cache
def observe_at_once(*, broken: bool) -> Seen:
    """What the scene is when it is read as a whole; the same for every way of cutting it."""
    image, mask = ground(broken=broken)
    with serving_files({"/image.tif": image, "/mask.tif": mask}) as files:
        return observe(files.url, AT_ONCE, AT_ONCE)


@pytest.mark.parametrize(("most_px", "rows"), [(200, 48), (90, 100), (64, 17)])
@pytest.mark.parametrize("broken", [False, True], ids=["all answered", "a tile fails"])
def test_bands_and_strips_change_nothing(most_px: int, rows: int, broken: bool) -> None:
    image, mask = ground(broken=broken)
    with serving_files({"/image.tif": image, "/mask.tif": mask}) as files:
        parts = observe(files.url, most_px, rows)
    once = observe_at_once(broken=broken)
    assert once.result.tiles_failed == 0 if not broken else once.result.tiles_failed >= 1
    assert bool(parts.result.tiles_failed) == broken
    assert parts.asked > once.asked, "tiles at seams are asked for twice"
    assert parts.result.clear_share == once.result.clear_share < 1
    assert parts.result.footprint.symmetric_difference(once.result.footprint).area < 1e-14
    assert len(parts.result.detections) == len(once.result.detections) > 5
    for one, other in zip(parts.result.detections, once.result.detections, strict=True):
        assert one.geometry.symmetric_difference(other.geometry).area < 1e-14
        assert one.score == pytest.approx(other.score)
    np.testing.assert_array_equal(parts.picture, once.picture)


def clipped(share: float) -> tuple[bytes, bytes]:
    """An image of which so many rows from the top are numbers of 16 bits, and no cloud."""
    rng = np.random.default_rng(5)
    image = rng.integers(20, 90, (3, SIDE, SIDE)).astype(np.uint16)
    image[:, : int(share * SIDE)] += 2000
    return tiff(image), tiff(np.zeros((1, SIDE, SIDE), np.uint8))


@pytest.mark.parametrize(("most_px", "rows"), [(AT_ONCE, AT_ONCE), (200, 48), (64, 17)])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.035])
def test_a_clipped_picture_is_no_observation_however_it_is_read(
    share: float, most_px: int, rows: int
) -> None:
    image, mask = clipped(share)
    with serving_files({"/image.tif": image, "/mask.tif": mask}) as files:
        result, segmenter = outcome(files.url, most_px, rows)
    assert isinstance(result, SceneMisrendered)
    assert "more than 8 bits" in result.reason
    if most_px == AT_ONCE:
        assert segmenter.asked == 0, "it is judged before the model is asked"


def test_what_is_hidden_by_clouds_is_not_judged() -> None:
    rng = np.random.default_rng(5)
    image = rng.integers(20, 90, (3, SIDE, SIDE)).astype(np.uint8)
    image[:, : SIDE - 40] = 255
    mask = (image[:1] == 255).astype(np.uint8)
    with serving_files({"/image.tif": tiff(image), "/mask.tif": tiff(mask)}) as files:
        result, _ = outcome(files.url, 200, 48)
        assert isinstance(result, ObservationResult)
    with serving_files({"/image.tif": tiff(image), "/mask.tif": tiff(np.zeros_like(mask))}) as files:
        result, _ = outcome(files.url, 200, 48)
        assert isinstance(result, SceneMisrendered), "nor without the clouds"
