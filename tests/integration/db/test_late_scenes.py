"""Late scenes that confirm what is recorded change nothing."""

from __future__ import annotations

from typing import Any

from segwatch.db import late_observations, observations, scenes, tracks
from segwatch.geo.tracking.reach import widen_to_past, widen_to_reach
from tests.invariants.conftest import Ledger, SceneContent, cells, scene
from tests.invariants.conftest import ledgers as ledgers  # noqa: PLC0414 - a fixture of these tests, too

LAKE, GROWN = cells(0, 0, 2, 2), cells(0, 0, 4, 2)


def arrive(ledger: Ledger, platform: str, look: SceneContent, version: int = 0) -> None:
    """A platform's scene of the first day."""
    with ledger.engine.begin() as conn:
        ids = scenes.upsert(conn, [scene(0, version, platform)])
        observations.enqueue(conn, ledger.revision, ledger.model, ids)
    ledger.save(ledger.lease("w"), "w", look)
    ledger.track()


def told(ledger: Ledger) -> list[str]:
    rows = ledger.rows("SELECT payload ->> 'type' AS kind FROM segwatch.delivery ORDER BY sequence")
    return [row["kind"] for row in rows]


def test_a_late_observation_of_an_unchanged_object_retracts_nothing(ledgers: Any) -> None:
    """Half of it is under clouds: its outline comes from two observations, so its area differs by rounding."""
    lake, grown = cells(0.13, 0.17, 3.37, 3.71), cells(0.13, 0.17, 6.11, 3.71)
    ledger = ledgers()
    world = [SceneContent((lake,)), SceneContent((lake,), cells(0, 0, 1.777, 8)), SceneContent((grown,))]
    for number in (0, 2):
        ledger.arrive(world, [number])
    before = told(ledger)
    (was,) = ledger.rows("SELECT id, before_m2 FROM segwatch.change WHERE kind = 'grew'")
    ledger.arrive(world, [1])
    assert told(ledger) == before == ["segwatch.alert"] * 2
    (now,) = ledger.rows("SELECT id, before_m2, retracted_at FROM segwatch.change WHERE kind = 'grew'")
    assert now["id"] == was["id"]
    assert now["before_m2"] != was["before_m2"], "or this shows nothing"
    assert ledger.rows("SELECT * FROM segwatch.alert_correction") == []


def test_reprocessed_items_with_the_same_objects_alert_nobody_twice(ledgers: Any) -> None:
    world = [SceneContent((LAKE,)), SceneContent((GROWN,)), SceneContent((LAKE,))]
    ledger = ledgers()
    for number in (0, 1, 2):
        ledger.arrive(world, [number])
    before = told(ledger)
    ledger.arrive(world, [1], version=1)
    assert told(ledger) == before
    rows = ledger.rows(
        "SELECT c.kind, p.item_hrefs FROM segwatch.change c JOIN segwatch.provenance p USING (observation_id)"
    )
    (grew,) = (row["item_hrefs"] for row in rows if row["kind"] == "grew")
    assert [href.endswith("v=1") for href in grew] == [True], "it is the newer version that shows it"
    assert all(row["retracted_at"] is None for row in ledger.rows("SELECT retracted_at FROM segwatch.change"))
    # what shows something else takes it back
    ledger.arrive([SceneContent(()), SceneContent((LAKE,)), SceneContent(())], [1], version=2)
    assert before == ["segwatch.alert"] * 2 + ["segwatch.alert.refuted"] * 2, (
        "of the growth; nobody was told of its end"
    )
    assert told(ledger)[len(before) :] == ["segwatch.alert.retracted"] * 2, "there was no growth"


def test_an_object_observed_twice_at_one_time_keeps_its_track_when_the_second_is_reprocessed(
    ledgers: Any,
) -> None:
    first, second = sorted(["p1", "p2"], key=lambda name: str(scenes.make_scene_id(scene(0, 0, name))))
    ledger = ledgers()
    arrive(ledger, first, SceneContent((LAKE,)))
    arrive(ledger, second, SceneContent((GROWN,)))
    arrive(ledger, second, SceneContent((GROWN,)), version=1)
    known = ledger.known()
    assert len({row["track_id"] for row in known["history"]}) == 1
    assert sorted(row["kind"] for row in known["changes"]) == ["appeared", "grew"]
    straight = ledgers()
    arrive(straight, first, SceneContent((LAKE,)))
    arrive(straight, second, SceneContent((GROWN,)), version=1)
    assert straight.known()["history"] == known["history"]


def test_a_late_scene_loads_only_the_tracks_that_it_may_change(ledgers: Any) -> None:
    west, east = cells(0, 0, 3, 8), cells(5, 0, 8, 8)
    here, there = cells(1, 1, 2, 2), cells(6, 1, 7, 2)
    world = [
        SceneContent((here, there)),
        SceneContent((here,), west),
        SceneContent((there,), east),
        SceneContent((here,), west),
    ]
    ledger = ledgers()
    for number in (0, 2, 3):
        ledger.arrive(world, [number])
    ledger.answer(world, [1])
    with ledger.engine.begin() as conn:
        (series_id,) = tracks.list_ready_series(conn)
        old = late_observations.load_past(
            conn, series_id, tracks.load_detections, widen_to_reach, widen_to_past
        )
    named = {row["track_id"] for row in ledger.rows("SELECT track_id FROM segwatch.track_state")}
    assert len(named) == 2
    assert set(old.rows) == named, "the fold goes over a look in the east, too"
    ledger.track()
    ledger.answer(world, [3], version=1)
    with ledger.engine.begin() as conn:
        old = late_observations.load_past(
            conn, series_id, tracks.load_detections, widen_to_reach, widen_to_past
        )
    (seen,) = ledger.rows(
        "SELECT track_id FROM watch.objects_now WHERE ST_Intersects(geom, ST_GeomFromText(:west, 4326))",
        west=west.wkt,
    )
    assert set(old.rows) == {seen["track_id"]}
