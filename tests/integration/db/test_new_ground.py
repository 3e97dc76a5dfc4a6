"""Ground that a series observes for the first time, and ground that leaves the AOI of a watch."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import shapely
from shapely.geometry.base import BaseGeometry

from segwatch.db import ground
from tests.conftest import Database
from tests.invariants.conftest import EVERYTHING, MODEL, Ledger, SceneContent, cells, day
from tests.invariants.conftest import ledgers as ledgers  # noqa: PLC0414 - a fixture of these tests, too

WEST, EAST = cells(0, 0, 4, 8), cells(4, 0, 8, 8)
#: A lake across the border, and a pond on either side.
LAKE, PONDS = cells(2, 2, 6, 4), (cells(1, 6, 2, 7), cells(6, 6, 7, 7))
THERE = (LAKE, *PONDS)
LATER = (*THERE, cells(6, 1, 7, 1.5))
CLOUD = cells(3, 1, 7.5, 7.5)


def told(ledger: Ledger) -> list[tuple[str, bool]]:
    """Changes that hold: kind, and whether it is baseline."""
    query = "SELECT kind, baseline FROM watch.changes WHERE retracted_at IS NULL ORDER BY kind, baseline"
    return [(row["kind"], row["baseline"]) for row in ledger.rows(query)]


def messages(ledger: Ledger) -> list[str]:
    query = "SELECT DISTINCT ON (alert_id, ordinal) payload ->> 'type' AS type FROM segwatch.delivery"
    return [row["type"].rsplit(".", 1)[-1] for row in ledger.rows(query)]


def shapes(
    ledger: Ledger, query: str = "SELECT geom FROM watch.objects_now", **values: Any
) -> list[BaseGeometry]:
    found = [shapely.from_wkb(str(row["geom"])) for row in ledger.rows(query, **values)]
    return sorted(found, key=lambda one: one.bounds)


def alike(found: list[BaseGeometry], expected: tuple[BaseGeometry, ...]) -> bool:
    pairs = zip(found, sorted(expected, key=lambda one: one.bounds), strict=True)
    return all(one.symmetric_difference(other).area < 1e-6 * other.area for one, other in pairs)


VIEWS = {
    "west and then east": (WEST, EAST),
    "a wider swath": (cells(2, 0, 5, 8), EVERYTHING),
    "a cloudy first scene": (EVERYTHING.difference(CLOUD), EVERYTHING),
    "the middle last": (cells(0, 0, 3, 8), cells(5, 0, 8, 8), cells(2, 0, 6, 8), EVERYTHING),
}


@pytest.mark.parametrize("views", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("backwards", [False, True], ids=["in order", "newest first"])
def test_objects_on_new_ground_are_baseline_and_alert_nobody(
    ledgers: Any, views: tuple[BaseGeometry, ...], backwards: bool
) -> None:
    ledger = ledgers()
    world = [SceneContent(THERE, view) for view in views]
    for number in reversed(range(len(world))) if backwards else range(len(world)):
        ledger.arrive(world, [number])
    assert set(told(ledger)) == {("appeared", True)}
    assert messages(ledger) == []
    assert alike(shapes(ledger), THERE)


def test_baseline_alerts_where_the_rule_says_so(ledgers: Any) -> None:
    ledger = ledgers()
    ledger.rule(include_baseline=True)
    for number, view in enumerate((WEST, EAST)):
        ledger.arrive({number: SceneContent(THERE, view)}, [number])
    rows = ledger.rows("SELECT kind, valid_at FROM watch.alerts ORDER BY valid_at")
    assert [(row["kind"], row["valid_at"]) for row in rows] == [
        ("appeared", day(0)), ("appeared", day(0)), ("appeared", day(1)),
    ]  # fmt: skip


def test_a_widened_area_begins_with_its_baseline(ledgers: Any) -> None:
    ledger = ledgers()
    ledger.cover(WEST)
    ledger.arrive({0: SceneContent(THERE, WEST)}, [0])
    ledger.cover(EVERYTHING)
    ledger.arrive({1: SceneContent(THERE)}, [1])
    assert told(ledger) == [("appeared", True)] * 3
    assert messages(ledger) == []
    ledger.arrive({2: SceneContent((*THERE, cells(7, 0, 8, 1)))}, [2])
    assert told(ledger) == [("appeared", False), *[("appeared", True)] * 3]


def test_objects_outside_a_moved_aoi_are_hidden_until_it_returns(ledgers: Any) -> None:
    """Moved to the east and back: objects wholly in the west are hidden meanwhile and then as before."""
    ledger = ledgers(gone_after=1)
    ledger.arrive({0: SceneContent(THERE)}, [0])
    objects = "SELECT track_id, round(area_m2) AS area_m2 FROM watch.objects_now ORDER BY track_id"
    before = ledger.rows(objects)
    ((then,),) = (row.values() for row in ledger.rows("SELECT clock_timestamp()"))
    ledger.cover(EAST)
    assert alike(shapes(ledger), (LAKE, PONDS[1])), "an object that reaches into the area stays"
    assert told(ledger) == [("appeared", True)] * 3
    assert messages(ledger) == []
    # history is as it was, and so is what was known
    as_of = "SELECT geom FROM watch.objects_as_of(:valid_at, :known_at)"
    ((now,),) = (row.values() for row in ledger.rows("SELECT clock_timestamp()"))
    assert len(shapes(ledger, as_of, valid_at=now, known_at=now)) == 2
    assert len(shapes(ledger, as_of, valid_at=now, known_at=then)) == 3
    assert len(shapes(ledger, as_of, valid_at=day(0), known_at=now)) == 3
    assert len(ledger.rows("SELECT 1 FROM watch.object_history")) == 3

    # a pond in the west dries up meanwhile, where nobody looks
    ledger.arrive({1: SceneContent(THERE, EAST)}, [1])
    ledger.cover(EVERYTHING)
    assert ledger.rows(objects) == before
    ledger.arrive({2: SceneContent((LAKE, PONDS[1]))}, [2])
    assert told(ledger) == [*[("appeared", True)] * 3, ("disappeared", False)]
    assert alike(shapes(ledger), (LAKE, PONDS[1]))
    ((later,),) = (row.values() for row in ledger.rows("SELECT clock_timestamp()"))
    assert len(shapes(ledger, as_of, valid_at=now, known_at=later)) == 2, (
        "the area of that time stays what it was"
    )


def test_an_aoi_elsewhere_hides_every_object_of_the_previous_one(ledgers: Any) -> None:
    ledger = ledgers()
    ledger.arrive({0: SceneContent(PONDS)}, [0])
    ledger.cover(cells(20, 0, 28, 8))
    assert shapes(ledger) == []
    ledger.arrive({1: SceneContent((cells(21, 1, 23, 3),), cells(20, 0, 28, 8))}, [1])
    assert told(ledger) == [("appeared", True)] * 3
    assert alike(shapes(ledger), (cells(21, 1, 23, 3),))


def test_the_same_definition_again_keeps_the_areas(ledgers: Any) -> None:
    ledger = ledgers()
    for area in (EVERYTHING, EAST, EAST, EVERYTHING, EAST):
        ledger.cover(area)
    rows = ledger.rows("SELECT until IS NULL AS open, narrowed FROM segwatch.watch_area ORDER BY since")
    assert [(row["open"], row["narrowed"]) for row in rows] == [
        (False, False), (False, True), (False, False), (True, True),
    ]  # fmt: skip


def test_a_late_scene_without_the_object_turns_its_baseline_into_an_appearance(ledgers: Any) -> None:
    pond = PONDS[1]
    ledger = ledgers()
    ledger.arrive({0: SceneContent((), WEST)}, [0])
    ledger.arrive({2: SceneContent((pond,))}, [2])
    assert (told(ledger), messages(ledger)) == ([("appeared", True)], [])
    ledger.arrive({1: SceneContent(())}, [1])
    assert told(ledger) == [("appeared", False)]
    assert messages(ledger) == ["alert"]
    (kept,) = ledger.rows("SELECT count(*) AS n FROM watch.changes WHERE retracted_at IS NOT NULL")
    assert kept["n"] == 1, "what was said before is retracted, not rewritten"


def test_a_late_scene_with_the_object_takes_over_its_baseline(ledgers: Any) -> None:
    ledger = ledgers()
    ledger.arrive({0: SceneContent(THERE, WEST)}, [0])
    ledger.arrive({2: SceneContent(THERE)}, [2])
    ledger.arrive({1: SceneContent(THERE, EAST)}, [1])
    assert told(ledger) == [("appeared", True)] * 3
    rows = ledger.rows("SELECT valid_at FROM watch.changes WHERE retracted_at IS NULL ORDER BY valid_at")
    assert [row["valid_at"] for row in rows] == [day(0), day(0), day(1)]
    assert messages(ledger) == []


def test_an_alert_is_retracted_when_reprocessing_hides_the_ground_before(ledgers: Any) -> None:
    """The first scene is reprocessed, with clouds over the east: objects found there later are baseline."""
    ledger = ledgers()
    ledger.arrive({0: SceneContent(())}, [0])
    ledger.arrive({1: SceneContent((PONDS[1],))}, [1])
    assert (told(ledger), messages(ledger)) == ([("appeared", False)], ["alert"])
    ledger.arrive({0: SceneContent((), WEST)}, [0], version=1)
    assert told(ledger) == [("appeared", True)]
    assert sorted(messages(ledger)) == ["alert", "retracted"]


def test_observed_ground_of_an_old_ledger_is_computed_from_its_footprints(
    ledgers: Any, database: Database
) -> None:
    """Old versions did not store it: the next scene of either series computes it, in order or late."""
    straight = ledgers()
    world = [SceneContent(THERE, WEST), SceneContent(THERE, EAST), SceneContent(THERE), SceneContent(LATER)]
    for number in range(4):
        straight.arrive(world, [number])
    expected = straight.known()
    for order in ((0, 1, 2, 3), (1, 0, 3, 2)):
        ledger = ledgers()
        for number in order:
            ledger.arrive(world, [number])
            with psycopg.connect(database.superuser_url, autocommit=True) as conn:
                conn.execute("DELETE FROM segwatch.seen_ground")
        ledger.model = "tiny@second"
        ledger.arrive(world, [3])
        ledger.model = MODEL
        found = ledger.known()
        assert [row for row in found["changes"] if not row["baseline"]] == [
            row for row in expected["changes"] if not row["baseline"]
        ]
        (two,) = ledger.rows("SELECT count(DISTINCT series_id) AS n FROM segwatch.seen_ground")
        assert two["n"] == 2


def test_a_new_model_finds_only_baseline_on_ground_it_observes_first(ledgers: Any) -> None:
    """Its first scene covers the west only; a pool in the east that the old model missed is no change."""
    pool = cells(6, 1, 7, 2)
    ledger = ledgers()
    ledger.arrive({0: SceneContent(THERE)}, [0])
    ledger.model = "tiny@second"
    ledger.arrive({0: SceneContent(THERE, WEST)}, [0])
    wide = SceneContent((cells(2, 2, 7, 4), PONDS[0], PONDS[1], pool))
    # twice, as what a single scene showed is not believed
    ledger.arrive({1: wide, 2: wide}, [1, 2])
    assert set(told(ledger)) == {("appeared", True)}
    assert messages(ledger) == []
    ledger.arrive({3: SceneContent((*THERE, pool, cells(4, 6, 5, 7)))}, [3])
    rows = ledger.rows("SELECT kind FROM watch.alerts ORDER BY kind")
    assert [row["kind"] for row in rows] == ["appeared", "shrank"]


def test_a_scene_loads_only_the_observed_ground_that_it_meets(ledgers: Any) -> None:
    """Scenes without new ground add no row, and only rows that meet the footprint are loaded."""
    ledger = ledgers()
    views = [cells(0, 0, 3, 8), cells(5, 0, 8, 8)]
    for number in range(8):
        ledger.arrive({number: SceneContent(THERE, views[number % 2])}, [number])
    rows = ledger.rows("SELECT observation_id, series_id FROM segwatch.seen_ground")
    assert len(rows) == 2
    with ledger.engine.connect() as conn:
        near = ground.load_near(conn, rows[0]["series_id"], cells(0, 0, 2, 2))
    assert len(near) == 1
    assert near[0].geometry.equals(views[0])
