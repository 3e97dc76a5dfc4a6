"""Leases: no scene is leased twice, none is lost, and a worker that lost its lease records nothing."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from segwatch.db import ledger, observations, scenes, watches
from segwatch.db.errors import LeaseLost, NotFound
from segwatch.geo.antimeridian import compute_centre


def _row(engine: Engine, identity: UUID) -> Any:
    with engine.connect() as conn:
        query = text("SELECT * FROM segwatch.observation WHERE id = :id")
        return conn.execute(query, {"id": identity}).mappings().one()


def test_queueing_twice_adds_nothing(world: Any, kit: Any) -> None:
    ids = world.queue(0, 1, 2)
    with world.engine.begin() as conn:
        assert observations.enqueue(conn, world.revision, kit.model, ids) == 0
        assert observations.enqueue(conn, world.revision, "other@1", [*ids, ids[0]]) == 3
        assert observations.enqueue(conn, world.revision, kit.model, []) == 0
        with pytest.raises(NotFound):
            observations.enqueue(conn, ids[0], kit.model, ids)


def test_the_oldest_scene_comes_first_with_everything_pending_on_it(world: Any, kit: Any) -> None:
    world.queue(2, 0, 1)
    leased = world.lease()
    assert leased.scene == kit.scene(0)
    assert leased.observations[0].watch.instruction == world.watch.instruction
    assert world.lease().scene == kit.scene(1)
    with world.engine.begin() as conn:
        assert ledger.lease(conn, worker="w", seconds=9, model_version="other@1") is None
        assert ledger.lease(conn, worker="w", seconds=9, model_version=kit.model, watch="no such") is None
        assert ledger.has_waiting(conn, model_version=kit.model, watch="lakes")
        assert not ledger.has_waiting(conn, model_version=kit.model, watch="no such")


def test_a_run_for_one_watch_leases_more_urgent_scenes_first(world: Any, kit: Any) -> None:
    world.queue(0, 1)

    def lease(watch: str) -> str | None:
        with world.engine.begin() as conn:
            leased = ledger.lease(conn, worker="w", seconds=60, model_version=kit.model, watch=watch)
        return None if leased is None else f"{leased.observations[0].watch.name} {leased.scene.solar_day:%d}"

    assert lease("lakes") == "lakes 01"
    with world.engine.begin() as conn:
        for name, priority in (("flood", world.watch.priority + 1), ("archive", world.watch.priority)):
            other = replace(world.watch, name=name, priority=priority)
            revision = watches.apply(conn, other).revision_id
            day = 5 if name == "flood" else 6
            observations.enqueue(conn, revision, kit.model, scenes.upsert(conn, [kit.scene(day)]))
    assert lease("lakes") == "flood 06", "before the rest of its own"
    assert lease("lakes") == "lakes 02", "and then goes on"
    assert lease("lakes") is None, "what is no more urgent is somebody else's"
    assert lease("flood") is None
    assert lease("archive") == "archive 07"


def test_workers_never_hold_the_same_observation(world: Any) -> None:
    world.queue(*range(30))
    taken: Counter[UUID] = Counter()
    guard = threading.Lock()

    def work(name: str) -> None:
        while (leased := world.lease(name)) is not None:
            with guard:
                taken.update(one.id for one in leased.observations)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 30
    assert set(taken.values()) == {1}


def test_an_expired_lease_is_taken_over_and_the_loser_changes_nothing(world: Any, kit: Any) -> None:
    world.queue(0)
    mine = world.lease("slow", seconds=0.05).observations[0]
    assert mine.attempts == 1
    time.sleep(0.1)
    theirs = world.lease("quick")
    assert theirs.observations[0].id == mine.id
    assert theirs.observations[0].attempts == 1, "nothing is known against the scene"
    with world.engine.begin() as conn:
        assert ledger.renew(conn, "slow", 60) == 0
        assert not ledger.skip(conn, mine.id, "slow", "late")
        assert not ledger.fail(conn, mine.id, "slow", "late", max_attempts=1)
        assert ledger.release(conn, "slow") == 0
    with pytest.raises(LeaseLost, match="slow"), world.engine.begin() as conn:
        ledger.save(conn, mine.id, "slow", kit.result(kit.area), {})
    with world.engine.begin() as conn:
        ledger.save(conn, mine.id, "quick", kit.result(kit.area), {})
    assert _row(world.engine, mine.id)["state"] == "inferred"
    with pytest.raises(LeaseLost), world.engine.begin() as conn:
        ledger.save(conn, mine.id, "quick", kit.result(kit.area), {})
    with world.engine.connect() as conn:
        assert conn.execute(text("SELECT count(*) FROM segwatch.detection")).scalar_one() == 1


def test_a_renewed_lease_is_kept(world: Any) -> None:
    world.queue(0)
    world.lease("w", seconds=0.2)
    with world.engine.begin() as conn:
        assert ledger.renew(conn, "w", 60) == 1
    time.sleep(0.25)
    assert world.lease("other") is None


def test_a_scene_that_kills_its_workers_ends_as_failed(world: Any) -> None:
    world.queue(0)
    for number in range(ledger.MAX_LOST_LEASES):
        assert world.lease(f"w{number}", seconds=0.01, max_attempts=2).observations[0].attempts == 1
        time.sleep(0.03)
    assert world.lease("another", max_attempts=2) is None
    with world.engine.connect() as conn:
        row = conn.execute(text("SELECT state, reason, attempts FROM segwatch.observation")).one()
    assert row.state == "failed"
    assert "10 lease(s) ran out, the last of w9" in row.reason


def test_failures_are_tried_again_until_the_attempts_are_used_up(world: Any) -> None:
    world.queue(0)
    for attempt in (1, 2, 3):
        one = world.lease().observations[0]
        assert one.attempts == attempt
        with world.engine.begin() as conn:
            assert ledger.fail(conn, one.id, "w", "HTTP 503", max_attempts=3)
    assert world.lease() is None
    row = _row(world.engine, one.id)
    assert (row["state"], row["reason"], row["attempts"]) == ("failed", "HTTP 503", 3)


def test_each_failure_doubles_the_wait_up_to_an_hour(world: Any, kit: Any) -> None:
    world.queue(0)
    waits = []
    for _ in range(9):
        one = world.lease().observations[0]
        with world.engine.begin() as conn:
            assert ledger.fail(conn, one.id, "w", "HTTP 503", max_attempts=10, retry_seconds=30)
            asked = "SELECT extract(epoch FROM not_before - clock_timestamp()) FROM segwatch.observation"
            waits.append(float(conn.execute(text(asked)).scalar_one()))
        assert world.lease() is None
        with world.engine.begin() as conn:
            assert not ledger.has_waiting(conn, model_version=kit.model)
            conn.execute(text("UPDATE segwatch.observation SET not_before = clock_timestamp()"))
            assert ledger.has_waiting(conn, model_version=kit.model)
    expected = [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert waits == [pytest.approx(seconds, abs=5) for seconds in expected]
    one = world.lease().observations[0]
    with world.engine.begin() as conn:
        assert ledger.fail(conn, one.id, "w", "HTTP 503", max_attempts=10, retry_seconds=30)
    row = _row(world.engine, one.id)
    assert (row["state"], row["attempts"], row["not_before"]) == ("failed", 10, None)


def test_a_scene_that_cannot_be_loaded_fails_and_the_next_one_is_leased(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, good = world.queue(0, 1)
    right = scenes.load

    def load(conn: Any, identity: UUID, versions: Any) -> Any:
        if identity == broken:
            raise ValueError("no geometry")
        return right(conn, identity, versions)

    monkeypatch.setattr(scenes, "load", load)
    assert world.lease().scene_id == good
    with world.engine.connect() as conn:
        query = "SELECT state, attempts, reason FROM segwatch.observation ORDER BY acquired_at LIMIT 1"
        row = conn.execute(text(query)).one()
    assert tuple(row) == ("failed", 3, "ValueError: no geometry"), "without a wait the attempts end at once"


def test_releasing_a_lease_counts_no_attempt(world: Any) -> None:
    world.queue(0)
    world.lease()
    with world.engine.begin() as conn:
        assert ledger.release(conn, "w") == 1
    assert world.lease().observations[0].attempts == 1


def test_a_skipped_observation_keeps_its_reason(world: Any) -> None:
    world.queue(0)
    one = world.lease().observations[0]
    with world.engine.begin() as conn:
        assert ledger.skip(conn, one.id, "w", "cloudy: 3 % clear")
    assert _row(world.engine, one.id)["reason"] == "cloudy: 3 % clear"
    assert world.lease() is None


def test_a_crash_while_saving_leaves_the_lease_as_it_was(world: Any, kit: Any) -> None:
    world.queue(0)
    one = world.lease(seconds=0.2).observations[0]
    with pytest.raises(RuntimeError), world.engine.begin() as conn:
        ledger.save(conn, one.id, "w", kit.result(kit.area), {})
        raise RuntimeError("the process dies before the commit")
    assert _row(world.engine, one.id)["state"] == "leased"
    time.sleep(0.25)
    assert world.answer(kit.area, worker="next") == one.id
    with world.engine.connect() as conn:
        assert conn.execute(text("SELECT count(*) FROM segwatch.detection")).scalar_one() == 1


def test_items_outside_the_aoi_are_not_read(world: Any, kit: Any) -> None:
    from dataclasses import replace

    from shapely.geometry import box

    near = kit.scene(0)
    far = replace(near.items[0], id="far", href="https://stac.example/far", footprint=box(60, 10, 61, 11))
    world.queue(0, items=lambda _day: replace(near, items=(*near.items, far)))
    assert [item.id for item in world.lease().scene.items] == [near.items[0].id]


def test_an_unknown_timing_is_refused(world: Any, kit: Any) -> None:
    world.queue(0)
    one = world.lease().observations[0]
    with pytest.raises(ValueError, match="sometime"), world.engine.begin() as conn:
        ledger.save(conn, one.id, "w", kit.result(), {"sometime": kit.start})


def test_the_origin_of_a_series_on_the_antimeridian() -> None:
    from shapely.geometry import box

    split = box(179, -10, 180, 10).union(box(-180, -10, -177, 10))
    assert compute_centre(split) == (-179.0, 0.0)
    assert compute_centre(box(10, 50, 12, 52)) == (11.0, 51.0)
