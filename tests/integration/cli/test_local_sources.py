"""``segwatch source`` and ``segwatch try`` on local files, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import pytest
from typer.testing import CliRunner, Result

from segwatch.flows.cli.app import app
from segwatch.geo.sources.local import registry
from tests.acceptance.conftest import COLOUR
from tests.support import local_pictures as pictures

SHAPE = (60, 80)
LAKES = pictures.paint(SHAPE, (20, 20, 10), (40, 60, 12))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photos that the shell is in, and a home without anything."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGWATCH_HOME", str(tmp_path / "home"))
    for name, value in COLOUR.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "My Photos").mkdir()
    pictures.write_plain(tmp_path / "My Photos" / "2024-05-01.tif", LAKES)
    pictures.write_palette(tmp_path / "My Photos" / "undated.tif", LAKES)
    return tmp_path


def segwatch(*arguments: str, answers: str = "") -> Result:
    return CliRunner().invoke(app, arguments, input=answers, env={"COLUMNS": "200"})


def test_a_source_is_added_listed_shown_checked_and_removed(here: Path) -> None:
    added = segwatch("source", "add", "My Photos")
    assert added.exit_code == 0, added.output
    assert "source my-photos: 1 new, 1 not used" in added.output
    assert "undated.tif is not used: its date is not known" in added.output
    preview = here / "home" / "sources" / "my-photos" / "preview.png"
    assert str(preview) in added.output
    assert preview.exists()
    dated = json.loads(segwatch("source", "add", "My Photos", "--date", "2024-05-11", "--json").stdout)
    assert [(one["file"], one["state"], one.get("converted")) for one in dated["files"]] == [
        ("My_Photos/2024-05-01.tif", "unchanged", None),
        ("My_Photos/undated.tif", "new", "palette"),
    ]
    assert dated["refused"] == []
    listed = json.loads(segwatch("source", "list", "--json").stdout)
    assert (listed[0]["name"], listed[0]["files"], listed[0]["catalog"]) == (
        "my-photos",
        2,
        "local://my-photos",
    )
    shown = segwatch("source", "show", "my-photos").output
    assert "My_Photos/undated.tif" in shown
    assert "red: 1 of image" in shown
    assert "None" not in shown
    checked = segwatch("source", "check", "my-photos")
    assert checked.exit_code == 0, checked.output
    assert "2 of 2 items can be used" in checked.output
    refused = segwatch("source", "remove", "my-photos")
    assert refused.exit_code == 2
    assert segwatch("source", "remove", "my-photos", "--yes").exit_code == 0
    assert registry.list_names() == []
    assert len(list((here / "My Photos").iterdir())) == 2


def test_mistakes_are_said_with_what_to_do(here: Path) -> None:
    (here / "other" / "My Photos").mkdir(parents=True)
    pictures.write_plain(here / "other" / "My Photos" / "2024-05-01.tif", LAKES)
    assert segwatch("source", "add", "My Photos").exit_code == 0
    for arguments, part in {
        ("source", "add", "nowhere"): "cannot be read",
        ("source", "add", "other/My Photos"): "give --name my-photos to add",
        ("source", "add", "My Photos", "--name", "Photos!"): "small letters",
        ("source", "add", "My Photos", "--name", "rgb-cog"): "name of a profile",
        ("source", "add", "My Photos", "--date", "soon"): "neither a date",
        ("source", "add", "My Photos", "--bands", "red"): "is not R,G,B",
        ("source", "remove", "my-fotos", "--yes"): "did you mean my-photos",
        ("try", "My Photos", "segment the water"): "is a folder",
        ("try", "My Photos/2024-05-01.tif", " "): "the instruction is empty",
        ("try", "My Photos/2024-05-01.tif", "segment the water", "--out", "a.shp"): "must end in",
        ("try", "My Photos/2024-05-01.tif", "segment the water", "--out", "no/a.gpkg"): "no folder",
        ("try", "My Photos/2024-05-01.tif", "segment the water", "--gsd", "0.01"): "give a coarser --gsd",
    }.items():
        done = segwatch(*arguments)
        assert done.exit_code == 1, (arguments, done.output)
        assert part in done.output.replace("\n", " "), (arguments, done.output)


def test_one_image_is_tried_in_any_form(here: Path) -> None:
    pictures.write_south_up(here / "south-up.tif", LAKES)
    for image in ("south-up.tif", "My Photos/undated.tif"):
        done = segwatch("try", image, "segment the water", "--json", "--out", "found.geojson")
        assert done.exit_code == 0, done.output
        told = json.loads(done.stdout)
        assert told["demonstration_model"] is False
        [water] = told["targets"]
        assert (water["target"], water["polygons"], water["presence"]) == ("water", 2, None)
        truth = (LAKES[2] == LAKES[2, 20, 20]).sum() * pictures.GSD_M**2
        assert abs(water["area_m2"] / truth - 1) < 0.01
        found = json.loads((here / "found.geojson").read_text(encoding="utf-8"))
        largest, _ = found["features"]
        # the larger lake lies in the south-east
        west = [point[0] for one in found["features"] for point in one["geometry"]["coordinates"][0]]
        assert min(point[0] for point in largest["geometry"]["coordinates"][0]) > min(west)
        assert (here / "found.png").read_bytes().startswith(b"\x89PNG")
    assert segwatch("try", "south-up.tif", "segment the water", "--out", "found.gpkg").exit_code == 0
    frame = geopandas.read_file(here / "found.gpkg")
    assert (list(frame["target"]), frame.crs.to_epsg()) == (["water", "water"], 4326)
