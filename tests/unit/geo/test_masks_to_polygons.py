"""From masks to polygons: area is conserved, seams do not show, holes survive (invariant 4)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from shapely.geometry import MultiPolygon, Point, Polygon, box

from segwatch.geo.antimeridian import compute_centre, crosses_antimeridian, split_at_antimeridian
from segwatch.geo.area import compute_area_m2
from segwatch.geo.crs import choose_utm, to_crs, to_lonlat
from segwatch.geo.detect import observe
from segwatch.geo.errors import AreaError
from segwatch.geo.grid import get_crs, make_grid
from segwatch.geo.polygons import clean, trace
from segwatch.geo.stitch import ABSENT, Stitcher
from segwatch.geo.tiling import compute_weights, make_tiles

#: UTM zones north and south of the equator and far apart; with the grid's upper left corner.
PLACES = [(32633, 500_000.0, 5_100_000.0), (32719, 300_000.0, 7_500_000.0), (32601, 600_000.0, 200_000.0)]
masks = arrays(np.bool_, st.tuples(st.integers(1, 24), st.integers(1, 24)))


def grid_of(mask: NDArray[Any], place: tuple[int, float, float] = PLACES[0], gsd: float = 10.0) -> GeoBox:
    epsg, left, top = place
    return GeoBox(mask.shape, Affine(gsd, 0, left, 0, -gsd, top), f"EPSG:{epsg}")


def sure(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(mask, 5.0, -5.0).astype(np.float32)


@settings(max_examples=100, deadline=None)
@given(masks, st.sampled_from(PLACES), st.sampled_from([4, 8]))
def test_polygons_are_the_mask(
    mask: NDArray[np.bool_], place: tuple[int, float, float], connectivity: int
) -> None:
    grid = grid_of(mask, place)
    found = trace(mask, sure(mask), grid, target="water", connectivity=connectivity)
    for one in found:
        assert one.geometry.is_valid
        assert one.score > 0.99
        for part in shapely.get_parts(one.geometry):
            assert part.exterior.is_ccw
    if not found:
        assert not mask.any()
        return
    local = [to_crs(one.geometry, get_crs(grid)) for one in found]
    burnt = rasterize(local, out_shape=mask.shape, transform=grid.transform, dtype="uint8").astype(bool)
    np.testing.assert_array_equal(burnt, mask)
    area = sum(geometry.area for geometry in local)
    assert area == pytest.approx(mask.sum() * 100, rel=1e-4)
    if connectivity == 4:
        assert shapely.union_all(local).area == pytest.approx(area, rel=1e-6)  # no ground twice


def test_holes_survive() -> None:
    mask = np.ones((9, 9), bool)
    mask[3:6, 3:6] = False
    (one,) = trace(mask, sure(mask), grid_of(mask), target="water")
    assert isinstance(one.geometry, Polygon)
    assert len(one.geometry.interiors) == 1


def test_connectivity_decides_about_corners() -> None:
    mask = np.array([[True, False], [False, True]])
    assert len(trace(mask, sure(mask), grid_of(mask), target="water")) == 2
    assert len(trace(mask, sure(mask), grid_of(mask), target="water", connectivity=8)) == 1


def test_small_regions_are_dropped_by_geodesic_area() -> None:
    mask = np.zeros((5, 9), bool)
    mask[1, 1] = mask[1:4, 4:7] = True
    (one,) = trace(mask, sure(mask), grid_of(mask), target="water", min_area_m2=200)
    # UTM is 0.04 % short on its central meridian
    assert one.area_m2 == pytest.approx(900 / 0.9996**2, rel=1e-4)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(4, 40), st.integers(0, 30))
def test_tiles_cover_the_grid(height: int, width: int, side: int, overlap: int) -> None:
    overlap = min(overlap, side - 1)
    covered = np.zeros((height, width), int)
    blended = np.zeros((height, width))
    for tile in make_tiles(height, width, side, overlap):
        window = np.s_[tile.row : tile.row + tile.height, tile.col : tile.col + tile.width]
        assert covered[window].shape == (tile.height, tile.width)
        covered[window] += 1
        blended[window] += compute_weights(tile, height, width, overlap)
    assert covered.min() >= 1
    assert blended.min() > 0


@settings(max_examples=60, deadline=None)
@given(arrays(np.bool_, (40, 50)), st.integers(8, 30), st.integers(0, 7))
def test_seams_do_not_show(mask: NDArray[np.bool_], side: int, overlap: int) -> None:
    """Tiles that agree where they overlap give exactly the mask that one tile over all would give."""
    stitcher = Stitcher(40, 50, side, overlap)
    for tile in make_tiles(40, 50, side, overlap):
        window = mask[tile.row : tile.row + tile.height, tile.col : tile.col + tile.width]
        stitcher.add(tile, sure(window)[None])
    stitched = stitcher.take(40)
    np.testing.assert_array_equal(stitched.logits[0] > 0, mask)
    assert stitched.known.all()


def test_a_failed_tile_is_unknown_and_leaves_the_footprint() -> None:
    mask = np.ones((20, 40), bool)
    grid = grid_of(mask)
    stitcher = Stitcher(20, 40, 20, 0)
    left, _ = make_tiles(20, 40, 20, 0)
    stitcher.add(left, sure(np.ones((20, 20), bool))[None])
    stitched = stitcher.take(20)
    area = clean(_lonlat(grid))
    footprint, (one,) = observe(stitched, mask, area, grid, label=lambda _: "water", min_polygon_m2=0)
    half = compute_area_m2(area) / 2
    assert compute_area_m2(footprint) == pytest.approx(half, rel=0.01)
    assert one.area_m2 == pytest.approx(half, rel=0.01)


def test_a_target_that_one_tile_does_not_name_is_absent_there() -> None:
    stitcher = Stitcher(4, 8, 4, 0)
    left, right = make_tiles(4, 8, 4, 0)
    stitcher.add(left, np.zeros((0, 4, 4), np.float32))
    stitcher.add(right, sure(np.ones((4, 4), bool))[None])
    logits = stitcher.take(4).logits[0]
    assert (logits[:, :4] == ABSENT).all()
    assert (logits[:, 4:] > 0).all()


@settings(max_examples=40, deadline=None)
@given(arrays(np.bool_, (16, 16)), arrays(np.bool_, (16, 16)))
def test_detections_lie_within_the_footprint(mask: NDArray[np.bool_], seen: NDArray[np.bool_]) -> None:
    grid = grid_of(mask)
    stitcher = Stitcher(16, 16, 16, 0)
    stitcher.add(make_tiles(16, 16, 16, 0)[0], sure(mask)[None])
    area = clean(_lonlat(grid).buffer(-1e-4))
    footprint, found = observe(stitcher.take(16), seen, area, grid, label=lambda _: "water", min_polygon_m2=0)
    together = shapely.union_all([one.geometry for one in found]) if found else Polygon()
    assert together.difference(footprint).area <= 1e-6 * area.area
    assert together.difference(area).area <= 1e-9 * area.area


def _lonlat(grid: GeoBox) -> Polygon:
    from segwatch.geo.crs import to_lonlat

    outline = to_lonlat(box(*grid.boundingbox), get_crs(grid))
    assert isinstance(outline, Polygon)
    return outline


def test_the_same_area_has_the_same_grid() -> None:
    area = box(14.55, 45.86, 14.57, 45.88)
    one, other = make_grid(area, 10.0), make_grid(Polygon(area.exterior.coords[::-1]), 10.0)
    assert one == other
    assert one.transform.c % 10 == 0
    assert one.transform.f % 10 == 0
    left, bottom, right, top = one.boundingbox
    assert box(left, bottom, right, top).covers(to_crs(area, get_crs(one)).buffer(-0.01))


def test_a_continent_is_no_area_of_interest() -> None:
    with pytest.raises(AreaError, match="cut it into several watches"):
        make_grid(box(0, 40, 30, 60), 10.0)


def test_an_area_round_a_pole_is_cut_along_meridians() -> None:
    with pytest.raises(AreaError, match=r"spans 360 degrees of longitude.*cut it along meridians"):
        make_grid(box(-180, 89.5, 180, 90), 100.0)
    assert make_grid(box(0, 89.5, 180, 90), 100.0).width > 500


@pytest.mark.parametrize(
    ("longitude", "latitude", "epsg"),
    [
        (14.5, 45.9, 32633),
        (-99.1, 47.0, 32614),
        (179.9, -17.0, 32760),
        (10.0, 86.0, 32661),
        (0.0, -85.0, 32761),
    ],
)
def test_utm_zones(longitude: float, latitude: float, epsg: int) -> None:
    area = box(longitude - 0.01, latitude - 0.01, longitude + 0.01, latitude + 0.01)
    assert choose_utm(area).to_epsg() == epsg


def test_islands_on_both_sides_of_the_antimeridian_that_do_not_touch_it() -> None:
    islands = MultiPolygon([box(179.8, -17, 179.9, -16.9), box(-179.9, -17, -179.8, -16.9)])
    assert abs(compute_centre(islands)[0]) == pytest.approx(180)
    grid = make_grid(islands, 100.0)
    assert grid.width * 100 == pytest.approx(42_600, rel=0.05)
    first, last = (
        to_lonlat(Point(*(grid.transform * at)), get_crs(grid)).bounds
        for at in ((0, 0), (grid.width, grid.height))
    )
    assert first[0] % 360 < 180 < last[0] % 360, "the first pixel is in the west"
    assert first[1] > last[1], "and in the north"


@pytest.mark.parametrize(
    ("parts", "over"),
    [
        ([box(-10, 0, -9, 1), box(9, 0, 10, 1)], False),
        ([box(-10, 0, 5, 1), box(170, 0, 180, 1)], False),
        ([box(-180, 0, -179, 1), box(-1, 0, 0, 1)], False),
        ([box(-170, 0, -160, 1), box(165, 0, 170, 1)], True),
        ([box(-180, 0, -179, 1), box(-178, 0, -177, 1)], False),
    ],
)
def test_which_areas_lie_across_the_antimeridian(parts: list[Polygon], over: bool) -> None:
    assert crosses_antimeridian(MultiPolygon(parts)) is over


def test_an_area_over_the_antimeridian() -> None:
    fiji = split_at_antimeridian(Polygon([(179.9, -17.0), (-179.9, -17.0), (-179.9, -16.8), (179.9, -16.8)]))
    assert fiji.geom_type == "MultiPolygon"
    assert crosses_antimeridian(fiji)
    assert abs(compute_centre(fiji)[0]) == pytest.approx(180)
    grid = make_grid(fiji, 100.0)
    assert grid.width * 100 == pytest.approx(
        21_300, rel=0.05
    )  # the grid is turned against north at the zone's edge
    mask = np.ones((grid.height, grid.width), bool)
    (one,) = trace(mask, sure(mask), grid, target="water")
    west, _, east, _ = one.geometry.bounds
    assert (west, east) == (-180, 180)
    assert one.geometry.is_valid
    assert one.area_m2 == pytest.approx(mask.sum() * 1e4, rel=2e-3)
