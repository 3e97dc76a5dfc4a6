"""A new model or instruction takes over the objects, reports what it changed by itself, and alerts nobody."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from segwatch.db import reviews
from segwatch.flows.cli import app
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, cells, day
from tests.invariants.conftest import ledgers as ledgers  # noqa: PLC0414 - a fixture of these tests, too

LAKE, POND, POOL = cells(1, 1, 4, 4), cells(5, 5, 7, 7), cells(5, 1, 6.5, 2.5)
LARGER = cells(1, 1, 5, 4)
UPGRADES = "SELECT kind, objects FROM watch.upgrades ORDER BY kind"


def objects(ledger: Ledger) -> dict[Any, Any]:
    return {
        row["object_id"]: row["track_id"]
        for row in ledger.rows("SELECT object_id, track_id FROM watch.objects_now")
    }


def upgraded(
    ledgers: Any, before: list[SceneContent], after: dict[int, SceneContent], **numbers: Any
) -> Ledger:
    """Observe scenes with the old model, then the last one again and further ones with the new model."""
    ledger: Ledger = ledgers(**numbers)
    for number in range(len(before)):
        ledger.arrive(before, [number])
    ledger.model = "tiny@second"
    for number, look in after.items():
        ledger.arrive({number: look}, [number])
    return ledger


@pytest.mark.parametrize("what", ["model", "instruction"])
def test_an_upgrade_keeps_object_ids_and_alerts_nobody(ledgers: Any, what: str) -> None:
    world = [SceneContent(()), SceneContent((LAKE, POND, POOL))]
    ledger: Ledger = ledgers(gone_after=2)
    for number in range(2):
        ledger.arrive(world, [number])
    before, told = objects(ledger), ledger.rows("SELECT * FROM segwatch.delivery ORDER BY id")
    assert len(told) == 6
    if what == "model":
        ledger.model = "tiny@second"
    else:
        ledger.instruct("segment the lakes and the ponds")
    # the new one sees more of the lake, no pool, and a puddle that the old one had not seen
    puddle = cells(0, 6, 1, 7)
    ledger.arrive({1: SceneContent((LARGER, POND, puddle))}, [1])
    assert ledger.rows("SELECT * FROM segwatch.delivery ORDER BY id") == told
    after = objects(ledger)
    assert len(set(after) & set(before)) == 2, "lake and pond are who they were"
    assert not set(after.values()) & set(before.values())
    assert [tuple(row.values()) for row in ledger.rows(UPGRADES)] == [
        ("appeared", 1), ("disappeared", 1), ("grew", 1), ("unchanged", 1),
    ]  # fmt: skip
    (first,) = ledger.rows("SELECT DISTINCT first_seen FROM watch.objects_now WHERE track_id <> object_id")
    assert first["first_seen"] == day(1)

    # what the ground does afterwards is told as ever
    ledger.arrive({2: SceneContent((LARGER, cells(5, 5, 8, 8), puddle))}, [2])
    (alert,) = ledger.rows("SELECT kind, track_id FROM watch.alerts WHERE valid_at > :at", at=day(1))
    assert (alert["kind"], alert["track_id"] in after.values()) == ("grew", True)


def test_the_report_names_model_and_differences(ledgers: Any, database: Database) -> None:
    upgraded(ledgers, [SceneContent((LAKE, POND))], {0: SceneContent((LARGER, POND))})
    done = CliRunner(env={"SEGWATCH_DATABASE_URL": database.url()}).invoke(app, ["upgrades", "lakes"])
    assert done.exit_code == 0, done.output
    rows = [line.split("\t") for line in done.stdout.splitlines()[1:]]
    assert [row[1:5] for row in rows] == [
        ["tiny@0123456789ab", "tiny@second", "grew", "1"],
        ["tiny@0123456789ab", "tiny@second", "unchanged", "1"],
    ]
    assert float(rows[0][5]) > 0


def test_older_scenes_are_not_observed_again(ledgers: Any) -> None:
    world = [SceneContent((LAKE,)), SceneContent((LAKE,)), SceneContent((LAKE,))]
    ledger = upgraded(ledgers, world[:1], {})
    ledger.model = "tiny@0123456789ab"
    ledger.arrive(world, [2])
    ledger.model = "tiny@second"
    assert len(ledger.find([0, 2])) == 1, "the last scene only"
    assert len(ledger.find([1])) == 1
    query = "SELECT state, reason FROM watch.coverage WHERE model = 'tiny@second' AND acquired_at = :at"
    (late,) = ledger.rows(query, at=day(1))
    assert late["state"] == "skipped"
    assert late["reason"].startswith("not observed: acquired before")


def test_objects_under_cloud_at_the_upgrade_are_compared_when_observed(ledgers: Any) -> None:
    """The lake is under cloud when the new model begins; its first prediction of it is no change."""
    west, east = cells(0, 0, 4.5, 8), cells(4.5, 0, 8, 8)
    ledger = upgraded(
        ledgers,
        [SceneContent((LAKE, POND))],
        {
            0: SceneContent((POND,), east),
            1: SceneContent((cells(1, 1, 4, 4.6),), west),
            2: SceneContent((cells(1, 1, 4, 6),), west),
        },
    )
    rows = ledger.rows(
        "SELECT kind, valid_at, baseline FROM watch.changes WHERE model = 'tiny@second' AND retracted_at IS NULL"
        " ORDER BY valid_at"
    )
    assert [(row["kind"], row["valid_at"], row["baseline"]) for row in rows] == [
        ("grew", day(1), True), ("grew", day(2), False),
    ]  # fmt: skip
    assert len(ledger.rows("SELECT 1 FROM watch.alerts")) == 1


def test_any_order_of_arrival_after_an_upgrade_ends_the_same(ledgers: Any) -> None:
    before = [SceneContent((LAKE, POND))]
    after = {
        0: SceneContent((LARGER, POND)),
        1: SceneContent((LARGER,)),
        2: SceneContent((LARGER, POOL)),
        3: SceneContent((LAKE, POOL)),
    }
    straight = upgraded(ledgers, before, after)
    expected = straight.known()
    for order in ((3, 2, 1, 0), (1, 0, 3, 2), (2, 0, 1, 3)):
        mixed = upgraded(ledgers, before, {number: after[number] for number in order})
        found = mixed.known()
        for part, rows in expected.items():
            assert found[part] == rows, (order, part)


def test_reviews_are_carried_over(ledgers: Any) -> None:
    ledger = upgraded(ledgers, [SceneContent((LAKE, POND))], {})
    (lake,) = ledger.rows("SELECT track_id FROM watch.objects_now ORDER BY area_m2 DESC LIMIT 1")
    with ledger.engine.begin() as conn:
        reviews.decide(conn, lake["track_id"], reviews.Verdict.REJECTED, reviewer="ada", reason="a shadow")
    ledger.arrive({0: SceneContent((LAKE, POND))}, [0])
    ledger.arrive({1: SceneContent((LARGER, POND))}, [1])
    (now,) = ledger.rows("SELECT model FROM watch.objects_now")
    assert now["model"] == "tiny@second"
    assert ledger.rows("SELECT 1 FROM watch.alerts") == []
