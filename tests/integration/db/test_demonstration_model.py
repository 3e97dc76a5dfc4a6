"""Whatever the model that ships with segwatch found says so wherever it leaves the ledger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import mapping
from typer.testing import CliRunner

from segwatch.db import analyst
from segwatch.flows.cli import app
from segwatch.geo import identity
from segwatch.model import model_version
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, cells
from tests.invariants.conftest import ledgers as ledgers  # noqa: PLC0414 - a fixture of these tests, too

SHIPPED = model_version.compute_version(model_version.SHIPPED_MODEL)
WORDS = {
    "watch.objects_now": "SELECT DISTINCT accuracy FROM watch.objects_now",
    "watch.object_history": "SELECT DISTINCT accuracy FROM watch.object_history",
    "watch.objects_as_of": "SELECT DISTINCT accuracy FROM watch.objects_as_of(now())",
    "watch.changes": "SELECT DISTINCT accuracy FROM watch.changes",
    "watch.alerts": "SELECT DISTINCT accuracy FROM watch.alerts",
    "messages": "SELECT DISTINCT payload #>> '{data,accuracy}' AS accuracy FROM segwatch.delivery",
}


@pytest.mark.parametrize(
    ("model", "words"),
    [(SHIPPED, "demonstration model, not assessed"), ("own-model@0123456789ab", "not assessed")],
)
def test_every_number_says_which_model_it_is_of(ledgers: Any, model: str, words: str) -> None:
    ledger: Ledger = ledgers()
    ledger.model = model
    world = [SceneContent(()), SceneContent((cells(1, 1, 4, 4),))]
    ledger.arrive(world, [0])
    ledger.arrive(world, [1])
    found = {name: [row["accuracy"] for row in ledger.rows(query)] for name, query in WORDS.items()}
    assert found == {name: [words] for name in WORDS}
    (watch,) = ledger.rows("SELECT watch, model, is_demonstration FROM watch.watches")
    assert (watch["model"], watch["is_demonstration"]) == (model, words != "not assessed")
    with ledger.engine.connect() as conn:
        selection = analyst.Selection(watch["watch"])
        for columns, read in (
            (analyst.OBJECT_COLUMNS, analyst.iter_objects),
            (analyst.CHANGE_COLUMNS, analyst.iter_changes),
        ):
            exported = [row[columns.index("accuracy")] for rows in read(conn, selection) for row in rows]
            assert set(exported) == {words}
        accuracy = analyst.read_accuracy(conn, watch["watch"])
        (listed,) = analyst.list_watches(conn)
    assert analyst.describe_accuracy(accuracy) == listed["accuracy"] == [words]
    assert analyst.describe_target(accuracy, None) == words
    assert accuracy.is_demonstration == identity.is_demonstration(model)


def test_a_disaster_run_with_it_is_asked_for(
    ledgers: Any, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger: Ledger = ledgers()
    area = tmp_path / "town.geojson"
    area.write_text(json.dumps(mapping(cells(0, 0, 2, 2))), encoding="utf-8")
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())
    monkeypatch.delenv("SEGWATCH_SEGMENTER", raising=False)
    monkeypatch.delenv("SEGWATCH_MODEL_PATH", raising=False)
    words = ["respond", "--playbook", "flood", "--area", str(area), "--at", "2024-05-25T00:00:00"]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 1
    assert "--demonstration-model" in refused.output
    assert ledger.rows("SELECT name FROM segwatch.watch_head WHERE name LIKE 'flood%'") == []
