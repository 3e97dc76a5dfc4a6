"""A watch's map is evaluated on its own labels and reviews, beside baselines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from segwatch.db import assessments, reviews
from segwatch.db.reviews import Verdict
from segwatch.flows.assessment.drawing import draw_assessment
from segwatch.flows.cli import app
from segwatch.flows.config.settings import load_settings
from segwatch.flows.inference.drain import Drain
from segwatch.flows.learning.evaluation import SPECTRAL, evaluate_watch
from segwatch.flows.pipeline.tracking import track_ready
from segwatch.geo.types.assessment import Label
from tests.conftest import Database
from tests.invariants.conftest import SceneContent, cells
from tests.invariants.conftest import ledgers as ledgers  # noqa: PLC0414 - a fixture of these tests, too
from tests.support.assessing import arrive, choose_label, draw, label_all
from tests.support.spectral_scenes import DarkWater, make_profile, queue_river, serving_river


@pytest.fixture(autouse=True)
def _settings(database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())
    monkeypatch.setenv("SEGWATCH_HOME", str(tmp_path / "home"))


def evaluate() -> dict[str, dict[str, Any]]:
    """Evaluate the watch; returns its one target by the source of labels."""
    done = CliRunner().invoke(app, ["model", "evaluate-watch", "lakes", "--no-spectral", "--json"])
    assert done.exit_code == 0, done.output
    return {one["source"]: one for one in json.loads(done.stdout)["targets"]}


def _deny_pond(lon: float, lat: float) -> Label:
    """Label the pond as a mistake of the map."""
    label = choose_label(lon, lat)
    return Label.NEITHER if label is Label.AFTER else label


def test_labels_of_a_random_sample_give_figures_with_intervals(ledgers: Any) -> None:
    ledger = ledgers()
    arrive(ledger)
    assert "draw one" in evaluate()["assessment"]["refused"]
    draw(ledger)
    label_all(ledger, lambda lon, lat: Label.UNCLEAR)
    assert "no labelled assessment" in evaluate()["assessment"]["refused"]
    label_all(ledger, _deny_pond)
    found = evaluate()["assessment"]
    assert found["refused"] is None
    model, nothing, everything = (one["scores"] for one in found["predictions"])
    lake, pond, ground = 9, 4, 64
    assert model["precision"]["value"] == pytest.approx(lake / (lake + pond), abs=0.2)
    assert model["precision"]["low"] < model["precision"]["value"] < model["precision"]["high"]
    assert model["recall"]["value"] == 1
    assert model["iou"]["value"] == pytest.approx(model["precision"]["value"])
    assert nothing["precision"] is None
    assert nothing["recall"]["value"] == 0
    assert everything["iou"]["value"] == pytest.approx(lake / ground, abs=0.1)
    assert everything["recall"]["value"] == 1
    shown = CliRunner().invoke(app, ["model", "evaluate-watch", "lakes", "--no-spectral"]).output
    assert "everything marked" in shown
    assert "too few labels: 0 reviewed objects" in " ".join(shown.split())


def test_reviews_give_figures_of_the_judged_objects(ledgers: Any) -> None:
    ledger = ledgers()
    ponds = [cells(x + 0.1, y + 0.1, x + 0.9, y + 0.9) for x in range(6) for y in range(2)]
    ledger.arrive((SceneContent(tuple(ponds)),), [0])
    half = cells(0.1, 0.1, 0.5, 0.9)
    rows = ledger.rows("SELECT track_id FROM watch.objects_now ORDER BY ST_XMin(geom), ST_YMin(geom)")
    with ledger.engine.begin() as conn:
        for index, row in enumerate(rows):
            verdict = Verdict.EDITED if index == 0 else Verdict.REJECTED if index < 4 else Verdict.CONFIRMED
            outline = half if index == 0 else None
            reviews.decide(conn, row["track_id"], verdict, reviewer="ada", reason="seen", outline=outline)
    found = evaluate()["reviews"]
    assert found["labels"] == 12
    assert found["objects_there"]["value"] == pytest.approx(9 / 12)
    model, _, everything = (one["scores"] for one in found["predictions"])
    assert model["precision"]["value"] == pytest.approx(8.5 / 12, abs=0.01)
    assert model["iou"]["value"] == pytest.approx(8.5 / 12, abs=0.01)
    assert model["iou"]["low"] < model["iou"]["value"] < model["iou"]["high"]
    assert everything["recall"]["value"] == 1
    assert "missed" in found["notes"][0]


@pytest.mark.parametrize("bands", [True, False])
def test_the_spectral_segmenter_is_a_baseline_where_the_source_has_its_bands(
    engine: Engine, tmp_path: Path, bands: bool
) -> None:
    settings = load_settings().model_copy(update={"linger_seconds": 0.0, "evidence": "none"})
    with serving_river() as url:
        profile = make_profile(tmp_path, spectral=bands)
        queue_river(engine, url, profile, DarkWater.version, years=(2015,))
        Drain(engine, DarkWater(), settings).run()
        track_ready(engine)
        draw_assessment(engine, "river", samples=60, seed=7)
        _agree_with_map(engine)
        found = evaluate_watch(engine, settings, "river")
    (target,) = (one for one in found.targets if one.source == "assessment")
    iou = {one.name: one.scores.iou.value for one in target.predictions if one.scores.iou is not None}
    assert iou["model"] == 1, "every label agreed with the map"
    if bands:
        assert iou[SPECTRAL] > 0.8 > iou["everything marked"]
    else:
        assert SPECTRAL not in iou
        assert "no bands" in target.notes[0]


def _agree_with_map(engine: Engine) -> None:
    with engine.begin() as conn:
        rows = conn.execute(text("SELECT id, stratum FROM segwatch.assessment_sample")).all()
        for one in rows:
            label = Label.NEITHER if one.stratum == "background" else Label.BOTH
            assessments.add_label(conn, one.id, label, "ada")
