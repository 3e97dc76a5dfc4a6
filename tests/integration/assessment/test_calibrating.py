"""Labels and reviews calibrate the confidence that views show; stored confidences and rules keep theirs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from segwatch.db import analyst, assessments, calibrations, reviews
from segwatch.flows.assessment.calibrating import calibrate
from segwatch.flows.config.settings import load_settings
from segwatch.flows.report.html import render_html
from segwatch.flows.web.application import create_app
from segwatch.geo.types.assessment import Calibration, Label, ReliabilityBin
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, cells
from tests.support.assessing import WORLD, believe, draw, list_samples
from tests.support.briefings import brief

#: One object in each cell of a board; those in the east are false.
BOARD = tuple(cells(x + 0.1, y + 0.1, x + 0.9, y + 0.9) for x in range(8) for y in range(8))


@pytest.fixture
def board(ledgers: Any, database: Database) -> Ledger:
    """A ledger with 64 objects whose confidence is 0.9 in the west and 0.6 in the east."""
    ledger: Ledger = ledgers()
    ledger.arrive([SceneContent(BOARD), SceneContent(BOARD)], [0, 1])
    believe(
        database,
        "UPDATE segwatch.track_state SET status = 'confirmed', observations_for = 1, observations_against = 0,"
        " confidence = CASE WHEN ST_XMin(geom) < 10.008 THEN 0.9 ELSE 0.6 END",
    )
    return ledger


def label_west(ledger: Ledger) -> None:
    with ledger.engine.begin() as conn:
        for row in list_samples(ledger):
            there = Label.BOTH if row["lon"] < 10.008 else Label.NEITHER
            assessments.add_label(conn, row["sample_id"], there, "ada")


def test_the_calibrated_confidence_is_shown_beside_the_raw_one(board: Ledger) -> None:
    draw(board, samples=300)
    few = calibrate(board.engine, "lakes")
    assert [(one.subject, one.judged, one.calibration) for one in few] == [
        ("object", 0, None),
        ("change", 0, None),
    ]
    label_west(board)
    found, _ = calibrate(board.engine, "lakes")
    assert found.stored
    assert found.calibration is not None
    assert found.calibration.error_before == pytest.approx(0.35, abs=0.05)
    assert found.calibration.error_after == pytest.approx(0.0, abs=0.01)
    rows = board.rows("SELECT DISTINCT confidence, confidence_calibrated FROM watch.objects_now ORDER BY 1")
    assert [tuple(row.values()) for row in rows] == [(0.6, 0.0), (0.9, 1.0)]
    (again, _) = calibrate(board.engine, "lakes")
    assert not again.stored, "nothing new was learnt"
    (held,) = board.rows("SELECT count(*) AS n FROM segwatch.calibration")
    assert held["n"] == 1


def test_what_two_assessments_drew_counts_once_with_its_newest_label(board: Ledger) -> None:
    draw(board, samples=300)
    label_west(board)
    (before, _) = calibrate(board.engine, "lakes")
    draw(board, samples=300)
    with board.engine.begin() as conn:
        for row in list_samples(board):
            assessments.add_label(conn, row["sample_id"], Label.BOTH, "ben")
    (after, _) = calibrate(board.engine, "lakes")
    assert after.judged == before.judged
    assert after.calibration is None, "all newest labels are alike"


def test_reviews_count_for_themselves(board: Ledger) -> None:
    """Ten rejected objects and thirty confirmed ones of the same confidence, without any sample."""
    rows = board.rows("SELECT track_id, confidence FROM watch.objects_now ORDER BY confidence, track_id")
    for index, row in enumerate(rows[:40]):
        verdict = reviews.Verdict.REJECTED if index < 10 else reviews.Verdict.CONFIRMED
        with board.engine.begin() as conn:
            reviews.decide(conn, row["track_id"], verdict, reviewer="ada", reason="seen")
    found, _ = calibrate(board.engine, "lakes")
    assert found.judged == 40
    shown = board.rows(
        "SELECT DISTINCT confidence, confidence_calibrated AS c FROM watch.objects_now ORDER BY 1"
    )
    assert [(row["confidence"], round(row["c"], 3)) for row in shown] == [
        (0.6, round(22 / 32, 3)),
        (0.9, 1.0),
    ]


def test_every_version_is_kept(board: Ledger) -> None:
    bins = (ReliabilityBin(0.5, 0.4, 1.0, 40),)
    with board.engine.begin() as conn:
        series_id = assessments.load_series(conn, "lakes").series_id
        for top in (0.8, 0.9):
            made = Calibration((0.2, 0.7), (0.1, top), 40, bins, bins, 0.1, 0.05)
            assert calibrations.add(conn, series_id, "water", "object", made)
    rows = board.rows("SELECT version, is_current FROM watch.calibrations ORDER BY version")
    assert [tuple(row.values()) for row in rows] == [(1, False), (2, True)]
    with board.engine.connect() as conn:
        (held,) = analyst.list_calibrations(conn, "lakes")
    assert (held.version, held.calibration.calibrated, held.calibration.bins_before) == (2, (0.1, 0.9), bins)


def test_the_database_interpolates_as_numpy_does(board: Ledger) -> None:
    xs, ys = [0.1, 0.5, 0.7, 0.9], [0.0, 0.4, 0.4, 1.0]
    for raw in (0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 0.9, 1.0):
        (row,) = board.rows("SELECT segwatch.interpolate(:x, :xs, :ys) AS y", x=raw, xs=xs, ys=ys)
        assert row["y"] == pytest.approx(np.interp(raw, xs, ys)), raw


def test_an_unjudged_or_uncalibrated_object_has_none(board: Ledger) -> None:
    assert board.rows("SELECT DISTINCT confidence_calibrated AS c FROM watch.objects_now") == [{"c": None}]
    assert board.rows("SELECT segwatch.interpolate(NULL, ARRAY[0.1], ARRAY[0.2]) AS y") == [{"y": None}]


def test_every_window_says_the_same_confidence_and_last_change(ledgers: Any, database: Database) -> None:
    """Message, API, feed, report and panel say what the views say: the raw confidence, and the calibrated one."""
    ledger: Ledger = ledgers()
    ledger.arrive(WORLD, [0])
    made = Calibration((0.0, 1.0), (0.1, 0.4), 40, (), (), 0.1, 0.05)
    with ledger.engine.begin() as conn:
        series_id = assessments.load_series(conn, "lakes").series_id
        for subject in ("object", "change"):
            assert calibrations.add(conn, series_id, "water", subject, made)
    ledger.arrive(WORLD, [1, 2])
    (change,) = ledger.rows("SELECT * FROM watch.changes WHERE kind = 'appeared' AND NOT baseline")
    shown = {name: change[name] for name in ("confidence", "confidence_calibrated")}
    assert shown["confidence_calibrated"] == pytest.approx(0.1 + 0.3 * shown["confidence"])
    said = ledger.rows(
        "SELECT payload -> 'data' AS data FROM segwatch.delivery WHERE payload -> 'data' ->> 'kind' = 'appeared'"
    )
    assert said
    for row in said:
        raw, calibrated = row["data"]["confidence"], row["data"]["confidence_calibrated"]
        assert calibrated == pytest.approx(0.1 + 0.3 * raw), "of the moment when it was written"
    words = f"calibrated: {shown['confidence_calibrated']:.0%}".replace("%", " %")
    assert words in render_html(brief(ledger.engine, load_settings()))
    (now,) = ledger.rows("SELECT * FROM watch.objects_now WHERE track_id = :id", id=change["track_id"])
    with TestClient(create_app(database.url("segwatch_analyst"))) as client:
        alert = next(row for row in client.get("/api/alerts?watch=lakes").json() if row["kind"] == "appeared")
        assert {name: alert[name] for name in shown} == shown
        assert words in client.get("/feeds/lakes/atom.xml").text
        path = f"/api/objects/{change['track_id']}"
        panel = client.get(path, params={"at": str(now["last_looked"])}).json()
        for name in ("confidence", "confidence_calibrated", "status"):
            assert panel[name] == pytest.approx(now[name]) if name != "status" else panel[name] == now[name]
        last = panel["last_change"]
        assert (last["kind"], last["change_id"]) == (now["last_change"], str(change["change_id"]))
        assert {name: last[name] for name in shown} == shown
        assert client.get(path, params={"at": "2020-01-01T00:00:00Z"}).status_code == 404, "not there yet"
        believe(
            database,
            "UPDATE segwatch.change_judgement SET status = 'refuted', confidence = 0.02",
        )
        assert client.get(path, params={"at": str(now["last_looked"])}).json()["last_change"] is None
