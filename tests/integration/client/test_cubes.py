"""Scenes over time as rasters: pixel on pixel with the truth, read lazily, and written so that others can read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psycopg
import pytest
import rasterio
import xarray as xr

import segwatch
from segwatch.client.cubes import CONVENTIONS
from segwatch.geo.grid import make_grid
from tests.integration.client.conftest import Ground
from tests.support.shown_series import SPEC, WATCH

#: The area is the imagery less a rim of two pixels.
_INNER = slice(2, -2)


def test_a_cube_is_the_truth_pixel_by_pixel(
    session: segwatch.Session, web_session: segwatch.Session, ground: Ground
) -> None:
    asked = ground.shown.asked
    before = len(asked)
    cube = session.cube(WATCH, targets=["water"], chunk=100)
    assert len(asked) == before, "nothing is read before it is computed"
    assert dict(cube.sizes) == {"time": 5, "band": 3, "y": 156, "x": 156, "target": 1}
    assert cube.pixels.chunks == ((1,) * 5, (3,), (100, 56), (100, 56))
    corner = cube.isel(time=0, x=slice(0, 50), y=slice(0, 50)).pixels.compute()
    assert corner.shape == (3, 50, 50)
    assert {path for path, _, _ in asked[before:]} == {
        f"/made-lakes/05-01{name}.tif" for name in ("", "_cloud")
    }
    full = cube.compute()
    for index, date in enumerate(ground.shown.made.dates):
        clear, water = date.clear[_INNER, _INNER], date.water[_INNER, _INNER]
        np.testing.assert_array_equal(full.clear.values[index], clear)
        predicted = full.prediction.values[index, 0]
        np.testing.assert_array_equal(predicted == 1, water & clear)
        np.testing.assert_array_equal(predicted == 255, ~clear)
    with rasterio.open(ground.shown.made.imagery / "made-lakes" / "05-01.tif") as file:
        np.testing.assert_array_equal(full.pixels.values[0], file.read()[:, _INNER, _INNER])
    grid = make_grid(ground.shown.made.area, SPEC.gsd_m)
    assert (float(full.x[0]), float(full.y[0])) == (grid.transform.c + 5, grid.transform.f - 5)
    assert [str(one)[:10] for one in full.time.values] == [f"2024-{one}" for one in SPEC.days]
    assert str(full.item_hrefs.values[0]).startswith(ground.shown.url)
    assert set(full.model.values) == {"colour@1"}
    xr.testing.assert_equal(web_session.cube(WATCH, chunk=200).compute(), full)


def test_names_and_units_are_those_of_cf(session: segwatch.Session) -> None:
    cube = session.cube(WATCH)
    assert cube.attrs["Conventions"] == CONVENTIONS
    assert cube.attrs["accuracy"].startswith("water: assessed on ")
    for name in ("pixels", "valid", "clear", "prediction"):
        assert cube[name].attrs["grid_mapping"] == "spatial_ref"
        assert cube[name].attrs["long_name"]
    assert cube.spatial_ref.attrs["grid_mapping_name"] == "transverse_mercator"
    assert "WGS 84 / UTM zone 33N" in cube.spatial_ref.attrs["crs_wkt"]
    assert cube.x.attrs == {"standard_name": "projection_x_coordinate", "units": "m", "axis": "X"}
    assert cube.time.attrs["standard_name"] == "time"
    assert list(cube.prediction.attrs["flag_values"]) == [0, 1, 255]
    assert cube.prediction.attrs["flag_meanings"].split() == ["absent", "present", "not_observed"]
    assert cube.pixels.attrs["units"] == "1"


def test_a_part_of_time_and_ground(session: segwatch.Session) -> None:
    objects = session.objects(WATCH)
    new = objects[objects.last_change == "appeared"]
    part = session.cube(WATCH, bbox=new.total_bounds, start="2024-05-20", end="2024-06-01")
    assert part.sizes["time"] == 2
    assert list(part.prediction.isel(target=0).compute().values.reshape(2, -1).max(axis=1)) == [0, 1]
    whole = session.scenes(WATCH)
    assert "prediction" not in whole
    assert set(part.x.values) <= set(whole.x.values), "a part of the same grid"
    assert session.scenes(WATCH, states=["skipped"]).sizes["time"] == 0


@pytest.mark.parametrize("name", ["cube.zarr", "cube.nc"])
def test_what_is_written_is_read_back_equal(session: segwatch.Session, tmp_path: Path, name: str) -> None:
    cube = session.cube(WATCH, chunk=100)
    for _ in range(2):  # it replaces an earlier file
        file = segwatch.write_cube(cube, tmp_path / name)
    back = segwatch.open_cube(file)
    assert back.pixels.chunks == cube.pixels.chunks
    xr.testing.assert_identical(back.compute(), cube.compute())
    assert [one.name for one in tmp_path.iterdir()] == [name]
    with rasterio.open(f"netcdf:{file}:clear" if name.endswith(".nc") else f'ZARR:"{file}":/clear') as other:
        assert (other.width, other.height) == (156, 156)


def test_a_file_is_whole_or_not_there(session: segwatch.Session, ground: Ground, tmp_path: Path) -> None:
    """Imagery that must not be opened stops the writing; the earlier file stays."""
    kept = segwatch.write_cube(session.cube(WATCH, end="2024-05-05"), tmp_path / "cube.zarr")
    with pytest.raises(segwatch.errors.BadRequest, match=r"NAME\.nc"):
        segwatch.write_cube(session.cube(WATCH), tmp_path / "cube.tif")
    with psycopg.connect(ground.database.superuser_url, autocommit=True) as conn:
        conn.execute("SET session_replication_role = replica")
        conn.execute("CREATE TEMP TABLE kept AS SELECT assets FROM segwatch.scene_item")
        conn.execute(
            "UPDATE segwatch.scene_item SET assets = jsonb_set(assets, '{image}', '\"file:///etc/passwd\"')"
        )
        try:
            with (
                segwatch.connect(ground.url) as other,
                pytest.raises(segwatch.errors.NotReadable, match="not http or https"),
            ):
                segwatch.write_cube(other.cube(WATCH), kept)
        finally:
            conn.execute(
                "UPDATE segwatch.scene_item i SET assets = k.assets FROM kept k"
                " WHERE i.assets->>'cloud' = k.assets->>'cloud'"
            )
    assert segwatch.open_cube(kept).sizes["time"] == 1
    assert [one.name for one in tmp_path.iterdir()] == ["cube.zarr"]
