"""People, buildings and roads by kind of ground, against computations that share no code with ours."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from shapely.geometry import LineString, Point, box

from segwatch.flows.report.exposure import (
    ExposureRefused,
    Ground,
    count_buildings,
    count_people,
    measure_roads,
)

AREA = box(14.0, 46.0, 14.02, 46.02)
AFFECTED = Point(14.008, 46.011).buffer(0.0047)
UNSEEN = box(14.015, 46.0, 14.02, 46.02).difference(AFFECTED)
GROUND = Ground(AFFECTED, AREA.difference(AFFECTED).difference(UNSEEN), UNSEEN)
PARTS = (GROUND.affected, GROUND.unaffected, GROUND.unseen)


def test_people_count_by_the_share_of_their_pixel(tmp_path: Path) -> None:
    side, random = 0.00083, np.random.default_rng(5)
    people = random.gamma(0.5, 20, (32, 34)).astype(np.float32)
    people[3, 4] = -99999
    path = tmp_path / "worldpop.tif"
    transform = Affine(side, 0, 13.9967, 0, -side, 46.0231)
    with rasterio.open(
        path, "w", driver="GTiff", height=32, width=34, count=1, dtype="float32", crs="EPSG:4326",
        transform=transform, nodata=-99999,
    ) as file:  # fmt: skip
        file.write(people, 1)
    found = count_people(GROUND, path)
    people[3, 4] = 0
    pixels = [
        box(*(transform * (col, row + 1)), *(transform * (col + 1, row)))
        for row in range(32)
        for col in range(34)
    ]
    for part, ours in zip(PARTS, (found.affected, found.unaffected, found.unseen), strict=True):
        shares = shapely.area(shapely.intersection(pixels, part)) / side**2
        assert ours == pytest.approx(float((shares * people.ravel()).sum()), rel=0.01)
    (tmp_path / "no.tif").write_bytes(b"none")
    with pytest.raises(ExposureRefused, match="cannot be read as a raster"):
        count_people(GROUND, tmp_path / "no.tif")


def test_buildings_and_roads_are_those_of_an_overlay(tmp_path: Path) -> None:
    random = np.random.default_rng(6)
    corners = random.uniform([13.998, 45.998], [14.022, 46.022], (500, 2))
    houses = gpd.GeoDataFrame(geometry=[box(x, y, x + 2e-4, y + 2e-4) for x, y in corners], crs=4326)
    houses.to_crs(32633).to_file(tmp_path / "houses.gpkg")
    found = count_buildings(GROUND, tmp_path / "houses.gpkg")
    inside = houses[houses.representative_point().within(AREA)]
    hit = inside.intersects(AFFECTED)
    hidden = inside.representative_point().within(UNSEEN) & ~hit
    assert (found.affected, found.unseen, found.all) == (hit.sum(), hidden.sum(), len(inside))
    lines = [LineString([(13.99, y), (14.03, y + 0.003)]) for y in np.linspace(46.0, 46.018, 7)]
    roads = gpd.GeoDataFrame(geometry=lines, crs=4326)
    roads.to_file(tmp_path / "roads.geojson")
    measured = measure_roads(GROUND, tmp_path / "roads.geojson")
    for part, ours in zip(PARTS, (measured.affected, measured.unaffected, measured.unseen), strict=True):
        ground = gpd.GeoDataFrame(geometry=[part], crs=4326)
        cut = gpd.overlay(roads, ground, how="intersection", keep_geom_type=True).to_crs(32633)
        assert ours == pytest.approx(float(cut.length.sum()) / 1000, rel=2e-3)
    roads.to_file(tmp_path / "nowhere.shp")
    (tmp_path / "nowhere.prj").unlink()
    with pytest.raises(ExposureRefused, match="no coordinate reference system"):
        measure_roads(GROUND, tmp_path / "nowhere.shp")
