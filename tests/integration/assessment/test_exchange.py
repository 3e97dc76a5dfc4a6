"""Samples go to QGIS as a GeoPackage with pictures, and the labels come back."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio

from segwatch.db.errors import LabelRefused, NotFound
from segwatch.flows.assessment.exchange import LAYER, export_samples, import_labels
from segwatch.flows.config.settings import FlowSettings, load_settings
from segwatch.flows.errors import ConfigError
from segwatch.geo.types.assessment import Label
from tests.conftest import Database
from tests.invariants.conftest import Ledger
from tests.support.assessing import arrive, believe, choose_label, draw, list_samples
from tests.support.shown_scenes import show_from, silent_host


@pytest.fixture
def settings(database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FlowSettings:
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())
    monkeypatch.setenv("SEGWATCH_HOME", str(tmp_path / "home"))
    return load_settings()


@pytest.fixture
def ledger(ledgers: Any) -> Ledger:
    made: Ledger = ledgers()
    arrive(made)
    draw(made)
    return made


@pytest.fixture
def few(ledger: Ledger, database: Database) -> Ledger:
    """Six samples, for each has two pictures."""
    believe(
        database,
        "SET session_replication_role = replica; DELETE FROM segwatch.assessment_sample WHERE ordinal > 6",
    )
    assert 0 < len(list_samples(ledger)) <= 6
    return ledger


def fill(file: Path, **changed: Any) -> None:
    """Label every sample truthfully, as a person does in QGIS."""
    table = gpd.read_file(file, layer=LAYER)
    table["label"] = [choose_label(one.x, one.y).value for one in table.geometry]
    for name, value in changed.items():
        table.loc[0, name] = value
    table.to_file(file, layer=LAYER, driver="GPKG")


def test_labels_come_back(ledger: Ledger, settings: FlowSettings, tmp_path: Path) -> None:
    file = tmp_path / "lakes.gpkg"
    made = export_samples(ledger.engine, settings, "lakes", file, pictures=False)
    table = gpd.read_file(file, layer=LAYER)
    assert (made.samples, len(table), table.crs.to_epsg()) == (len(list_samples(ledger)), made.samples, 4326)
    assert not set(table.columns) & {"stratum", "track_id", "agreeing"}, "nothing of what the map says"
    fill(file)
    first = import_labels(ledger.engine, "lakes", file, "ada")
    assert (first.added, first.unchanged, first.unlabelled) == (made.samples, 0, 0)
    again = import_labels(ledger.engine, "lakes", file, "ada")
    assert (again.added, again.unchanged) == (0, made.samples)
    with pytest.raises(ConfigError, match="exists already"):
        export_samples(ledger.engine, settings, "lakes", file)


def test_empty_labels_wait(ledger: Ledger, settings: FlowSettings, tmp_path: Path) -> None:
    file = tmp_path / "lakes.gpkg"
    export_samples(ledger.engine, settings, "lakes", file, pictures=False)
    fill(file, label=None)
    found = import_labels(ledger.engine, "lakes", file, "ada")
    assert (found.added, found.unlabelled) == (len(list_samples(ledger)) - 1, 1)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"label": "perhaps"}, "'perhaps' is no label"),
        ({"sample_id": "6f1d3f0e-5a0b-5b5e-9a53-6a1f5c7f2a10"}, "not in the newest assessment"),
    ],
)
def test_an_invalid_row_adds_nothing(
    ledger: Ledger, settings: FlowSettings, tmp_path: Path, changed: dict[str, str], words: str
) -> None:
    file = tmp_path / "lakes.gpkg"
    export_samples(ledger.engine, settings, "lakes", file, pictures=False)
    fill(file, **changed)
    with pytest.raises(LabelRefused, match=words):
        import_labels(ledger.engine, "lakes", file, "ada")
    assert ledger.rows("SELECT * FROM segwatch.assessment_label") == []


def test_numbers_are_no_labels(ledger: Ledger, settings: FlowSettings, tmp_path: Path) -> None:
    file = tmp_path / "lakes.gpkg"
    export_samples(ledger.engine, settings, "lakes", file, pictures=False)
    table = gpd.read_file(file, layer=LAYER)
    table["label"] = 1.0
    table.to_file(file, layer=LAYER, driver="GPKG")
    with pytest.raises(LabelRefused, match=r"'1\.0' is no label; use one of both"):
        import_labels(ledger.engine, "lakes", file, "ada")


def test_a_sample_has_one_label_in_a_file(ledger: Ledger, settings: FlowSettings, tmp_path: Path) -> None:
    file = tmp_path / "lakes.gpkg"
    export_samples(ledger.engine, settings, "lakes", file, pictures=False)
    twice = gpd.read_file(file, layer=LAYER).iloc[[0, 0]]
    twice["label"] = ["both", "neither"]
    twice.to_file(file, layer=LAYER, driver="GPKG")
    with pytest.raises(LabelRefused, match="two labels, both and neither"):
        import_labels(ledger.engine, "lakes", file, "ada")
    twice["label"] = ["both", " Both"]
    twice.to_file(file, layer=LAYER, driver="GPKG")
    found = import_labels(ledger.engine, "lakes", file, "ada")
    assert (found.added, found.unlabelled) == (1, len(list_samples(ledger)) - 1)


def test_a_moved_point_and_other_files_are_refused(
    ledger: Ledger, settings: FlowSettings, tmp_path: Path
) -> None:
    file = tmp_path / "lakes.gpkg"
    export_samples(ledger.engine, settings, "lakes", file, pictures=False)
    table = gpd.read_file(file, layer=LAYER)
    table["label"] = Label.BOTH.value
    table.set_geometry(table.translate(xoff=0.001)).to_file(file, layer=LAYER, driver="GPKG")
    with pytest.raises(LabelRefused, match="was moved"):
        import_labels(ledger.engine, "lakes", file, "ada")
    other = tmp_path / "other.gpkg"
    table.drop(columns="label").to_file(other, layer=LAYER, driver="GPKG")
    with pytest.raises(LabelRefused, match="lacks label"):
        import_labels(ledger.engine, "lakes", other, "ada")
    other.write_text(json.dumps({}))
    with pytest.raises(LabelRefused, match="cannot be read"):
        import_labels(ledger.engine, "lakes", other, "ada")
    with pytest.raises(LabelRefused, match="no such file"):
        import_labels(ledger.engine, "lakes", tmp_path / "nothing.gpkg", "ada")


def test_pictures_have_a_cross(
    few: Ledger, database: Database, settings: FlowSettings, tmp_path: Path
) -> None:
    with silent_host() as (url, answers):
        answers.set()
        show_from(database, url)
        made = export_samples(few.engine, settings, "lakes", tmp_path / "lakes.gpkg")
    assert made.pictures + len(made.failures) == 2 * made.samples
    assert made.failures == ()
    table = gpd.read_file(tmp_path / "lakes.gpkg", layer=LAYER)
    with rasterio.open(io.BytesIO((tmp_path / table["after"][0]).read_bytes())) as file:
        picture = file.read()
    assert picture.shape == (3, 320, 320)
    assert (picture[:, 160, 160 + 16] == [255, 255, 0]).all()
    assert len(np.unique(picture)) > 20


def test_missing_pictures_are_told(
    few: Ledger, database: Database, settings: FlowSettings, tmp_path: Path
) -> None:
    with silent_host() as (url, _):
        pass
    show_from(database, url)
    made = export_samples(few.engine, settings, "lakes", tmp_path / "lakes.gpkg")
    assert made.pictures == 0
    assert len(made.failures) == 2 * made.samples
    assert made.failures[0].startswith("sample 1, before: ")


def test_without_an_assessment_there_is_nothing_to_exchange(
    ledgers: Any, settings: FlowSettings, tmp_path: Path
) -> None:
    ledger: Ledger = ledgers()
    with pytest.raises(NotFound, match="segwatch assess start lakes"):
        export_samples(ledger.engine, settings, "lakes", tmp_path / "lakes.gpkg")
    assert not (tmp_path / "lakes.gpkg").exists()
