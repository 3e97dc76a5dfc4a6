"""Invariant 11. Same ground, same answer: the polygons of a place do not depend on where the area's border runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from uuid import UUID

import numpy as np
import pytest
import rasterio
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from segwatch.db.ledger import LeasedObservation
from segwatch.flows.config.settings import load_settings
from segwatch.flows.inference.segmenters import Segmenter, Tiles, load_segmenter
from segwatch.flows.inference.strips import StripReader
from segwatch.flows.inference.tiled import ObservationGroup, compute_overlap, predict_group, split_grid
from segwatch.geo.crs import to_crs, to_lonlat
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.segmentation import SegmentationRequest, TilePrediction
from segwatch.geo.types.source import BandRef, Profile
from segwatch.geo.types.tracking import ObservationResult
from segwatch.geo.types.watch import Instruction, Watch
from tests.support.paths import ROOT
from tests.support.serving import serving_files

LAKES = ROOT / "demo/imagery/naip-cottonwood/2009-08-18.tif"
GSD_M, UTM = 5.0, CRS.from_epsg(26914)
NOW = datetime(2024, 5, 1, 10, tzinfo=UTC)


class Relative:
    """Marks what is darker than its tile: the answer for a pixel depends on everything that the tile shows."""

    version, tile_px = "relative@1", 128

    def __init__(self) -> None:
        self.darkest = 255

    def segment(self, tiles: Tiles, requests: Sequence[SegmentationRequest]) -> list[list[TilePrediction]]:
        self.darkest = min(self.darkest, *(int(tile.max(axis=2).min()) for tile in tiles))
        assert all(tile.shape == (self.tile_px, self.tile_px, 3) for tile in tiles)
        return [[self._answer(tile.mean(axis=2)) for _ in requests] for tile in tiles]

    def _answer(self, grey: NDArray[np.float64]) -> TilePrediction:
        return TilePrediction(((grey.mean() - 30 - grey) / 20).astype(np.float32)[None])


def load_tiny() -> Segmenter:
    """The shipped model."""
    return load_segmenter(load_settings())


def rectangle(west: float, south: float, east: float, north: float) -> BaseGeometry:
    """Pixels right and down of the lakes' upper left corner; EPSG:4326."""
    left, top = 485_900.0, 5_209_245.0
    return to_lonlat(
        shapely.box(left + west * GSD_M, top - south * GSD_M, left + east * GSD_M, top - north * GSD_M), UTM
    )


def observe(url: str, area: BaseGeometry, segmenter: Segmenter, max_px: int = 5632) -> ObservationResult:
    footprint = rectangle(0, 723, 934, 0)
    item = Item(
        "one", "c", f"{url}/one", NOW, None, "made", "1", "", footprint, {"image": f"{url}/lakes.tif"}
    )
    scene = Scene("c", "made", "1", date(2024, 5, 1), NOW, (item,), footprint)
    red, green, blue = (BandRef("image", index) for index in (1, 2, 3))
    profile = Profile("p", "p", "c", red, green, blue, low=0, high=255, gsd_m=GSD_M, nodata=0)
    watch = Watch(
        "w", Instruction("segment the water", ("water",)), area, profile, url, NOW, min_polygon_m2=0
    )
    group = ObservationGroup(
        (LeasedObservation(UUID(int=1), watch, 1),), frozenset({"127.0.0.1:*"}), segmenter.tile_px
    )
    side = segmenter.tile_px
    columns = split_grid(group.view.grid, side, max_px)
    rows = side - compute_overlap(side)
    with (
        ThreadPoolExecutor(1) as executor,
        StripReader(executor, scene, group.view, columns, rows) as reading,
    ):
        ((_, result),) = predict_group(group, reading, segmenter, 4)
    assert isinstance(result, ObservationResult), result
    return result


def assert_same(one: ObservationResult, other: ObservationResult, common: BaseGeometry) -> None:
    """Both observations say the same of the common ground."""
    inside = to_crs(common, UTM).buffer(-GSD_M)
    water = [
        shapely.union_all([to_crs(found.geometry, UTM) for found in result.detections]).intersection(inside)
        for result in (one, other)
    ]
    assert 0.02 < water[0].area / inside.area < 0.9
    # a thousandth of a pixel
    assert water[0].symmetric_difference(water[1]).area < 1e-3 * GSD_M**2
    assert to_crs(one.footprint, UTM).covers(inside)
    assert to_crs(other.footprint, UTM).covers(inside)


#: Pixels by which the area's four borders are moved: west, south, east, north.
MOVES = [(7, 7, 7, 7), (-13, 5, 40, 5), (0, 0, 1, 0), (-64, -64, -64, -64), (3.4, -2.6, 3.4, -2.6)]


@pytest.mark.parametrize(
    ("make", "moves"), [(Relative, MOVES), (load_tiny, MOVES[:2])], ids=["relative", "tiny"]
)
def test_moved_area_has_the_same_polygons_on_the_same_ground(
    make: Callable[[], Segmenter], moves: Sequence[tuple[float, float, float, float]]
) -> None:
    segmenter = make()
    edges = (300, 420, 520, 180)
    area = rectangle(*edges)
    with serving_files({"/lakes.tif": LAKES.read_bytes()}) as files:
        one = observe(files.url, area, segmenter)
        for move in moves:
            moved = rectangle(*(edge + by for edge, by in zip(edges, move, strict=True)))
            assert_same(one, observe(files.url, moved, segmenter), area.intersection(moved))


def test_part_of_an_area_has_its_polygons_whatever_its_outline_and_spans() -> None:
    segmenter = Relative()
    area, corner = rectangle(150, 600, 800, 60), rectangle(400, 500, 700, 100)
    triangle = shapely.Polygon(shapely.get_coordinates(corner)[:3])
    with serving_files({"/lakes.tif": LAKES.read_bytes()}) as files:
        whole = observe(files.url, area, segmenter)
        assert_same(whole, observe(files.url, triangle, segmenter), triangle)
        assert_same(whole, observe(files.url, area, segmenter, 150), area)


def test_model_never_sees_black_borders() -> None:
    """Neither around the area nor beyond the scene's edge, where the image is mirrored."""
    with rasterio.open(LAKES) as file:
        darkest = int(file.read([1, 2, 3]).max(axis=0).min())
    segmenter = Relative()
    with serving_files({"/lakes.tif": LAKES.read_bytes()}) as files:
        for edges in ((-50, 90, 60, -50), (300, 420, 330, 400), (880, 740, 990, 650)):
            observe(files.url, rectangle(*edges), segmenter)
    assert segmenter.darkest >= max(1, darkest)
