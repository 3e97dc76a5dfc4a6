"""Invariant 4: polygons of an observation equal its stitched mask: no seams, no double counting, holes kept."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely.geometry import Polygon, box

from segwatch.geo.antimeridian import split_at_antimeridian
from segwatch.geo.crs import to_crs
from segwatch.geo.detect import observe
from segwatch.geo.footprint import AreaMask
from segwatch.geo.grid import get_crs, make_grid
from segwatch.geo.stitch import Stitcher
from segwatch.geo.tiling import make_tiles

SIDE = 24
PLACES = {
    "middle of a zone": box(15.0, 46.0, 15.02, 46.015),
    "border of two zones": box(11.99, 46.0, 12.01, 46.015),
    "south": box(-64.0, -31.02, -63.98, -31.0),
    "equator": box(9.0, -0.01, 9.02, 0.01),
    "antimeridian": split_at_antimeridian(
        Polygon([(179.99, -17.0), (-179.99, -17.0), (-179.99, -16.98), (179.99, -16.98)])
    ),
}
masks = arrays(np.bool_, (SIDE, SIDE))


@pytest.mark.parametrize("place", sorted(PLACES))
@given(masks, st.integers(6, 24), st.integers(0, 5))
@settings(max_examples=15, deadline=None)
def test_polygons_are_the_stitched_mask(
    place: str, coarse: NDArray[np.bool_], side: int, overlap: int
) -> None:
    area = PLACES[place]
    grid = make_grid(area, 100.0)
    rows = np.arange(grid.height) * SIDE // grid.height
    columns = np.arange(grid.width) * SIDE // grid.width
    mask = coarse[np.ix_(rows, columns)]
    stitcher = Stitcher(grid.height, grid.width, side, overlap)
    for tile in make_tiles(grid.height, grid.width, side, overlap):
        window = mask[tile.row : tile.row + tile.height, tile.col : tile.col + tile.width]
        stitcher.add(tile, np.where(window, 4.0, -4.0).astype(np.float32)[None])
    seen = np.ones(mask.shape, np.bool_)
    footprint, found = observe(
        stitcher.take(grid.height), seen, area, grid, label=lambda _: "water", min_polygon_m2=0.0
    )
    for one in found:
        assert one.geometry.is_valid
        assert all(part.exterior.is_ccw for part in shapely.get_parts(one.geometry))
        west, south, east, north = one.geometry.bounds
        assert -180 <= west <= east <= 180
        assert -90 <= south <= north <= 90
    local = [to_crs(one.geometry, get_crs(grid)) for one in found]
    shape = (grid.height, grid.width)
    burnt = rasterize(local, out_shape=shape, transform=grid.transform) if local else np.zeros(shape)
    # pixels that the area's own outline cuts through may fall to either side
    whole = AreaMask(area.buffer(-2e-3), grid).rasterize(grid)
    np.testing.assert_array_equal(burnt[whole] > 0, mask[whole])
    total = sum(geometry.area for geometry in local)
    assert shapely.union_all(local).area == pytest.approx(total, rel=1e-6)
    # coordinates are kept to 1e-7 degree, so outlines may differ by a centimetre along their length
    outside = shapely.union_all([one.geometry for one in found]).difference(footprint)
    assert outside.area <= 1e-7 * area.length
