"""``segwatch export`` as somebody types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import pyogrio
import pytest
from typer.testing import CliRunner, Result

from segwatch.flows.cli.app import app
from tests.conftest import Database
from tests.integration.conftest import ledger as ledger  # noqa: PLC0414 - a fixture of these tests, too
from tests.invariants.conftest import Ledger, SceneContent, cells
from tests.invariants.conftest import ledgers as ledgers  # noqa: PLC0414 - a fixture of these tests, too


@pytest.fixture(autouse=True)
def _commands_use_the_ledger_of_this_test(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())
    monkeypatch.chdir(tmp_path)


def segwatch(*arguments: str, status: int = 0) -> Result:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == status, done.output
    return done


def test_from_the_whole_to_what_is_new(ledger: Ledger, tmp_path: Path) -> None:
    done = json.loads(segwatch("export", "lakes", "-f", "gpkg", "--json").stdout)
    assert (done["path"], done["rows"], done["what"]) == ("lakes.gpkg", 1, "objects")
    assert len(pyogrio.read_dataframe("lakes.gpkg")) == 1
    again = segwatch("export", "lakes", "-f", "gpkg", status=1)
    assert "--force" in again.stderr
    ledger.arrive({2: SceneContent((cells(1, 1, 6, 6),))}, [2])
    said = segwatch("export", "lakes", "-f", "geoparquet", "--since", done["next_token"]).stdout
    assert "lakes.parquet: 1 objects" in said
    assert "next token: sw1." in said
    assert list(geopandas.read_parquet("lakes.parquet").delta) == ["changed"]
    segwatch(
        "export", "lakes", "-f", "csv", "--changes", "--bbox", "9.9,49.9,10.1,50.1", "--at", "2024-01-02"
    )
    assert (tmp_path / "lakes-changes.csv").read_text().count("\n") == 2


@pytest.mark.parametrize(
    ("wrong", "status", "words"),
    [
        (("--bbox", "1,2,3"), 2, "such as -70.1,-33.5,-70.0,-33.4"),
        (("--bbox", "9,51,10,50"), 2, "is not west, south, east, north"),
        (("--format", "parquet"), 2, "Did you mean geoparquet?"),
        (("--since", "sw1.AAAA"), 1, "no token of an export"),
        (("--out", "missing/lakes.csv"), 1, "does not exist"),
        (("--out", "lakes.gpkg"), 1, "give --format gpkg, or a name that ends in .csv"),
    ],
)
def test_what_is_wrong_is_named(ledger: Ledger, wrong: tuple[str, ...], status: int, words: str) -> None:
    said = segwatch("export", "lakes", "-f", "csv", *wrong, status=status).stderr
    assert words in " ".join(said.replace("│", " ").split())


def test_nothing_to_draw_is_said(ledgers: Any, database: Database, tmp_path: Path, monkeypatch: Any) -> None:
    ledgers()
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())
    monkeypatch.chdir(tmp_path)
    said = segwatch("export", "lakes", "-f", "pmtiles", status=1).stderr
    assert "there are no objects of lakes to draw" in " ".join(said.split())
    said = segwatch("export", "lakes", "-f", "stac", status=1).stderr
    assert "no observation of lakes is published yet" in " ".join(said.split())
    assert not list(tmp_path.iterdir())


def test_an_unknown_watch_is_named(ledger: Any) -> None:
    assert "lkaes" in segwatch("export", "lkaes", "-f", "csv", status=1).stderr
    assert not list(Path().iterdir())
