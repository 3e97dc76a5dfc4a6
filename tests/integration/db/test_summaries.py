"""Sums by week equal what the views show and what counting the whole history gives, whatever happened in between."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from segwatch.db import admin_areas, analyst, reviews, summaries
from segwatch.db import ledger as work
from segwatch.db.admin_areas import AdminArea
from segwatch.db.codec import from_ewkb
from segwatch.db.migrate import upgrade
from segwatch.db.tables.summaries import STATUSES
from tests.invariants.conftest import EVERYTHING, START, Ledger, SceneContent, cells, merged, union

SHAPES = [
    (1, 1, 4, 4), (1, 1, 5, 4), (1, 1, 3, 4), (4, 1, 6, 4), (1, 1, 6, 4), (2, 5, 4, 7), (5, 5, 7, 7), (2, 5, 7, 7),
]  # fmt: skip
VIEWS = [(0, 0, 8, 8), (0, 0, 8, 8), (0, 0, 4, 8), (3, 0, 8, 8), (0, 2, 8, 8)]
#: The first district lies in two pieces, and the objects cross the border of the second.
DISTRICTS = (
    AdminArea("north and far", union([(0, 4.5, 8, 8), (20, 0, 21, 1)])),
    AdminArea("south west", cells(0, 0, 3.5, 4.5)),
    AdminArea("far away", cells(30, 0, 31, 1)),
)
#: Days apart, so that seven scenes take up four weeks.
_PACE = 4
_COUNTED = [f"{status}_{what}" for status in STATUSES for what in ("objects", "cm2")]
_NUMBERS, _ZEROS = ", ".join(_COUNTED), ", ".join("0" for _ in _COUNTED)
_SUMS = {
    "area_by_week": f"SELECT * FROM segwatch.area_by_week WHERE ({_NUMBERS}) <> ({_ZEROS}) ORDER BY 1, 2, 3, 4",
    "observed_by_week": "SELECT * FROM segwatch.observed_by_week ORDER BY 1, 2, 3",
    "reviewed_area": "SELECT * FROM segwatch.reviewed_area ORDER BY 1, 2, 3",
}
#: Every week of the view beside what watch.objects_as_of shows at its last moment.
_SHOWN = """
    SELECT w.week, w.admin_area, w.confirmed_objects, w.provisional_objects, w.confirmed_m2, w.provisional_m2,
           o.confirmed, o.provisional, o.confirmed_area, o.provisional_area
    FROM watch.area_by_week w
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE s.status = 'confirmed') AS confirmed,
               count(*) FILTER (WHERE s.status = 'provisional') AS provisional,
               coalesce(sum(s.m2) FILTER (WHERE s.status = 'confirmed'), 0) AS confirmed_area,
               coalesce(sum(s.m2) FILTER (WHERE s.status = 'provisional'), 0) AS provisional_area
        FROM (
            SELECT x.status, CASE WHEN w.admin_area IS NULL THEN x.area_m2
                                  ELSE ST_Area(ST_Intersection(x.geom, a.geom)::geography) END AS m2
            FROM watch.objects_as_of(w.valid_to - interval '1 microsecond', 'infinity') x
            LEFT JOIN watch.admin_areas a ON a.admin_area_id = w.admin_area_id
            WHERE x.watch = w.watch AND x.target = w.target) s
        WHERE s.m2 > 0) o
    WHERE w.coverage <> 'never seen'
    ORDER BY w.week, w.admin_area
"""


def sums(ledger: Ledger) -> dict[str, list[dict[str, Any]]]:
    return {name: ledger.rows(query) for name, query in _SUMS.items()}


def recounted(ledger: Ledger) -> dict[str, list[dict[str, Any]]]:
    """The same after counting every series from its history; nothing of it is kept."""
    with ledger.engine.connect() as conn:
        summaries.rebuild_all(conn)
        found = {
            name: [dict(row) for row in conn.execute(text(query)).mappings()] for name, query in _SUMS.items()
        }
        conn.rollback()
    return found


def check(ledger: Ledger) -> None:
    assert sums(ledger) == recounted(ledger)
    for row in ledger.rows(_SHOWN):
        shown = (row["confirmed_objects"], row["provisional_objects"])
        assert shown == (row["confirmed"], row["provisional"]), row
        assert row["confirmed_m2"] == pytest.approx(row["confirmed_area"], abs=0.1), row
        assert row["provisional_m2"] == pytest.approx(row["provisional_area"], abs=0.1), row


def load_districts(ledger: Ledger, *districts: AdminArea) -> admin_areas.Replaced:
    with ledger.engine.begin() as conn:
        return admin_areas.replace_layer(conn, "districts", districts)


def review(ledger: Ledger, chance: random.Random) -> None:
    """Give a verdict on some object: one now, one of the past, or one that was reviewed before."""
    found = ledger.rows(
        "SELECT DISTINCT ON (track_id) track_id, geom FROM segwatch.track_state WHERE upper_inf(recorded)"
        " ORDER BY track_id, lower(valid) DESC"
    )
    if not found:
        return
    row = chance.choice(found)
    verdict = chance.choice(list(reviews.Verdict))
    outline = from_ewkb(row["geom"]).buffer(-0.0001) if verdict is reviews.Verdict.EDITED else None
    with ledger.engine.begin() as conn:
        reviews.decide(conn, row["track_id"], verdict, reviewer="ada", reason="seen", outline=outline)


def predict(ledger: Ledger, world: Mapping[int, SceneContent]) -> None:
    """Predict every scene that waits: the AOI and the instruction queue some again."""
    while True:
        with ledger.engine.begin() as conn:
            leased = work.lease(
                conn, worker="w", seconds=60, model_version=ledger.model, watch=None, max_attempts=3
            )
        if leased is None:
            return
        ledger.save(leased, "w", world.get((leased.scene.acquired_at - START).days, SceneContent(())))


@pytest.mark.parametrize("seed", range(3))
def test_sums_follow_random_folds(ledgers: Any, seed: int) -> None:
    """Late and reprocessed scenes, skipped ones, verdicts, other AOIs and instructions, in a random order."""
    chance = random.Random(seed)  # noqa: S311
    ledger = ledgers(gone_after=chance.choice([1, 2]))
    ledger.rule()
    load_districts(ledger, *DISTRICTS[:2])
    days = [_PACE * number for number in range(7)]
    chance.shuffle(days)
    versions: dict[int, int] = {}
    world: dict[int, SceneContent] = {}
    while days:
        batch = [days.pop() for _ in range(min(len(days), chance.choice([1, 1, 2, 3])))]
        if versions and chance.random() < 0.4:
            batch.append(chance.choice(sorted(versions)))
        for day in batch:
            ground = merged(
                SHAPES[index] for index in sorted(chance.sample(range(len(SHAPES)), chance.randint(0, 3)))
            )
            version = versions[day] = versions.get(day, -1) + 1
            if chance.random() < 0.1:
                ledger.give_up(day, skipped=True, version=version)
            else:
                world[day] = SceneContent(ground, cells(*chance.choice(VIEWS)))
                ledger.find([day], version)
                predict(ledger, world)
        ledger.track()
        if chance.random() < 0.5:
            review(ledger, chance)
        if chance.random() < 0.15:
            ledger.cover(chance.choice([EVERYTHING, cells(0, 0, 8, 4.5), cells(3, 0, 8, 8)]))
        if chance.random() < 0.1:
            ledger.instruct(f"segment the lakes and ponds {seed}")
        predict(ledger, world)
        ledger.track()
        assert sums(ledger) == recounted(ledger)
    check(ledger)
    before = sums(ledger)
    ledger.track()
    assert sums(ledger) == before


def test_what_was_not_seen_is_told_apart_from_zero(ledgers: Any) -> None:
    ledger = ledgers()
    load_districts(ledger, *DISTRICTS)
    lake = merged([(1, 1, 3, 3)])
    south = cells(0, 0, 8, 4.5)
    # the north is seen in the third week only, and nothing at all in the second
    world = {
        0: SceneContent(lake, south),
        1: SceneContent(lake, south),
        14: SceneContent((), cells(0, 4.5, 8, 8)),
    }
    ledger.arrive(world, [0, 1, 14])
    rows = {
        (str(row["week"]), row["admin_area"]): row
        for row in ledger.rows("SELECT * FROM watch.area_by_week ORDER BY week, admin_area")
    }
    weeks = ("2024-01-01", "2024-01-08", "2024-01-15")
    coverage = {
        place: [rows[week, place]["coverage"] for week in weeks]
        for place in (None, "south west", "north and far")
    }
    assert coverage == {
        None: ["seen", "not seen", "seen"],
        "south west": ["seen", "not seen", "not seen"],
        "north and far": ["never seen", "never seen", "seen"],
    }
    # the far district does not meet the AOI
    assert len(rows) == 9
    north = [rows[week, "north and far"] for week in weeks]
    total = [(row["confirmed_m2"], row["provisional_m2"]) for row in north]
    assert total == [(None, None), (None, None), (0, 0)]
    lake_m2 = rows["2024-01-15", "south west"]
    assert lake_m2["confirmed_m2"] + lake_m2["provisional_m2"] == pytest.approx(
        ledger.rows("SELECT sum(area_m2) AS m2 FROM watch.objects_now")[0]["m2"], abs=0.1
    )
    assert lake_m2["observed_m2"] == 0
    assert [rows[week, None]["scenes"] for week in weeks] == [2, 0, 1]
    # two scenes of one week show the same ground, which counts once
    (one,) = ledger.rows(
        "SELECT ST_Area(geom::geography) AS m2 FROM watch.coverage ORDER BY acquired_at LIMIT 1"
    )
    assert rows["2024-01-01", None]["observed_m2"] == pytest.approx(one["m2"], abs=1)
    assert {row["accuracy"] for row in rows.values()} == {"not assessed"}
    assert {row["adjusted_m2"] for row in rows.values()} == {None}


def test_a_layer_is_replaced_as_a_whole_and_the_same_again_changes_nothing(ledgers: Any) -> None:
    ledger = ledgers()
    ledger.arrive([SceneContent(merged([(1, 1, 3, 3)]))] * 2, [0, 1])
    assert load_districts(ledger, *DISTRICTS) == admin_areas.Replaced(3, 0, 0)
    before = sums(ledger)
    assert load_districts(ledger, *DISTRICTS) == admin_areas.Replaced(0, 0, 3)
    assert sums(ledger) == before
    assert load_districts(ledger, DISTRICTS[1]) == admin_areas.Replaced(0, 2, 1)
    check(ledger)
    assert {row["name"] for row in ledger.rows("SELECT name FROM watch.admin_areas")} == {"south west"}
    with ledger.engine.begin() as conn:
        assert admin_areas.remove_layer(conn, "districts") == 1
    assert {row["admin_area"] for row in ledger.rows("SELECT admin_area FROM watch.area_by_week")} == {None}


def test_assessed_areas_are_adjusted_for_the_whole_watch_only(ledgers: Any) -> None:
    ledger = ledgers()
    load_districts(ledger, DISTRICTS[1])
    ledger.arrive([SceneContent(merged([(1, 1, 3, 3)]))] * 2, [0, 1])
    with ledger.engine.begin() as conn:
        # what `segwatch assess` stores once samples are labelled
        conn.execute(
            text(
                "INSERT INTO segwatch.assessment (id, series_id, ordinal, seed, drawn_at)"
                " SELECT gen_random_uuid(), id, 1, 1, now() FROM segwatch.series"
            )
        )
        conn.execute(
            text(
                "INSERT INTO segwatch.target_accuracy (assessment_id, target, labels, words, estimates)"
                " SELECT id, 'water', 50, 'user''s accuracy 80 %', CAST(:estimates AS jsonb) FROM segwatch.assessment"
            ),
            {"estimates": '{"area_m2": {"value": 80, "low": 60, "high": 110}, "mapped_m2": 100}'},
        )
    (whole,) = ledger.rows("SELECT * FROM watch.area_by_week WHERE admin_area IS NULL")
    mapped = whole["confirmed_m2"] + whole["provisional_m2"]
    adjusted = [whole[name] for name in ("adjusted_m2", "adjusted_low_m2", "adjusted_high_m2")]
    assert adjusted == pytest.approx([0.8 * mapped, 0.6 * mapped, 1.1 * mapped])
    assert whole["accuracy"] == "user's accuracy 80 %"
    (part,) = ledger.rows("SELECT * FROM watch.area_by_week WHERE admin_area IS NOT NULL")
    assert (part["adjusted_m2"], part["accuracy"]) == (None, "assessed for the whole watch only")


def test_a_ledger_of_an_earlier_version_is_summed_by_the_upgrade(ledgers: Any, database: Any) -> None:
    ledger = ledgers()
    ledger.arrive([SceneContent(merged([(1, 1, 3, 3)]))] * 11, [0, 10])
    expected = sums(ledger)
    assert expected["area_by_week"]
    with ledger.engine.begin() as conn:
        conn.execute(text("DELETE FROM segwatch.area_by_week"))
        conn.execute(text("DELETE FROM segwatch.observed_by_week"))
    upgrade(database.url("segwatch_owner"))
    assert sums(ledger) == expected


def test_summing_waits_for_a_layer_that_is_loaded(ledgers: Any) -> None:
    """A fold counts after the load, so that neither misses the other's rows."""
    ledger = ledgers()
    world = [SceneContent(merged([(1, 1, 3, 3)]))] * 3
    ledger.arrive(world, [0, 1])
    ledger.answer(world, [2])
    with ledger.engine.connect() as conn:
        admin_areas.replace_layer(conn, "districts", DISTRICTS[:2])
        fold = threading.Thread(target=ledger.track)
        fold.start()
        fold.join(timedelta(seconds=1).total_seconds())
        assert fold.is_alive()
        conn.commit()
    fold.join()
    check(ledger)


def test_refuted_objects_count_in_no_window(ledgers: Any) -> None:
    ledger: Ledger = ledgers(gone_after=9)
    ledger.arrive([SceneContent(merged([(1, 1, 3, 3)])), *[SceneContent(())] * 4], [0, 1, 2, 3, 4])
    (held,) = ledger.rows("SELECT status, area_m2 FROM watch.objects_now")
    assert (held["status"], held["area_m2"] > 0) == ("refuted", True)
    (week,) = ledger.rows(
        "SELECT confirmed_m2 + provisional_m2 + not_judged_m2 AS m2 FROM watch.area_by_week"
    )
    with ledger.engine.connect() as conn:
        (listed,) = analyst.list_watches(conn)
        (summed,) = analyst.summarize_watches(conn)
        covered = analyst.sum_objects(conn, "lakes", START + timedelta(days=5), EVERYTHING)
    assert week["m2"] == 0
    for one in (listed, summed):
        assert (one["objects"], one["hectares"]) == (0, 0)
    assert covered == []
