"""``segwatch db areas``: load, list, replace and remove layers of administrative areas."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
from typer.testing import CliRunner, Result

from segwatch.flows.cli.app import app
from tests.conftest import Database
from tests.integration.conftest import LAKE
from tests.invariants.conftest import EVERYTHING, Ledger, SceneContent, cells


def segwatch(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["db", "areas", *arguments])


def write(path: Path, **areas: tuple[float, float, float, float]) -> str:
    shapes = [cells(*one) for one in areas.values()]
    geopandas.GeoDataFrame({"name": list(areas)}, geometry=shapes, crs=4326).to_file(path)
    return str(path)


def test_layers_are_loaded_summed_replaced_and_removed(
    commands: Database, ledger: Ledger, tmp_path: Path
) -> None:
    ledger.arrive({day: SceneContent((LAKE,)) for day in (2, 3)}, [2, 3])
    assert segwatch("--json").stdout.strip() == "[]"
    file = write(tmp_path / "districts.gpkg", west=(0, 0, 4, 8), east=(4, 0, 8, 8))
    done = segwatch(file, "--name-column", "name")
    assert (done.exit_code, done.stdout.strip()) == (0, "layer districts: 2 added, 0 removed, 0 as before")
    (listed,) = json.loads(segwatch("--json").stdout)
    assert (listed["layer"], listed["areas"]) == ("districts", 2)
    summed = ledger.rows(
        "SELECT admin_area, max(coalesce(confirmed_m2, 0) + coalesce(provisional_m2, 0) + coalesce(not_judged_m2, 0))"
        " > 0 AS has_lake FROM watch.area_by_week WHERE layer = 'districts' GROUP BY 1 ORDER BY 1"
    )
    assert [(row["admin_area"], row["has_lake"]) for row in summed] == [("east", False), ("west", True)]
    moved = write(tmp_path / "moved.gpkg", west=(0, 0, 4, 8), north=(4, 4, 8, 8))
    changed = json.loads(segwatch(moved, "--name-column", "name", "--layer", "districts", "--json").stdout)
    assert changed == {"layer": "districts", "added": 1, "removed": 1, "kept": 1}
    assert "districts" in segwatch().stdout
    assert "removed 2 areas of districts" in segwatch("--remove", "districts").stdout
    assert segwatch("--json").stdout.strip() == "[]"
    # nothing is loaded of a file that is wrong, and the message says why
    bare = tmp_path / "bare.gpkg"
    geopandas.GeoDataFrame({"name": ["a", ""]}, geometry=[EVERYTHING, EVERYTHING], crs=4326).to_file(bare)
    for arguments, words in (
        ([file], "--name-column"), ([file, "--name-column", "x"], "its columns: name"),
        ([file, "--name-column", "name", "--remove", "districts"], "--remove without"),
        ([str(bare), "--name-column", "name"], "feature 2"), (["--remove", "nowhere"], "nowhere"),
    ):  # fmt: skip
        refused = segwatch(*arguments)
        assert refused.exit_code != 0, arguments
        assert words in " ".join(refused.stderr.split()), refused.stderr
    assert segwatch("--json").stdout.strip() == "[]"
