"""Digests: the alerts of a rule come together, each once, and what was taken back before does not come at all."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import shapely
from sqlalchemy import text
from standardwebhooks import Webhook

from segwatch.db import alerts, digests, messages, outbox, watches
from segwatch.flows.alerting.backtest import backtest_rules
from segwatch.flows.alerting.channels import render_message
from segwatch.flows.alerting.courier import deliver_outbox
from segwatch.flows.config.settings import load_settings
from segwatch.geo.types.watch import Digest, Escalation
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, cells
from tests.support.receiving import Taken, deliver_again_and_again, receiving

SECRET = "whsec_" + "c2Vnd2F0Y2ggc2Vnd2F0Y2ggc2Vnd2F0Y2g="
LAKES = [cells(1.2 * k, 1, 1.2 * k + 0.9, 3) for k in range(6)]
LARGER = [cells(1.2 * k, 1, 1.2 * k + 0.9, 5) for k in range(6)]
WORLD = [SceneContent(()), SceneContent(tuple(LAKES[:4])), SceneContent((*LARGER[:2], *LAKES[2:6]))]


@pytest.fixture
def taken() -> Iterator[Taken]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def ledger(ledgers: Any, taken: Taken) -> Ledger:
    made: Ledger = ledgers()
    made.rule(digest=Digest(), channels=(taken.url + "/1", taken.url + "/2"))
    made.arrive(WORLD, [0])
    return made


def deliver(ledger: Ledger) -> None:
    deliver_outbox(ledger.engine, load_settings(delivery_retry_seconds=0.01, webhook_secret=SECRET))


def an_hour_passes(ledger: Ledger) -> None:
    with ledger.engine.begin() as conn:
        back = (
            "digest_at = digest_at - interval '1 hour', next_attempt_at = next_attempt_at - interval '1 hour'"
        )
        conn.execute(text(f"UPDATE segwatch.delivery SET {back} WHERE digest_at IS NOT NULL"))


def of(taken: Taken, path: str) -> list[dict[str, Any]]:
    return [one for one in taken.messages if one["path"] == path]


def test_alerts_come_as_one_message_when_its_time_has_come(ledger: Ledger, taken: Taken) -> None:
    ledger.arrive(WORLD, [1])
    ledger.arrive(WORLD, [2])
    waiting = ledger.rows("SELECT DISTINCT digest_at FROM segwatch.delivery")
    now = datetime.now(UTC)
    assert all(now < row["digest_at"] <= now + timedelta(hours=1) for row in waiting)
    deliver(ledger)
    assert taken.messages == []
    an_hour_passes(ledger)
    deliver(ledger)
    deliver(ledger)
    assert len(taken.messages) == 2, "one a channel"
    assert Webhook(SECRET).verify(taken.bodies[0], taken.headers[0]) is not None
    (message,) = of(taken, "/1")
    data = message["data"]
    assert (message["type"], message["subject"]) == ("segwatch.alert.digest", "any")
    assert message["source"] == "/watches/lakes"
    assert (data["count"], data["not_listed"]) == (8, 0)
    assert data["totals"] == [
        {"target": "water", "kind": "appeared", "count": 6},
        {"target": "water", "kind": "grew", "count": 2},
    ]
    assert data["bbox"] == pytest.approx(shapely.union_all([*LAKES, *LARGER[:2]]).bounds)
    held = ledger.rows("SELECT alert_id, delivered_at, deliveries_pending FROM watch.alerts")
    assert {one["alert_id"] for one in data["alerts"]} == {str(row["alert_id"]) for row in held}
    assert all(row["delivered_at"] and not row["deliveries_pending"] for row in held)


def test_each_alert_is_in_one_digest_whoever_makes_it_and_however_often(ledger: Ledger, taken: Taken) -> None:
    def gather(_: int) -> int:
        with ledger.engine.begin() as conn:
            return digests.write_due(conn)

    for day in (1, 2):
        ledger.arrive(WORLD, [day])
        an_hour_passes(ledger)
        with ledger.engine.connect() as conn:
            assert digests.write_due(conn) == 2  # and dies before it commits
            keys = set(
                conn.execute(text("SELECT id FROM segwatch.delivery WHERE alert_id IS NULL")).scalars()
            )
        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(gather, range(8))) == 2
        again = ledger.rows("SELECT id FROM segwatch.delivery WHERE alert_id IS NULL")
        assert keys <= {row["id"] for row in again}, "the same keys"
    deliver(ledger)
    for path in ("/1", "/2"):
        first, second = of(taken, path)
        told = [one["alert_id"] for message in (first, second) for one in message["data"]["alerts"]]
        assert (first["data"]["count"], second["data"]["count"]) == (4, 4)
        assert len(told) == len(set(told)) == 8


def test_what_is_taken_back_before_is_left_out_and_put_back_if_it_holds_again(
    ledger: Ledger, taken: Taken
) -> None:
    ledger.arrive(WORLD, [1])
    ledger.arrive({1: SceneContent(tuple(LAKES[:3]))}, [1], version=1)
    states = ledger.rows("SELECT state, count(*) AS n FROM segwatch.delivery GROUP BY 1 ORDER BY 1")
    assert {row["state"] for row in states} == {"pending", "withdrawn"}
    an_hour_passes(ledger)
    deliver(ledger)
    (message,) = of(taken, "/1")
    assert message["data"]["count"] == 3
    assert {one["type"] for one in taken.messages} == {"segwatch.alert.digest"}, "nothing to correct"


def test_what_is_taken_back_afterwards_is_corrected_after_its_digest(ledger: Ledger, taken: Taken) -> None:
    ledger.arrive(WORLD, [1])
    an_hour_passes(ledger)
    with ledger.engine.begin() as conn:
        assert digests.write_due(conn) == 2
    ledger.arrive({1: SceneContent(())}, [1], version=1)
    deliver(ledger)
    types = [one["type"] for one in of(taken, "/1")]
    assert types == ["segwatch.alert.digest"] + ["segwatch.alert.retracted"] * 4


def test_a_late_scene_takes_back_and_another_puts_back(ledger: Ledger, taken: Taken) -> None:
    """A late scene in between shows the lake before: it then did not appear on the second day; taken back, it did."""
    with_lake = SceneContent((LAKES[0],))
    world = {2: with_lake, 1: with_lake}
    ledger.arrive(world, [2])
    (first,) = ledger.rows("SELECT DISTINCT alert_id FROM segwatch.delivery")
    ledger.arrive(world, [1])
    states = "SELECT DISTINCT state FROM segwatch.delivery WHERE alert_id = :id"
    assert ledger.rows(states, id=first["alert_id"]) == [{"state": "withdrawn"}]
    ledger.arrive({1: SceneContent(())}, [1], version=1)
    rows = ledger.rows(
        "SELECT state, digest_at FROM segwatch.delivery WHERE alert_id = :id", id=first["alert_id"]
    )
    assert [row["state"] for row in rows] == ["pending"] * 2
    assert all(row["digest_at"] > datetime.now(UTC) for row in rows)
    an_hour_passes(ledger)
    deliver(ledger)
    (message,) = of(taken, "/1")
    assert [one["alert_id"] for one in message["data"]["alerts"]] == [str(first["alert_id"])]


def test_a_snoozed_object_comes_afterwards(ledger: Ledger, taken: Taken) -> None:
    ledger.arrive(WORLD, [1])
    an_hour_passes(ledger)
    alert = ledger.rows("SELECT alert_id FROM watch.alerts LIMIT 1")[0]["alert_id"]
    later = datetime.now(UTC) + timedelta(hours=5)
    with ledger.engine.begin() as conn:
        alerts.mark(conn, alert, alerts.Mark.SNOOZED, person="ada", until=later)
    deliver(ledger)
    assert [one["data"]["count"] for one in of(taken, "/1")] == [3]
    with ledger.engine.begin() as conn:
        alerts.mark(conn, alert, alerts.Mark.REOPENED, person="ada")
    deliver(ledger)
    assert [one["data"]["count"] for one in of(taken, "/1")] == [3, 1]


def test_the_wait_for_an_escalation_begins_with_the_digest(ledger: Ledger, taken: Taken) -> None:
    ledger.rule(escalation=Escalation(30, (taken.url + "/boss",)))
    ledger.arrive(WORLD, [1])
    rows = ledger.rows(
        "SELECT DISTINCT a.escalate_at - d.digest_at AS wait FROM segwatch.alert a"
        " JOIN segwatch.delivery d ON d.alert_id = a.id"
    )
    assert [row["wait"] for row in rows] == [timedelta(minutes=30)]
    an_hour_passes(ledger)
    deliver(ledger)
    assert of(taken, "/boss") == []
    with ledger.engine.begin() as conn:
        conn.execute(text("UPDATE segwatch.alert SET escalate_at = escalate_at - interval '2 hours'"))
    deliver(ledger)
    assert {one["type"] for one in of(taken, "/boss")} == {"segwatch.alert.escalated"}
    assert len(of(taken, "/boss")) == 4, "one each"


def test_another_rules_messages_do_not_wait_for_a_digest(ledger: Ledger, taken: Taken) -> None:
    ledger.arrive(WORLD, [1])
    with ledger.engine.begin() as conn:
        watch = watches.load_current(conn, "lakes").watch
        loud = replace(watch.rules[0], name="loud", digest=None)
        ledger.revision = watches.apply(conn, replace(watch, rules=(*watch.rules, loud))).revision_id
    ledger.arrive(WORLD, [2])
    deliver(ledger)
    assert [one["data"]["rule"] for one in of(taken, "/1")] == ["loud"] * 4


def test_a_digest_that_was_given_up_is_sent_again_by_hand(ledger: Ledger, taken: Taken) -> None:
    ledger.arrive(WORLD, [1])
    an_hour_passes(ledger)
    alert = ledger.rows("SELECT alert_id FROM watch.alerts LIMIT 1")[0]["alert_id"]
    with ledger.engine.begin() as conn:
        digests.write_due(conn)
        due = outbox.lease(conn, worker="w", seconds=1, limit=9)
        for one in due:
            outbox.record_failure(
                conn, one.id, "no", retry_in_seconds=0, give_up_seconds=0, rest_seconds=None
            )
    (row,) = ledger.rows(
        "SELECT sum(deliveries_failed) AS failed, sum(deliveries_pending) AS n FROM watch.alerts"
    )
    assert (row["failed"], row["n"]) == (8, 0)
    with ledger.engine.begin() as conn:
        assert outbox.replay(conn, alert_id=alert) == 2
    deliver(ledger)
    assert {row["state"] for row in ledger.rows("SELECT state FROM segwatch.delivery")} == {"delivered"}
    assert {one["id"] for one in taken.messages} == {one.idempotency_key for one in due}


def test_a_large_digest_lists_as_many_as_fit_and_counts_the_rest() -> None:
    told = [messages.DigestEntry("water", "grew", (10.0, 45.0, 10.1, 45.1))] * 5000
    listed = [
        {"alert_id": str(n), "kind": "grew", "outline": "x" * 9_000} for n in range(messages.MAX_LISTED)
    ]
    made = messages.build_digest(UUID(int=1), "lakes", "any", told, listed, datetime.now(UTC))
    data = made["data"]
    assert len(data["alerts"]) + data["not_listed"] == data["count"] == 5000
    assert 15 < len(data["alerts"]) < 25


def test_a_digest_in_words(ledger: Ledger, taken: Taken) -> None:
    ledger.arrive(WORLD, [1])
    an_hour_passes(ledger)
    with ledger.engine.begin() as conn:
        digests.write_due(conn)
    payload = ledger.rows("SELECT payload FROM segwatch.delivery WHERE alert_id IS NULL")[0]["payload"]
    title, body = render_message(payload)
    assert title == "lakes: 4 alert(s) of rule any"
    assert body.splitlines()[0] == "4 x water appeared"
    assert len(body.splitlines()) == 5


def test_a_trial_of_a_rule_counts_its_digests(ledger: Ledger) -> None:
    ledger.arrive(WORLD, [1])
    ledger.arrive(WORLD, [2])
    with ledger.engine.connect() as conn:
        watch = watches.load_current(conn, "lakes").watch
        _, (hourly,) = backtest_rules(conn, watch)
        single = replace(watch, rules=(replace(watch.rules[0], digest=None),))
        _, (each,) = backtest_rules(conn, single)
    assert (len(hourly.alerts), hourly.digests) == (8, 2)
    assert each.digests is None


def test_killed_at_random_every_alert_comes_in_one_digest(ledgers: Any, database: Database) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["segwatch.flows.alerting.courier", "tests.support.receiving"])
    chance = random.Random(5)  # noqa: S311
    ledger: Ledger = ledgers()
    with receiving(failing=0.3) as taken:
        ledger.rule(digest=Digest(), channels=(taken.url + "/1", taken.url + "/2"))
        ledger.arrive(WORLD, [0])
        quick = {"delivery_retry_seconds": 0.02, "delivery_timeout_seconds": 0.05}
        until = time.monotonic() + 300
        day = kills = 0
        while day < 5 or ledger.rows("SELECT 1 FROM segwatch.delivery WHERE state = 'pending'"):
            assert time.monotonic() < until
            worker = context.Process(
                target=deliver_again_and_again, args=(database.url(), quick), daemon=True
            )
            worker.start()
            if day < 5:
                day += 1
                ledger.arrive({day: WORLD[1 + day % 2]}, [day])
                an_hour_passes(ledger)
            # a machine that has more to do needs longer lives for the same work
            time.sleep(chance.uniform(0.15, 0.4) * (1 + kills / 5))
            worker.kill()
            worker.join()
            kills += 1
    raised = {str(row["id"]) for row in ledger.rows("SELECT id FROM segwatch.alert")}
    left_out = ledger.rows("SELECT alert_id, channel FROM segwatch.delivery WHERE state = 'withdrawn'")
    for path in ("/1", "/2"):
        sent = [one for one in of(taken, path) if one["type"] == "segwatch.alert.digest"]
        told = [one["alert_id"] for message in sent for one in message["data"]["alerts"]]
        refuted_before = {str(row["alert_id"]) for row in left_out if row["channel"].endswith(path)}
        assert len(told) == len(set(told)) > 8
        assert {*told, *refuted_before} == raised
        assert set(told).isdisjoint(refuted_before)
    types = {one["type"].removeprefix("segwatch.alert.") for one in taken.messages}
    assert types <= {"digest", "confirmed", "refuted"}
