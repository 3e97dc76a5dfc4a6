"""The briefing says how accurate its areas are, and how reliable the confidence is."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from segwatch.db import analyst, assessments, calibrations
from segwatch.db.migrate import upgrade
from segwatch.flows.config.settings import FlowSettings, load_settings
from segwatch.flows.report.html import render_html
from segwatch.flows.report.summary import render_markdown
from segwatch.flows.web.application import create_app
from segwatch.geo.assessment.calibration import fit_calibration
from segwatch.geo.types.assessment import Judged
from tests.conftest import Database
from tests.invariants.conftest import Ledger
from tests.support.assessing import WORLD, arrive, believe, draw, label_all, list_samples
from tests.support.briefings import brief


@pytest.fixture
def settings(database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FlowSettings:
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())
    monkeypatch.setenv("SEGWATCH_HOME", str(tmp_path / "home"))
    return load_settings()


def render(ledger: Ledger, settings: FlowSettings) -> tuple[str, str]:
    found = brief(ledger.engine, settings)
    return render_html(found), render_markdown(found, "here")


def test_every_document_says_what_the_accuracy_is(ledgers: Any, settings: FlowSettings) -> None:
    ledger: Ledger = ledgers()
    arrive(ledger)
    html, summary = render(ledger, settings)
    assert "water: not assessed" in html
    assert "not assessed" in summary
    assert "Reliability" not in html
    draw(ledger)
    label_all(ledger)
    with ledger.engine.connect() as conn:
        (line,) = analyst.describe_accuracy(analyst.read_accuracy(conn, "lakes"))
    html, summary = render(ledger, settings)
    assert line.replace("'", "&#39;") in html
    assert line.partition(": ")[2] in summary


def test_every_number_that_leaves_says_how_accurate_the_map_is(
    ledgers: Any, settings: FlowSettings, database: Database
) -> None:
    ledger: Ledger = ledgers()
    arrive(ledger)
    windows = ("objects_now", "object_history", "changes", "alerts")

    def read(client: TestClient) -> set[str]:
        shown = [client.get(f"/ogc/collections/watch.{one}/items").json()["features"] for one in windows]
        return {one["properties"]["accuracy"] for features in shown for one in features}

    with TestClient(create_app(database.url("segwatch_analyst"))) as client:
        assert read(client) == {"not assessed"}
        draw(ledger)
        assert read(client) == {"not assessed"}, "drawn, and nobody labelled yet"
        label_all(ledger)
        with ledger.engine.connect() as conn:
            found = analyst.read_accuracy(conn, "lakes")
        (words,) = analyst.describe_accuracy(found)
        assert read(client) == {words.removeprefix("water: ")}
        assert words.removeprefix("water: ") in client.get("/feeds/lakes/atom.xml").text
        page = client.get("/ogc/collections/watch.objects_now/items", params={"f": "csv"}).text
        assert words.removeprefix("water: ") in page
        (row,) = ledger.rows("SELECT * FROM watch.accuracy")
        users = found.targets[0].users
        assert users is not None
        assert (row["estimates"]["users"], row["labels"], row["is_current"]) == (
            {"value": users.value, "low": users.low, "high": users.high},
            found.targets[0].labels,
            True,
        )
        draw(ledger, seed=8)
        assert read(client) == {words.removeprefix("water: ")}, "a new sample counts once it has a label"
        ledger.instruct("segment water bodies")
        ledger.arrive(WORLD, [2])
        assert "not assessed" in read(client), "the new series is not assessed"


def test_labels_of_an_earlier_version_are_shown_after_the_upgrade(ledgers: Any, database: Database) -> None:
    ledger: Ledger = ledgers()
    arrive(ledger)
    draw(ledger)
    label_all(ledger)
    shown = "SELECT DISTINCT accuracy FROM watch.objects_now"
    before = ledger.rows(shown)
    believe(database, "DELETE FROM segwatch.target_accuracy")
    assert ledger.rows(shown) == [{"accuracy": "not assessed"}]
    upgrade(database.url("segwatch_owner"))
    assert ledger.rows(shown) == before


def test_refuted_changes_have_a_line_of_their_own(ledgers: Any, settings: FlowSettings) -> None:
    ledger: Ledger = ledgers()
    arrive(ledger)
    html, summary = render(ledger, settings)
    assert "| water | appeared | 1 |" in summary
    assert "<td>appeared</td>" in html
    with ledger.engine.begin() as conn:
        conn.execute(text("UPDATE segwatch.change_judgement SET status = 'refuted', confidence = 0.001"))
    found = brief(ledger.engine, settings).briefing.situation
    assert (found.changes.empty, found.largest.empty, found.refuted) == (True, True, {"water": 1})
    html, summary = render(ledger, settings)
    assert "appeared" not in summary
    assert "<td>appeared</td>" not in html
    assert "| water | refuted | 1 | - | - | - |" in summary
    assert '<td>refuted</td><td class="n">1</td>' in html
    assert "C. The largest changes" not in html


def test_a_calibration_is_drawn(ledgers: Any, settings: FlowSettings) -> None:
    ledger: Ledger = ledgers()
    arrive(ledger)
    judged = [Judged(one / 200, (one * 7) % 200 < one) for one in range(200)]
    found = fit_calibration(judged)
    assert found is not None
    with ledger.engine.begin() as conn:
        series_id = assessments.load_series(conn, "lakes").series_id
        calibrations.add(conn, series_id, "water", "object", found)
    html, _ = render(ledger, settings)
    (diagram,) = re.findall(
        r'alt="Confidence of objects, water: version 1[^"]*" src="data:image/svg\+xml;base64,([^"]+)"', html
    )
    assert base64.b64decode(diagram).count(b"<circle") == len(found.bins_before)


def test_the_command_line_shows_the_same(
    ledgers: Any, settings: FlowSettings, run_segwatch: Callable[..., str], tmp_path: Path
) -> None:
    ledger: Ledger = ledgers()
    arrive(ledger)
    assert "not assessed" in run_segwatch("assess", "report", "lakes")
    few = run_segwatch("assess", "start", "lakes", "--samples", "20", "--seed", "5")
    assert "samples instead of 20: each stratum has at least 20" in few
    assert "seed 5" in run_segwatch("assess", "start", "lakes", "--samples", "60", "--seed", "5")
    run_segwatch("assess", "export", "lakes", str(tmp_path / "lakes.gpkg"), "--no-chips")
    label_all(ledger)
    status = run_segwatch("assess", "status", "lakes")
    assert "background" in status
    assert "water, appeared: there are only 1, all of them are samples" in status
    with ledger.engine.connect() as conn:
        (line,) = analyst.describe_accuracy(analyst.read_accuracy(conn, "lakes"))
    shown = run_segwatch("assess", "report", "lakes")
    assert "water, appeared: there are only 1, all of them are samples" in shown
    assert line in shown
    assert "refuted changes that did not happen" not in shown, "none was refuted"
    assert "appeared: changes that happened" in shown
    samples = len(list_samples(ledger))
    again = run_segwatch("assess", "start", "lakes", "--samples", "60", "--seed", "6")
    assert (
        f"has {samples} label(s): reports and the map show its figures until the new one has a label" in again
    )
    assert "hectares" in shown
    assert "too few labels" in run_segwatch("assess", "calibrate", "lakes")
