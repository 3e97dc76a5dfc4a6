"""Invariant 8: a late scene rewrites no recorded row; changes that no longer hold are retracted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

BELIEF = ("confidence", "status", "observations_for", "observations_against")
AS_OF = "SELECT track_id, observation_id, change FROM watch.objects_as_of(:valid, :known) ORDER BY track_id"


def test_a_late_scene_dates_an_object_back_and_keeps_what_was_known(ledgers: Any, kit: Any) -> None:
    lake = kit.cells(1, 1, 4, 4)
    world = [kit.look(()), kit.look((lake,)), kit.look((lake,))]
    ledger = ledgers()
    ledger.arrive(world, [0])
    ledger.arrive(world, [2])
    recorded = ledger.rows("SELECT * FROM segwatch.track_state ORDER BY id")
    known_then = datetime.now(UTC)
    late = ledger.arrive(world, [1])
    assert (late.observations, late.alerts, late.changes) == (1, 1, {"appeared": 1})

    (then,) = ledger.rows(AS_OF, valid=kit.day(2), known=known_then)
    assert ledger.rows(AS_OF, valid=kit.day(1), known=known_then) == []
    now = datetime.now(UTC)
    (since_the_late_one,) = ledger.rows(AS_OF, valid=kit.day(1), known=now)
    (today,) = ledger.rows(AS_OF, valid=kit.day(2), known=now)
    # an object is named by the scene that showed it first, and that is another one now
    assert since_the_late_one["track_id"] == today["track_id"] != then["track_id"]
    kept = {row["id"]: row for row in ledger.rows("SELECT * FROM segwatch.track_state")}
    for row in recorded:
        assert {**kept[row["id"]], "recorded": None} == {**row, "recorded": None}, (
            "only the known range closes"
        )

    changes = ledger.rows("SELECT kind, valid_at, retracted_at FROM watch.changes ORDER BY recorded_at")
    assert [(row["kind"], row["valid_at"], row["retracted_at"] is None) for row in changes] == [
        ("appeared", kit.day(2), False),
        ("appeared", kit.day(1), True),
    ]


def test_an_alert_that_no_longer_holds_is_corrected_once_per_channel(ledgers: Any, kit: Any) -> None:
    lake = kit.cells(1, 1, 4, 4)
    world = [kit.look(()), kit.look((lake,)), kit.look((lake,))]
    ledger = ledgers()
    ledger.arrive(world, [0])
    ledger.arrive(world, [2])
    (first,) = ledger.rows("SELECT alert_id, change_id FROM watch.alerts")
    ledger.arrive(world, [1])
    messages = ledger.rows(
        "SELECT alert_id, channel, ordinal, payload, idempotency_key FROM segwatch.delivery"
        " ORDER BY created_at, channel"
    )
    about_first = [row for row in messages if row["alert_id"] == first["alert_id"]]
    assert sorted((row["channel"], row["ordinal"], row["payload"]["type"]) for row in about_first) == [
        (channel, ordinal, kind)
        for channel in kit.channels
        for ordinal, kind in ((0, "segwatch.alert"), (1, "segwatch.alert.retracted"))
    ]
    assert {row["payload"]["data"]["change_id"] for row in about_first} == {str(first["change_id"])}
    assert len({row["idempotency_key"] for row in messages}) == len(messages) == 6
    alerts = ledger.rows("SELECT alert_id, retracted_at FROM watch.alerts ORDER BY created_at")
    assert [row["retracted_at"] is None for row in alerts] == [False, True]
    why = ledger.rows(
        "SELECT acquired_at, answer FROM watch.why_not(10.004, 50.004, :at, 'lakes')", at=kit.day(9)
    )
    assert [row["answer"] for row in why] == ["below threshold", "alerted", "nothing found"]


def test_a_change_that_holds_again_is_reinstated(ledgers: Any, kit: Any) -> None:
    """Of two late scenes the first retracts a disappearance and the second shows it again."""
    lake = kit.cells(1, 1, 4, 4)
    half = kit.cells(0, 0, 2, 8)
    world = [kit.look((lake,)), kit.look(()), kit.look((), half), kit.look(())]
    ledger = ledgers(gone_after=2)
    ledger.arrive(world, [0])
    ledger.arrive(world, [1])
    ledger.arrive(world, [3])
    assert [row["kind"] for row in ledger.rows("SELECT kind FROM watch.changes WHERE NOT baseline")] == [
        "disappeared"
    ]
    assert ledger.known()["objects"] == []
    known = ledger.known()
    ledger.arrive(
        world, [2]
    )  # covers too little to count as a miss, but tells something about how sure the rest is
    assert ledger.known()["changes"] == known["changes"]
    assert without_belief(ledger.known()["history"]) == without_belief(known["history"])
    assert ledger.rows("SELECT * FROM segwatch.change WHERE retracted_at IS NOT NULL") == []


def without_belief(states: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave the confidence of states out."""
    return [{name: value for name, value in row.items() if name not in BELIEF} for row in states]


@pytest.mark.parametrize("gone_after", [1, 2, 3])
def test_a_late_scene_between_first_miss_and_disappearance_is_folded_in_order(
    ledgers: Any, kit: Any, gone_after: int
) -> None:
    lake, pond = kit.cells(1, 1, 4, 4), kit.cells(5, 5, 7, 7)
    world = [
        kit.look((lake,)), kit.look(()), kit.look((pond,)), kit.look((lake,)), kit.look((pond,)), kit.look(()),
        kit.look(()),
    ]  # fmt: skip
    straight = ledgers(gone_after=gone_after)
    for number in range(7):
        straight.arrive(world, [number])
    expected = straight.known()
    for order in ([0, 1, 2, 4, 5, 6, 3], [0, 3, 4, 5, 6, 1, 2], [6, 5, 4, 3, 2, 1, 0], [1, 4, 6, 0, 2, 3, 5]):
        mixed = ledgers(gone_after=gone_after)
        for number in order:
            mixed.arrive(world, [number])
        found = mixed.known()
        for part, rows in expected.items():
            assert found[part] == rows, (order, part)


def test_a_late_scene_undoes_a_split(ledgers: Any, kit: Any) -> None:
    whole, west, east = kit.cells(1, 1, 6, 4), kit.cells(1, 1, 3, 4), kit.cells(4, 1, 6, 4)
    world = [kit.look((whole,)), kit.look((west, east)), kit.look((west, east))]
    ledger = ledgers()
    ledger.arrive(world, [0])
    ledger.arrive(world, [2])
    assert [row["kind"] for row in ledger.known()["lineage"]] == ["split"]
    ledger.arrive(world, [1])
    (line,) = ledger.known()["lineage"]
    assert line["valid_at"] == kit.day(1)
    retracted = ledger.rows("SELECT child FROM segwatch.track_lineage WHERE retracted_at IS NOT NULL")
    assert [row["child"] == line["child"] for row in retracted] == [False]


def test_the_first_scene_may_come_last(ledgers: Any, kit: Any) -> None:
    lake = kit.cells(1, 1, 4, 4)
    world = [kit.look((lake,)), kit.look((lake,))]
    ledger = ledgers()
    ledger.arrive(world, [1])
    assert [row["baseline"] for row in ledger.rows("SELECT baseline FROM watch.changes")] == [True]
    ledger.arrive(world, [0])
    (held,) = ledger.known()["changes"]
    assert (held["baseline"], held["valid_at"]) == (True, kit.day(0))
    assert ledger.rows("SELECT * FROM segwatch.alert") == [], "a baseline does not alert"


def test_a_reprocessed_scene_replaces_the_old_result(ledgers: Any, kit: Any) -> None:
    lake, larger, speck = kit.cells(2, 2, 4, 4), kit.cells(2, 2, 4.05, 4), kit.cells(6, 6, 6.4, 6.4)
    ledger = ledgers()
    ledger.arrive([kit.look(()), kit.look((lake,)), kit.look((lake,))], [0, 1, 2])
    (then,) = ledger.rows("SELECT track_id, item_hrefs FROM watch.objects_now")
    known_then = datetime.now(UTC)
    queued = ledger.find([1], version=1)
    assert len(queued) == 1

    # what is seen anew holds nobody up, and the old answer is in force meanwhile
    ledger.arrive([kit.look((lake,))] * 4, [3])
    assert [row["state"] for row in ledger.rows("SELECT state FROM watch.coverage ORDER BY acquired_at, version")] == [
        "observed", "observed", "pending", "observed", "observed"
    ]  # fmt: skip
    assert [row["track_id"] for row in ledger.rows("SELECT track_id FROM watch.objects_now")] == [
        then["track_id"]
    ]

    ledger.answer_leased({1: kit.look((speck, larger))})
    ledger.track()
    states = ledger.rows(
        "SELECT version, state, superseded_at IS NULL AS held FROM watch.coverage ORDER BY acquired_at, version"
    )
    assert [(row["version"], row["held"]) for row in states if row["state"] == "observed"] == [
        (1, True), (1, False), (2, True), (1, True), (1, True)
    ]  # fmt: skip
    # the object keeps its name although another one is first in the new answer
    (larger_then,) = ledger.rows(
        "SELECT track_id, item_hrefs FROM watch.objects_as_of(:valid) WHERE area_m2 > 100000",
        valid=kit.day(1),
    )
    assert larger_then["track_id"] == then["track_id"]
    (before,) = ledger.rows(AS_OF, valid=kit.day(1), known=known_then)
    assert before["track_id"] == then["track_id"]
    # each answer names the version of the item that it was read from
    hrefs = {
        row["version"]: row["item_hrefs"]
        for row in ledger.rows(
            "SELECT version, item_hrefs FROM watch.coverage WHERE acquired_at = :at", at=kit.day(1)
        )
    }
    assert hrefs[1] != hrefs[2] == larger_then["item_hrefs"]


def test_a_failed_second_observation_leaves_the_first_in_force(ledgers: Any, kit: Any) -> None:
    lake = kit.cells(1, 1, 4, 4)
    ledger = ledgers()
    ledger.arrive([kit.look((lake,)), kit.look((lake,))], [0, 1])
    before = ledger.known()
    ledger.give_up(1, skipped=False, version=1)
    assert ledger.track().observations == 0
    assert ledger.known() == before
    ledger.arrive([kit.look(())] * 3, [2])
    assert ledger.known()["objects"] == []


def test_a_result_that_arrives_after_a_newer_one_is_dropped(ledgers: Any, kit: Any) -> None:
    lake = kit.cells(1, 1, 4, 4)
    ledger = ledgers()
    ledger.arrive([kit.look((lake,))], [0])
    ledger.find([1])
    slow = ledger.lease("slow")
    ledger.answer([kit.look(()), kit.look((lake,))], [1], version=1)
    ledger.track()
    before = ledger.known()
    ledger.save(slow, "slow", kit.look(()))
    ledger.track()
    assert ledger.known() == before
    (stale,) = ledger.rows(
        "SELECT state, reason FROM watch.coverage WHERE version = 1 AND acquired_at = :at", at=kit.day(1)
    )
    assert (stale["state"], stale["reason"]) == (
        "skipped",
        "superseded: a newer version of its items was observed",
    )
    unused = ledger.everything()
    ledger.track()
    assert ledger.everything() == unused


def test_pending_observations_of_superseded_items_are_skipped(ledgers: Any, kit: Any) -> None:
    ledger = ledgers()
    ledger.find([0])
    ledger.find([0], version=1)
    rows = ledger.rows("SELECT version, state, reason FROM watch.coverage ORDER BY version")
    assert [(row["version"], row["state"]) for row in rows] == [(1, "skipped"), (2, "pending")]
    assert rows[0]["reason"].startswith("superseded")
