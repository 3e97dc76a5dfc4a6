"""Rasters carry their CRS and transform by the CF conventions, and cannot be mixed across grids."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS

from segwatch.geo.grid import compute_pixel_area, get_crs
from segwatch.geo.raster import BAND_YX, RGB, YX, YX_BAND, make_coordinates
from segwatch.geo.rendering import render
from segwatch.geo.sources import profiles

GRID = GeoBox((7, 5), Affine(0.3, 0, 300_000.3, 0, -0.3, 5_400_000.9), "EPSG:32633")


@pytest.mark.parametrize("window", [GRID, GRID[2:3, 4:5], GRID[1:7, 0:3]], ids=["whole", "one pixel", "part"])
def test_a_raster_carries_the_georeference_of_its_grid(window: GeoBox) -> None:
    raster = xr.DataArray(np.zeros(window.shape), dims=YX, coords=make_coordinates(window))
    reference = raster.spatial_ref.attrs
    assert CRS.from_cf(reference) == get_crs(GRID)
    transform = Affine.from_gdal(*map(float, reference["GeoTransform"].split()))
    assert transform == window.transform
    x, y = transform * (0.5, 0.5)
    assert float(raster.x[0]) == pytest.approx(x, abs=1e-6)
    assert float(raster.y[0]) == pytest.approx(y, abs=1e-6)
    assert list(raster.y.values) == sorted(raster.y.values, reverse=True)


def test_the_crs_is_read_from_a_local_projection_too() -> None:
    local = CRS.from_proj4("+proj=laea +lat_0=46 +lon_0=15 +datum=WGS84 +units=m +no_defs")
    grid = GeoBox((2, 2), Affine(10, 0, 0, 0, -10, 0), local)
    assert CRS.from_cf(make_coordinates(grid)["spatial_ref"].attrs) == local
    assert compute_pixel_area(grid) == 100


def test_a_grid_without_a_crs_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a CRS"):
        get_crs(GeoBox((2, 2), Affine.identity(), None))


def test_rendering_keeps_the_georeference_and_refuses_another_grid() -> None:
    profile, coordinates = profiles.load("rgb-cog"), make_coordinates(GRID)
    bands = xr.DataArray(
        np.full((3, *GRID.shape), 7, np.float32), dims=BAND_YX, coords=coordinates.assign(band=list(RGB))
    )
    valid = xr.DataArray(np.ones(GRID.shape, bool), dims=YX, coords=coordinates)
    rgb = render(bands, valid, profile)
    assert rgb.dims == YX_BAND
    assert rgb.dtype == np.uint8
    xr.testing.assert_equal(rgb.sel(band="green").drop_vars("band"), xr.full_like(valid, 7, np.uint8))
    shifted = valid.assign_coords(x=valid.x + 0.3)
    with pytest.raises(ValueError, match="cannot align"):
        render(bands, shifted, profile)
