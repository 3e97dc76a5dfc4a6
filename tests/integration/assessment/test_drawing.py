"""Samples are drawn from the ledger with known probability, the same again for the same seed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from shapely.geometry import Point
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from segwatch.db import analyst, assessments
from segwatch.db.errors import LabelRefused, NotFound
from segwatch.flows.assessment.drawing import draw_assessment
from segwatch.flows.errors import ConfigError
from segwatch.geo.types.assessment import Label
from tests.invariants.conftest import Ledger, SceneContent, cells, day
from tests.support.assessing import LAKE, POND, arrive, label_all


@pytest.fixture
def drawn(ledgers: Any) -> Ledger:
    """A ledger with two objects, one of which appeared."""
    made: Ledger = ledgers()
    arrive(made)
    return made


def samples(ledger: Ledger) -> list[dict[str, Any]]:
    return ledger.rows(
        "SELECT p.ordinal, p.target, p.stratum, p.probability, ST_AsText(p.geom) AS place, p.before_scene,"
        " p.after_scene,"
        " p.agreeing, p.confidence, p.track_id FROM segwatch.assessment_sample p"
        " JOIN segwatch.assessment a ON a.id = p.assessment_id ORDER BY a.ordinal, p.ordinal"
    )


def test_the_strata_cover_the_observed_ground(drawn: Ledger) -> None:
    made = draw_assessment(drawn.engine, "lakes", samples=200, seed=7)
    assert (made.samples, made.explain_size()) == (200, ""), (
        "points for the objects and changes that there are not"
    )
    strata = {row["stratum"]: row for row in drawn.rows("SELECT * FROM watch.assessments")}
    assert set(strata) == {"mapped", "background", "object", "appeared"}
    (whole,) = drawn.rows("SELECT ST_Area(CAST(geom AS geography)) AS m2 FROM watch.watches")
    (mapped,) = drawn.rows("SELECT sum(area_m2) AS m2 FROM watch.objects_now")
    assert strata["mapped"]["area_m2"] == pytest.approx(mapped["m2"])
    assert strata["mapped"]["size"] == pytest.approx(mapped["m2"] / 100), "pixels of 10 m"
    assert strata["mapped"]["area_m2"] + strata["background"]["area_m2"] == pytest.approx(whole["m2"])
    assert (strata["object"]["size"], strata["appeared"]["size"]) == (2, 1)
    assert made.strata == {("water", name): row["samples"] for name, row in strata.items()}
    for row in samples(drawn):
        stratum = strata[row["stratum"]]
        assert row["probability"] == pytest.approx(stratum["samples"] / stratum["size"])


def test_points_lie_in_their_stratum(drawn: Ledger) -> None:
    draw_assessment(drawn.engine, "lakes", samples=200, seed=7)
    inside = drawn.rows(
        "SELECT p.stratum, bool_and(n.inside) AS every, bool_or(n.inside) AS some FROM segwatch.assessment_sample p"
        " CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM watch.objects_now o WHERE ST_Intersects(o.geom, p.geom))"
        " AS inside) n GROUP BY p.stratum"
    )
    found = {row["stratum"]: (row["every"], row["some"]) for row in inside}
    assert found["background"] == (False, False)
    assert found["mapped"] == found["object"] == found["appeared"] == (True, True)


def test_a_change_is_shown_between_the_scenes_around_it(drawn: Ledger) -> None:
    draw_assessment(drawn.engine, "lakes", samples=50, seed=7)
    days = {
        row["id"]: row["acquired_at"].day - 1
        for row in drawn.rows("SELECT id, acquired_at FROM segwatch.scene")
    }
    shown = {
        row["stratum"]: (days[row["before_scene"]], days[row["after_scene"]], row["agreeing"])
        for row in samples(drawn)
    }
    assert shown["appeared"] == (0, 1, ["after"])
    assert shown["background"] == (0, 2, ["before", "neither"])
    assert shown["object"] == shown["mapped"] == (0, 2, ["both", "after"])


def test_a_disappearance_is_shown_between_its_last_detection_and_its_first_miss(ledgers: Any) -> None:
    """Day 2 shows too little of the pond to count as a miss, although the ground that it shows is dry."""
    ledger: Ledger = ledgers(gone_after=2)
    both, dry = SceneContent((LAKE, POND)), SceneContent((LAKE,))
    ledger.arrive([both, both, replace(dry, footprint=cells(0, 0, 6.3, 8)), dry, dry, dry], list(range(6)))
    (change,) = ledger.rows("SELECT kind, valid_at FROM watch.changes WHERE NOT baseline")
    assert (change["kind"], change["valid_at"]) == ("disappeared", day(3)), "raised on day 4"
    draw_assessment(ledger.engine, "lakes", samples=50, seed=7)
    (shown,) = (row for row in samples(ledger) if row["stratum"] == "disappeared")
    days = {
        row["id"]: row["acquired_at"] for row in ledger.rows("SELECT id, acquired_at FROM segwatch.scene")
    }
    assert (days[shown["before_scene"]], days[shown["after_scene"]]) == (day(1), day(3))
    assert shown["agreeing"] == ["before"]


def test_the_confidence_at_the_time_of_drawing_is_kept(drawn: Ledger) -> None:
    draw_assessment(drawn.engine, "lakes", samples=50, seed=7)
    (change,) = drawn.rows("SELECT confidence FROM watch.changes WHERE NOT baseline")
    objects = drawn.rows("SELECT track_id, confidence FROM watch.objects_now")
    held = {row["stratum"]: row["confidence"] for row in samples(drawn) if row["track_id"] is None}
    assert held["appeared"] == change["confidence"] is not None
    assert held["mapped"] is held["background"] is None
    assert {row["track_id"]: row["confidence"] for row in samples(drawn) if row["track_id"]} == {
        row["track_id"]: row["confidence"] for row in objects
    }


def test_the_same_seed_draws_the_same_sample(drawn: Ledger) -> None:
    for seed in (7, 7, 8):
        draw_assessment(drawn.engine, "lakes", samples=60, seed=seed)
    rows = samples(drawn)
    first, second, third = (rows[at : at + len(rows) // 3] for at in range(0, len(rows), len(rows) // 3))
    assert first == second
    assert first != third
    assert [row["seed"] for row in drawn.rows("SELECT seed FROM segwatch.assessment ORDER BY ordinal")] == [
        7,
        7,
        8,
    ]


def test_labels_are_added_never_changed(drawn: Ledger) -> None:
    draw_assessment(drawn.engine, "lakes", samples=60, seed=7)
    (sample, *_) = drawn.rows(
        "SELECT id FROM segwatch.assessment_sample WHERE stratum = 'background' ORDER BY ordinal"
    )
    made = []
    for label, person in (
        (Label.BOTH, "ada"),
        (Label.BOTH, "ada"),
        (Label.NEITHER, "ada"),
        (Label.NEITHER, "bo"),
    ):
        with drawn.engine.begin() as conn:
            made.append(assessments.add_label(conn, sample["id"], label, person))
    assert [one.created for one in made] == [True, False, True, True]
    assert [one.agrees for one in made] == [False, False, True, True]
    rows = drawn.rows("SELECT label, labeller FROM segwatch.assessment_label ORDER BY ordinal")
    assert [(row["label"], row["labeller"]) for row in rows] == [
        ("both", "ada"),
        ("neither", "ada"),
        ("neither", "bo"),
    ]
    (counts,) = drawn.rows("SELECT correct, wrong FROM watch.assessments WHERE stratum = 'background'")
    assert (counts["correct"], counts["wrong"]) == (1, 0)
    for refused in (
        "UPDATE segwatch.assessment_label SET label = 'both'",
        "DELETE FROM segwatch.assessment_label",
    ):
        with pytest.raises(DBAPIError, match="permission denied"), drawn.engine.begin() as conn:
            conn.execute(text(refused))


def test_a_label_needs_a_name_and_a_sample(drawn: Ledger) -> None:
    draw_assessment(drawn.engine, "lakes", samples=60, seed=7)
    (sample, *_) = drawn.rows("SELECT id FROM segwatch.assessment_sample")
    with drawn.engine.begin() as conn:
        for name in ("", " ", "x" * 5000, "\0"):
            with pytest.raises(LabelRefused, match="labeller"):
                assessments.add_label(conn, sample["id"], Label.BOTH, name)
        with pytest.raises(NotFound, match="no sample"):
            assessments.add_label(conn, drawn.revision, Label.BOTH, "ada")


def test_a_watch_without_scenes_or_with_too_large_a_sample_is_refused(ledgers: Any) -> None:
    ledger: Ledger = ledgers()
    with pytest.raises(NotFound, match="nothing to assess"):
        draw_assessment(ledger.engine, "lakes")
    with pytest.raises(NotFound, match="no watch named"):
        draw_assessment(ledger.engine, "nowhere")
    ledger.arrive([SceneContent((LAKE,))], [0])
    with pytest.raises(ConfigError, match="--samples"):
        draw_assessment(ledger.engine, "lakes", samples=20_000)
    assert ledger.rows("SELECT * FROM segwatch.assessment") == []


def test_ground_observed_once_has_no_earlier_picture(ledgers: Any) -> None:
    ledger: Ledger = ledgers()
    ledger.arrive([SceneContent(())], [0])
    draw_assessment(ledger.engine, "lakes", samples=40, seed=1)
    assert {(row["stratum"], row["before_scene"]) for row in samples(ledger)} == {("background", None)}


def test_accuracy_and_area_follow_from_the_labels(drawn: Ledger) -> None:
    """The western half of the lake is no water; the map shows everything else as it is."""
    with drawn.engine.connect() as conn:
        assert analyst.read_accuracy(conn, "lakes").targets == ()
    draw_assessment(drawn.engine, "lakes", samples=600, seed=3)
    real = [cells(2.5, 1, 4, 4), POND]
    label_all(
        drawn,
        lambda lon, lat: Label.BOTH if any(one.covers(Point(lon, lat)) for one in real) else Label.NEITHER,
    )
    with drawn.engine.connect() as conn:
        (water,) = analyst.read_accuracy(conn, "lakes").targets
    (true,) = drawn.rows(
        "SELECT sum(ST_Area(CAST(ST_GeomFromText(g, 4326) AS geography))) AS m2 FROM unnest(CAST(:g AS text[])) g",
        g=[one.wkt for one in real],
    )
    assert water.users is not None
    assert water.users.low < 8.5 / 13 < water.users.high
    assert water.producers is not None
    assert water.producers.value == 1.0
    assert water.area_m2 is not None
    assert water.area_m2.low < true["m2"] < water.area_m2.high
    assert water.mapped_m2 > water.area_m2.high, "the map shows too much"


def test_an_assessment_of_an_earlier_instruction_no_longer_counts(drawn: Ledger) -> None:
    draw_assessment(drawn.engine, "lakes", samples=100, seed=3)
    label_all(drawn)
    drawn.instruct("segment the ponds")
    drawn.arrive([SceneContent((LAKE,))] * 4, [3])
    with drawn.engine.connect() as conn:
        assert analyst.read_accuracy(conn, "lakes").assessment_id is None
