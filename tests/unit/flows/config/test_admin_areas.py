"""Files of administrative areas: which are read, how, and what the others are told."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import geopandas
import pytest
import shapely
from shapely.geometry import MultiPolygon, Point, box
from shapely.geometry.base import BaseGeometry

from segwatch.flows.config import admin_areas
from segwatch.flows.config.admin_areas import read_admin_areas
from segwatch.flows.errors import ConfigError

WEST, EAST, ISLAND = box(10, 50, 11, 51), box(11, 50, 12, 51), box(13, 50, 13.5, 51)


def write(path: Path, names: list[Any], shapes: list[BaseGeometry | None], **more: Any) -> Path:
    crs = more.pop("crs", 4326)
    frame = geopandas.GeoDataFrame({"name": names, "code": range(len(names))}, geometry=shapes, crs=crs)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="'crs' was not provided")
        (frame.to_crs(more.pop("to", crs)) if crs else frame).to_file(path, **more)
    return path


def test_areas_come_by_name_in_degrees_from_every_format(tmp_path: Path) -> None:
    names, shapes = ["west", "east", "east "], [WEST, EAST, ISLAND]
    for file, more in (
        ("one.gpkg", {"layer": "districts"}), ("two.geojson", {}), ("three.shp", {}), ("four.fgb", {"to": 3857}),
    ):  # fmt: skip
        east, west = read_admin_areas(write(tmp_path / file, names, list(shapes), **more), "name")
        assert (east.name, west.name) == ("east", "west"), "features of one name are one area"
        assert shapely.equals_exact(west.geometry.normalize(), WEST.normalize(), 1e-6), file
        assert isinstance(east.geometry, MultiPolygon)
        assert east.geometry.area == pytest.approx(1.5)
    codes = read_admin_areas(tmp_path / "one.gpkg", "code", "districts")
    assert [one.name for one in codes] == ["0", "1", "2"]


def test_bow_ties_are_mended_and_areas_across_180_split(tmp_path: Path) -> None:
    tie = shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])
    across = box(179, 0, 181, 1)
    tied, wide = read_admin_areas(write(tmp_path / "odd.geojson", ["a", "b"], [tie, across]), "name")
    assert tied.geometry.is_valid
    assert tied.geometry.area == pytest.approx(0.5)
    assert sorted(part.bounds[0] for part in shapely.get_parts(wide.geometry)) == [-180, 179]


@pytest.mark.parametrize(
    ("names", "shapes", "words"),
    [
        (["a", None], [WEST, EAST], "feature 2: the column 'name' is empty"),
        (["a", " "], [WEST, EAST], "needs a name"),
        (["x" * 201], [WEST], "cannot be a name"),
        (["a"], [Point(1, 1)], "a Point; give polygons"),
        (["a"], [None], "no geometry"),
        (["a"], [box(0, 95, 1, 96)], "not longitude and latitude"),
    ],
)
def test_what_is_wrong_with_a_feature_is_told(
    tmp_path: Path, names: list[Any], shapes: list[Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        read_admin_areas(write(tmp_path / "areas.geojson", names, shapes), "name")


def test_files_that_cannot_be_read_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = write(tmp_path / "good.gpkg", ["a", "b"], [WEST, EAST], layer="districts")
    bare = write(tmp_path / "bare.gpkg", ["a"], [WEST], crs=None)
    empty = tmp_path / "empty.geojson"
    empty.write_text(json.dumps({"type": "FeatureCollection", "features": []}))
    (tmp_path / "text.gpkg").write_text("no file of polygons")
    (tmp_path / "table.csv").write_text("name\na\n")
    for path, column, layer, words in (
        (tmp_path / "none.gpkg", "name", None, "no such file"),
        (tmp_path / "text.gpkg", "name", None, "cannot be read"),
        (good, "nome", None, "its columns: name, code"), (good, "name", "other", "cannot be read"),
        (bare, "name", None, "coordinate system"), (tmp_path / "table.csv", "name", None, "no geometries"),
        (empty, "name", None, "column|features"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            read_admin_areas(path, column, layer)
    for limit, value, words in (
        ("MAX_AREAS", 1, "at most 1"), ("MAX_BYTES", 10, "larger than"), ("MAX_VERTICES", 5, "more than 5 vertices"),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(admin_areas, limit, value)
            with pytest.raises(ConfigError, match=words):
                read_admin_areas(good, "name")
