"""Publishing: bitemporal states, order in a series, alerts, the outbox, and the analyst views."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from shapely.geometry import box
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from segwatch.db import ledger, outbox, tracks
from segwatch.db.errors import NotFound, PublishConflict
from segwatch.db.raising import RuleMatch, SendTime
from segwatch.geo.types.tracking import ChangeKind, Lineage, TrackingStep

LAKE, BIGGER, POND = (
    box(10.01, 50.01, 10.02, 50.02),
    box(10.01, 50.01, 10.03, 50.02),
    box(10.05, 50.05, 10.06, 50.06),
)
TRACK = UUID(int=1)


def _rows(engine: Engine, query: str, **values: object) -> list[dict[str, Any]]:
    with engine.connect() as conn:
        return [dict(row) for row in conn.execute(text(query), values).mappings()]


def _dump(engine: Engine) -> list[list[dict[str, Any]]]:
    names = (
        "observation",
        "detection",
        "track",
        "track_state",
        "track_lineage",
        "change",
        "alert",
        "delivery",
    )
    return [_rows(engine, f"SELECT * FROM segwatch.{name} ORDER BY 1, 2, 3") for name in names]


def _step(ready: tracks.ReadyObservation, *what: Any) -> TrackingStep:
    return TrackingStep(ready.observation.id, ready.observation.scene_id, *what)


def _appear(kit: Any, number: int = 0) -> Any:
    def step(ready: tracks.ReadyObservation) -> TrackingStep:
        change = kit.change(TRACK, ChangeKind.APPEARED, number, LAKE)
        return _step(ready, (kit.state(TRACK, LAKE, number),), (change,), (), (TRACK,))

    return step


def _grow(kit: Any, number: int) -> Any:
    def step(ready: tracks.ReadyObservation) -> TrackingStep:
        change = kit.change(TRACK, ChangeKind.GREW, number, BIGGER.difference(LAKE))
        return _step(ready, (kit.state(TRACK, BIGGER, number),), (change,), (), (TRACK,))

    return step


def _nothing(ready: tracks.ReadyObservation) -> TrackingStep:
    none = tuple(None for _ in ready.observation.detections)
    return _step(ready, (), (), (), none)


def test_states_supersede_each_other_in_both_times(world: Any, kit: Any) -> None:
    world.queue(0, 1)
    world.answer(LAKE)
    world.answer(BIGGER)
    series = world.series()
    world.publish(series, _appear(kit))
    world.publish(series, _grow(kit, 1))
    history = _rows(world.engine, "SELECT * FROM watch.object_history ORDER BY recorded_from, valid_from")
    shown = [(h["valid_from"], h["valid_to"], h["recorded_to"] is None, h["change"]) for h in history]
    assert shown == [
        (kit.day(0), None, False, "appeared"),
        (kit.day(0), kit.day(1), True, "appeared"),
        (kit.day(1), None, True, "grew"),
    ]
    assert history[0]["recorded_to"] == history[1]["recorded_from"] == history[2]["recorded_from"]
    (now,) = _rows(world.engine, "SELECT *, ST_AsText(geom) AS wkt FROM watch.objects_now")
    assert (now["last_change"], now["first_seen"], now["last_seen"]) == ("grew", kit.day(0), kit.day(1))
    assert now["item_hrefs"] == ["https://stac.example/c/items/a-1"]
    assert now["model"] == kit.model
    (live,) = tracks_live(world, series, LAKE)
    assert live.geometry.equals_exact(BIGGER, 0)
    assert tracks_live(world, series, POND) == []


def tracks_live(world: Any, series: UUID, footprint: Any) -> list[Any]:
    """Live states that meet a footprint."""
    with world.engine.begin() as conn:
        return tracks.load_live(conn, series, footprint)


def test_objects_as_of_returns_the_past_as_it_was_known(world: Any, kit: Any) -> None:
    world.queue(0, 1)
    world.answer(LAKE)
    series = world.series()
    world.publish(series, _appear(kit))
    (known,) = _rows(world.engine, "SELECT clock_timestamp() AS at")
    world.answer(BIGGER)
    world.publish(series, _grow(kit, 1))
    query = "SELECT ST_Area(geom) AS area, change FROM watch.objects_as_of(:valid, :known)"

    def areas(valid: datetime, at: datetime) -> list[str]:
        return [row["change"] for row in _rows(world.engine, query, valid=valid, known=at)]

    later = kit.day(2)
    (present,) = _rows(world.engine, "SELECT clock_timestamp() AS at")
    assert areas(later, known["at"]) == ["appeared"]
    assert areas(later, present["at"]) == ["grew"]
    assert areas(kit.day(0), present["at"]) == ["appeared"]
    assert areas(kit.day(0) - timedelta(days=1), present["at"]) == []
    assert areas(later, known["at"] - timedelta(days=1)) == []
    assert len(_rows(world.engine, "SELECT * FROM watch.objects_as_of(:valid)", valid=later)) == 1


def test_two_publications_in_one_transaction_leave_no_empty_range(world: Any, kit: Any) -> None:
    world.queue(0, 1, 2)
    for _ in range(3):
        world.answer(LAKE)
    series = world.series()
    with world.engine.begin() as conn:
        for step in (_appear(kit), _grow(kit, 1), _grow(kit, 2)):
            ready = tracks.read_next_ready(conn, series)
            assert isinstance(ready, tracks.ReadyObservation)
            tracks.publish(conn, series, ready.observation.id, step(ready), [])
    states = _rows(world.engine, "SELECT * FROM watch.object_history")
    assert len(states) == 5
    assert all(s["recorded_to"] is None or s["recorded_from"] < s["recorded_to"] for s in states)


def test_a_disappearance_is_dated_to_the_first_miss(world: Any, kit: Any) -> None:
    world.queue(0, 1, 2)
    for shapes in ((LAKE,), (), ()):
        world.answer(*shapes)
    series = world.series()
    world.publish(series, _appear(kit))
    missed = kit.state(TRACK, LAKE, 1, last_seen=kit.day(0), misses=1, missed_since=kit.day(1))
    world.publish(series, lambda ready: _step(ready, (missed,), (), (), ()))
    gone = kit.state(TRACK, LAKE, 2, last_seen=kit.day(0), misses=2, missed_since=kit.day(1), alive=False)
    change = kit.change(TRACK, ChangeKind.DISAPPEARED, 1, None)
    world.publish(series, lambda ready: _step(ready, (gone,), (change,), (), ()))
    assert _rows(world.engine, "SELECT * FROM watch.objects_now") == []
    query = (
        "SELECT valid_from, valid_to, alive FROM watch.object_history WHERE recorded_to IS NULL ORDER BY 1"
    )
    now = [tuple(row.values()) for row in _rows(world.engine, query)]
    assert now == [(kit.day(0), kit.day(1), True), (kit.day(1), None, False)]
    (live,) = tracks_live(world, series, LAKE)
    assert (live.alive, live.misses, live.missed_since) == (False, 2, kit.day(1))
    (change_row,) = _rows(world.engine, "SELECT valid_at FROM watch.changes WHERE kind = 'disappeared'")
    assert change_row["valid_at"] == kit.day(1)


def test_publishing_again_changes_nothing(world: Any, kit: Any) -> None:
    world.queue(0)
    observation = world.answer(LAKE)
    series = world.series()
    step = world.publish(series, _appear(kit))
    before = _dump(world.engine)
    with world.engine.begin() as conn:
        rule = world.watch.rules[0]
        tracks.publish(
            conn,
            series,
            observation,
            step,
            [RuleMatch(step.changes[0], step.scene_id, rule, SendTime(step.changes[0].valid_at))],
        )
        assert tracks.read_next_ready(conn, series) is None
        assert tracks.list_ready_series(conn) == []
    assert _dump(world.engine) == before


def test_a_crash_while_publishing_leaves_nothing(world: Any, kit: Any) -> None:
    world.queue(0)
    world.answer(LAKE)
    series = world.series()
    before = _dump(world.engine)
    with pytest.raises(RuntimeError), world.engine.begin() as conn:
        ready = tracks.read_next_ready(conn, series)
        assert isinstance(ready, tracks.ReadyObservation)
        step = _appear(kit)(ready)
        tracks.publish(
            conn,
            series,
            ready.observation.id,
            step,
            [
                RuleMatch(
                    step.changes[0], step.scene_id, world.watch.rules[0], SendTime(step.changes[0].valid_at)
                )
            ],
        )
        raise RuntimeError("the process dies before the commit")
    assert _dump(world.engine) == before
    world.publish(series, _appear(kit))
    assert len(_rows(world.engine, "SELECT * FROM watch.alerts")) == 1


def test_an_observation_waits_for_earlier_ones(world: Any, kit: Any) -> None:
    world.queue(0, 1)
    first = world.lease("other")
    world.answer(LAKE)
    series = world.series()
    with world.engine.begin() as conn:
        assert tracks.read_next_ready(conn, series) is None
        assert ledger.skip(conn, first.observations[0].id, "other", "cloudy: nothing clear")
    with world.engine.begin() as conn:
        ready = tracks.read_next_ready(conn, series)
        assert isinstance(ready, tracks.ReadyObservation)
    assert ready.observation.acquired_at == kit.day(1)
    assert ready.first
    assert ready.origin == pytest.approx((10.05, 50.05))
    assert ready.observation.detections == kit.result(LAKE).detections
    assert ready.observation.footprint.equals_exact(kit.area, 0)


def test_a_late_scene_is_not_published_out_of_order(world: Any, kit: Any) -> None:
    world.queue(1)
    world.answer(LAKE)
    series = world.series()
    world.publish(series, _appear(kit, 1))
    states = _rows(world.engine, "SELECT * FROM segwatch.track_state")
    world.queue(0)
    late = world.answer(POND)
    with world.engine.begin() as conn:
        assert isinstance(tracks.read_next_ready(conn, series), tracks.LateObservations)
        with pytest.raises(PublishConflict, match="is late; derive its series anew"):
            tracks.publish(conn, series, late, TrackingStep(late, late, (), (), (), ()), [])
    assert _rows(world.engine, "SELECT * FROM segwatch.track_state") == states


def test_an_observation_that_cannot_be_published_is_an_error(world: Any, kit: Any) -> None:
    world.queue(0, 1)
    observation = world.answer(LAKE)
    series = world.series()
    pending = _rows(world.engine, "SELECT id FROM segwatch.observation WHERE state = 'pending'")[0]["id"]
    with world.engine.begin() as conn:
        with pytest.raises(NotFound):
            tracks.publish(conn, series, uuid4(), TrackingStep(uuid4(), uuid4(), (), (), (), ()), [])
        with pytest.raises(PublishConflict, match="pending"):
            tracks.publish(conn, series, pending, TrackingStep(pending, pending, (), (), (), ()), [])
        with pytest.raises(PublishConflict, match="not of"):
            tracks.publish(conn, series, observation, TrackingStep(pending, pending, (), (), (), ()), [])


def test_the_database_refuses_two_states_of_a_track_at_one_time(world: Any, kit: Any) -> None:
    world.queue(0)
    world.answer(LAKE)
    world.publish(world.series(), _appear(kit))
    again = text(
        "INSERT INTO segwatch.track_state SELECT gen_random_uuid(), track_id, observation_id,"
        " tstzrange(lower(valid) + :later, NULL), recorded, geom, area_m2, score, first_seen, last_seen, last_looked,"
        " misses, missed_since, visible_share, alive, merged_into, change FROM segwatch.track_state"
    )
    with pytest.raises(IntegrityError, match="track_state_no_overlap"), world.engine.begin() as conn:
        conn.execute(again, {"later": timedelta(days=1)})
    empty = text("UPDATE segwatch.track_state SET recorded = 'empty'")
    with pytest.raises(IntegrityError, match="track_state_ranges_not_empty"), world.engine.begin() as conn:
        conn.execute(empty)


def test_split_keeps_its_lineage(world: Any, kit: Any) -> None:
    world.queue(0, 1)
    world.answer(LAKE)
    world.answer(LAKE, POND)
    series = world.series()
    world.publish(series, _appear(kit))
    child = UUID(int=2)

    def split(ready: tracks.ReadyObservation) -> TrackingStep:
        states = (kit.state(TRACK, LAKE, 1), kit.state(child, POND, 1, first_seen=kit.day(1)))
        lineage = (Lineage(TRACK, child, ChangeKind.SPLIT, kit.day(1)),)
        return _step(ready, states, (kit.change(TRACK, ChangeKind.SPLIT, 1, None),), lineage, (TRACK, child))

    world.publish(series, split)
    assert len(_rows(world.engine, "SELECT * FROM watch.objects_now")) == 2
    (row,) = _rows(world.engine, "SELECT parent, child, kind FROM segwatch.track_lineage")
    assert tuple(row.values()) == (TRACK, child, "split")
    linked = _rows(world.engine, "SELECT track_id FROM segwatch.detection WHERE track_id = :id", id=child)
    assert len(linked) == 1


def test_an_alert_goes_once_to_each_channel(world: Any, kit: Any) -> None:
    world.queue(0)
    world.answer(LAKE)
    world.publish(world.series(), _appear(kit))
    with world.engine.begin() as conn:
        first = outbox.lease(conn, worker="d1", seconds=60, limit=10)
        assert outbox.lease(conn, worker="d2", seconds=60, limit=10) == []
    assert {one.channel for one in first} == set(world.watch.rules[0].channels)
    assert len({one.idempotency_key for one in first}) == 2
    assert {one.attempts for one in first} == {0}
    data = first[0].payload["data"]
    assert (data["watch"], data["kind"], data["target"], data["rule"]) == (
        "lakes",
        "appeared",
        "water",
        "new water",
    )
    assert data["item_hrefs"] == ["https://stac.example/c/items/a-0"]
    with world.engine.begin() as conn:
        outbox.record_delivered(conn, first[0].id)
        outbox.record_failure(
            conn, first[1].id, "HTTP 500", retry_in_seconds=0, give_up_seconds=3600, rest_seconds=None
        )
    (alert,) = _rows(world.engine, "SELECT * FROM watch.alerts")
    assert (alert["delivered_at"], alert["deliveries_pending"], alert["deliveries_failed"]) == (None, 1, 0)
    with world.engine.begin() as conn:
        (again,) = outbox.lease(conn, worker="d1", seconds=60, limit=10)
        assert (again.idempotency_key, again.attempts) == (first[1].idempotency_key, 1)
        outbox.record_failure(
            conn, again.id, "HTTP 500", retry_in_seconds=0, give_up_seconds=0, rest_seconds=None
        )
    (alert,) = _rows(world.engine, "SELECT * FROM watch.alerts")
    assert (alert["deliveries_pending"], alert["deliveries_failed"]) == (0, 1)
    with world.engine.begin() as conn:
        assert outbox.lease(conn, worker="d1", seconds=60, limit=10) == []


def test_a_delivery_whose_worker_died_is_sent_again_under_the_same_key(world: Any, kit: Any) -> None:
    world.queue(0)
    world.answer(LAKE)
    world.publish(world.series(), _appear(kit))
    with world.engine.begin() as conn:
        first = outbox.lease(conn, worker="d1", seconds=0.01, limit=1)
    time.sleep(0.05)
    with world.engine.begin() as conn:
        again = outbox.lease(conn, worker="d2", seconds=60, limit=2)
    assert first[0].idempotency_key in {one.idempotency_key for one in again}


def test_why_not_answers_for_every_observation(world: Any, kit: Any) -> None:
    world.queue(0, 1, 2, 3, 4)
    half = box(10.0, 50.0, 10.04, 50.1)
    world.answer(LAKE)
    world.publish(world.series(), _appear(kit))
    world.answer(footprint=half)
    world.publish(world.series(), _nothing)
    skipped, failed = world.lease().observations[0], world.lease().observations[0]
    with world.engine.begin() as conn:
        ledger.skip(conn, skipped.id, "w", "cloudy: 0 % clear")
        ledger.fail(conn, failed.id, "w", "HTTP 404", max_attempts=1)

    def ask(lon: float, lat: float, until: int = 9) -> list[str]:
        query = "SELECT answer FROM watch.why_not(:lon, :lat, :at, 'lakes') ORDER BY acquired_at"
        return [row["answer"] for row in _rows(world.engine, query, lon=lon, lat=lat, at=kit.day(until))]

    assert ask(10.015, 50.015) == ["alerted", "nothing found", "cloudy", "failed", "pending"]
    assert ask(10.055, 50.055) == ["nothing found", "cloudy", "cloudy", "failed", "pending"]
    assert ask(10.055, 50.055, until=1) == ["nothing found", "cloudy"]
    assert ask(80, 0, until=1) == ["not imaged", "not imaged"]
    assert ask(10.05, 50.05, until=-1) == ["not imaged"]


def test_a_detection_without_a_change_is_below_the_threshold(world: Any, kit: Any) -> None:
    world.queue(0)
    world.answer(LAKE)
    world.publish(world.series(), _nothing)
    (row,) = _rows(world.engine, "SELECT answer FROM watch.why_not(10.015, 50.015, now(), 'lakes')")
    assert row["answer"] == "below threshold"


def test_objects_of_an_older_model_are_not_shown_twice(world: Any, kit: Any) -> None:
    from segwatch.db import observations

    (scene,) = world.queue(0)
    world.answer(LAKE)
    world.publish(world.series(), _appear(kit))
    with world.engine.begin() as conn:
        observations.enqueue(conn, world.revision, "newer@1", [scene])
        leased = ledger.lease(conn, worker="w", seconds=60, model_version="newer@1")
        assert leased is not None
        ledger.save(conn, leased.observations[0].id, "w", kit.result(LAKE), {})
    other = UUID(int=9)

    def appear(ready: tracks.ReadyObservation) -> TrackingStep:
        return _step(ready, (kit.state(other, LAKE, 0),), (), (), (other,))

    world.publish(world.series(), appear)
    (row,) = _rows(world.engine, "SELECT track_id, model FROM watch.objects_now")
    assert (row["track_id"], row["model"]) == (other, "newer@1")
