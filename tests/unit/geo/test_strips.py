"""A mask that comes in strips and bands gives the polygons of the whole mask, whatever these are (invariant 4)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize, shapes
from scipy import ndimage
from shapely.geometry import shape

from segwatch.geo.crs import to_lonlat
from segwatch.geo.detect import Observer, observe
from segwatch.geo.footprint import AreaMask
from segwatch.geo.grid import get_crs
from segwatch.geo.polygons import Region, Tracer
from segwatch.geo.seams import join_regions
from segwatch.geo.stitch import Stitched, Stitcher
from segwatch.geo.tiling import extend_to_tiles, make_lattice_tiles, make_tiles, split_columns
from segwatch.geo.types.watch import PolygonStyle

HEIGHT, WIDTH = 30, 20
GRID = GeoBox((HEIGHT, WIDTH), Affine(10, 0, 500_000, 0, -10, 5_100_000), "EPSG:32633")
masks = arrays(np.bool_, (HEIGHT, WIDTH))
cuts = st.sets(st.integers(1, HEIGHT - 1)).map(lambda rows: [0, *sorted(rows), HEIGHT])
columns = st.sets(st.integers(1, WIDTH - 1), max_size=4).map(lambda cols: [0, *sorted(cols), WIDTH])


def in_strips(
    mask: NDArray[np.bool_], edges: list[int], connectivity: int, seams: Sequence[int] = (0, WIDTH)
) -> list[Region]:
    logits = np.linspace(-3, 3, mask.size, dtype=np.float32).reshape(mask.shape)
    found = []
    for left, right in pairwise(seams):
        tracer = Tracer(right - left, connectivity, col=left)
        for start, stop in pairwise(edges):
            found += tracer.add(mask[start:stop, left:right], logits[start:stop, left:right])
        found += tracer.end()
    return sorted(join_regions(found, seams[1:-1], connectivity), key=lambda one: one.first)


@given(masks, cuts, st.sampled_from([4, 8]), columns)
@settings(max_examples=200, deadline=None)
def test_strips_and_bands_give_the_regions_of_the_whole(
    mask: NDArray[np.bool_], edges: list[int], connectivity: int, seams: list[int]
) -> None:
    found = in_strips(mask, edges, connectivity, seams)
    whole = in_strips(mask, [0, HEIGHT], connectivity)
    assert [one.first for one in found] == [one.first for one in whole]
    for one, other in zip(found, whole, strict=True):
        assert one.outline.is_valid
        assert one.outline.equals(other.outline)
        assert one.mean == pytest.approx(other.mean)
        assert shapely.get_num_coordinates(one.outline) <= shapely.get_num_coordinates(other.outline) + 1


@given(masks, cuts, st.sampled_from([4, 8]))
@settings(max_examples=100, deadline=None)
def test_regions_are_those_of_the_labelled_raster(
    mask: NDArray[np.bool_], edges: list[int], connectivity: int
) -> None:
    """Against scipy's labels and GDAL's polygons of the whole mask."""
    found = in_strips(mask, edges, connectivity)
    labels, count = ndimage.label(mask, np.ones((3, 3)) if connectivity == 8 else None)
    assert len(found) == count
    drawn = np.zeros(mask.shape, int)
    for number, one in enumerate(found, 1):
        inside_one = rasterize([one.outline], out_shape=mask.shape).astype(bool)
        assert len(np.unique(labels[inside_one])) == 1
        drawn[inside_one] = number
    np.testing.assert_array_equal(drawn > 0, mask)
    if connectivity == 4:
        traced = [shape(outline) for outline, _ in shapes(mask.astype(np.uint8), mask=mask, connectivity=4)]
        assert {one.normalize().wkb for one in traced} >= {
            one.outline.normalize().wkb for one in in_strips(mask, [0, HEIGHT], 4)
        }


@given(masks, masks, cuts, st.integers(0, HEIGHT), columns)
@settings(max_examples=80, deadline=None)
def test_observing_in_strips_and_bands_is_observing_at_once(
    mask: NDArray[np.bool_], seen: NDArray[np.bool_], edges: list[int], second_from: int, seams: list[int]
) -> None:
    """Also with a second target that the model names only from some row on."""
    area = to_lonlat(shapely.box(*GRID.boundingbox).buffer(-25), get_crs(GRID))
    logits = np.where(np.stack([mask, ~mask]), 3.0, -3.0).astype(np.float32)
    logits[1, :second_from] = -10.0
    known = np.ones_like(mask)
    whole = observe(Stitched(logits, known), seen, area, GRID, label=str, min_polygon_m2=150)
    observer = Observer(area, GRID, label=str, min_polygon_m2=150)
    for left, right in pairwise(seams):
        observer.begin_columns(left, right)
        for start, stop in pairwise(edges):
            named = 2 if stop > second_from else 1
            part = np.s_[start:stop, left:right]
            observer.add(Stitched(logits[:named][:, *part], known[part]), seen[part])
    footprint, found = observer.result()
    assert footprint.equals_exact(whole[0], 1e-9, normalize=True) or footprint.equals(whole[0])
    assert [one.target for one in found] == [one.target for one in whole[1]]
    for one, other in zip(found, whole[1], strict=True):
        assert one.geometry.symmetric_difference(other.geometry).area < 1e-16
        assert one.area_m2 == pytest.approx(other.area_m2, rel=1e-6)


@given(masks, masks, st.sampled_from([PolygonStyle.SIMPLE, PolygonStyle.SMOOTH]))
@settings(max_examples=60, deadline=None)
def test_drawn_outlines_stay_within_the_footprint(
    mask: NDArray[np.bool_], seen: NDArray[np.bool_], outlines: PolygonStyle
) -> None:
    area = to_lonlat(shapely.box(*GRID.boundingbox).buffer(25), get_crs(GRID))
    observer = Observer(area, GRID, label=str, min_polygon_m2=0, outlines=outlines)
    logits = np.where(mask, 3.0, -3.0).astype(np.float32)[None]
    observer.add(Stitched(logits, np.ones_like(mask)), seen)
    footprint, found = observer.result()
    together = shapely.union_all([one.geometry for one in found])
    assert together.difference(footprint).area <= 1e-7 * area.length
    assert all(one.geometry.is_valid for one in found)


@given(
    arrays(np.float32, (HEIGHT, WIDTH), elements=st.floats(-5, 5, width=32)),
    st.integers(6, 16),
    st.integers(0, 4),
)
@settings(max_examples=60, deadline=None)
def test_rows_taken_early_are_the_rows_of_the_whole(
    logits: NDArray[np.float32], side: int, overlap: int
) -> None:
    plan = make_tiles(HEIGHT, WIDTH, side, overlap)
    early, late = (Stitcher(HEIGHT, WIDTH, side, overlap) for _ in range(2))
    strips = []
    top = 0
    for place, tile in enumerate(plan):
        part = logits[tile.row : tile.row + tile.height, tile.col : tile.col + tile.width][None]
        early.add(tile, part)
        late.add(tile, part)
        following = plan[place + 1].row if place + 1 < len(plan) else HEIGHT
        if following > top:
            strips.append(early.take(following))
            top = following
    whole = late.take(HEIGHT)
    np.testing.assert_array_equal(np.concatenate([one.logits for one in strips], axis=1), whole.logits)
    np.testing.assert_array_equal(np.concatenate([one.known for one in strips]), whole.known)
    with pytest.raises(ValueError, match="were taken"):
        early.add(plan[0], np.zeros((1, plan[0].height, plan[0].width), np.float32))


@given(
    arrays(np.float32, (HEIGHT, 60), elements=st.floats(-5, 5, width=32)),
    st.integers(6, 16),
    st.integers(0, 4),
    st.integers(8, 70),
)
@settings(max_examples=60, deadline=None)
def test_bands_are_the_columns_of_the_whole(
    logits: NDArray[np.float32], side: int, overlap: int, most: int
) -> None:
    height, width = logits.shape
    plan = make_tiles(height, width, side, overlap)
    found = split_columns(width, side, overlap, most)
    assert [one.start for one in found] == [0, *(one.stop for one in found[:-1])]
    assert found[-1].stop == width
    assert all(0 < one.stop - one.start <= max(most, side - overlap) + 1 for one in found)
    whole = Stitcher(height, width, side, overlap)
    parts = []
    for tile in plan:
        whole.add(tile, logits[tile.row : tile.row + tile.height, tile.col : tile.col + tile.width][None])
    for band in found:
        stitcher = Stitcher(height, width, side, overlap, band)
        for tile in (one for one in plan if band.has(one)):
            assert band.left <= tile.col
            assert tile.col + tile.width <= band.right
            part = logits[tile.row : tile.row + tile.height, tile.col : tile.col + tile.width]
            stitcher.add(tile, part[None])
        parts.append(stitcher.take(height))
    at_once = whole.take(height)
    np.testing.assert_array_equal(np.concatenate([one.logits for one in parts], axis=2), at_once.logits)
    np.testing.assert_array_equal(np.concatenate([one.known for one in parts], axis=1), at_once.known)


@pytest.mark.parametrize(("connectivity", "count"), [(4, 2), (8, 1)])
def test_corners_meet_across_a_seam_as_they_do_elsewhere(connectivity: int, count: int) -> None:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[3, 9] = mask[4, 10] = True
    assert len(in_strips(mask, [0, HEIGHT], connectivity, (0, 10, WIDTH))) == count


@given(cuts)
@settings(max_examples=20, deadline=None)
def test_rows_of_an_area_are_those_of_the_whole(edges: list[int]) -> None:
    area = to_lonlat(shapely.Point(500_100, 5_099_850).buffer(95), get_crs(GRID))
    mask = AreaMask(area, GRID)
    parts = [mask.rasterize(GRID[start:stop, :]) for start, stop in pairwise(edges)]
    whole = AreaMask(area, GRID).rasterize(GRID)
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert mask.pixels == pytest.approx(whole.sum(), rel=0.05)


@given(
    st.integers(0, 5000), st.integers(0, 5000), st.integers(1, 400), st.integers(1, 400),
    st.sampled_from([(64, 256), (256, 64), (96, 128), (64, 64)]),
)  # fmt: skip
def test_a_grid_that_was_made_for_other_tiles_has_those_of_the_ground(
    row: int, col: int, height: int, width: int, sides: tuple[int, int]
) -> None:
    """Where the own grid of a segmenter lies within that of another one, it sees the same tiles of the area."""
    side, other = sides
    area = GeoBox((height, width), Affine(10, 0, 10 * col, 0, -10, -10 * row), "EPSG:32633")
    whole, own = (extend_to_tiles(area, one, one // 4) for one in (other, side))
    made = make_lattice_tiles(whole, side, side // 4)
    covered = np.zeros(tuple(whole.shape), bool)
    for one in made:
        assert 0 <= one.row <= whole.height - one.height
        assert 0 <= one.col <= whole.width - one.width
        covered[one.row : one.row + one.height, one.col : one.col + one.width] = True
    assert covered.all()
    down, right = (round(one) for one in (~whole.transform * (own.transform.c, own.transform.f))[::-1])
    if down >= 0 and right >= 0 and down + own.height <= whole.height and right + own.width <= whole.width:
        alone = {
            (one.row + down, one.col + right) for one in make_tiles(own.height, own.width, side, side // 4)
        }
        assert alone <= {(one.row, one.col) for one in made}
