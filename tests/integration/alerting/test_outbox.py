"""The outbox over real HTTP: every message arrives, once, in order, whatever fails."""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from standardwebhooks import Webhook

from segwatch.db import alerts, analyst, outbox, watches
from segwatch.db.errors import MarkRefused, NotFound
from segwatch.flows.alerting.backtest import backtest_rules
from segwatch.flows.alerting.courier import deliver_outbox
from segwatch.flows.config.settings import load_settings
from segwatch.flows.web import reviews
from segwatch.flows.web.application import create_app
from segwatch.flows.web.options import ServerOptions
from segwatch.geo.types.belief import DEFAULT_CONFIDENCE
from segwatch.geo.types.tracking import ChangeKind
from segwatch.geo.types.watch import AlertStatus, Escalation, QuietHours
from tests.conftest import Database
from tests.invariants.conftest import CHANNELS, START, Ledger, SceneContent, cells
from tests.support.receiving import deliver_again_and_again, receiving

SECRET = "whsec_" + "c2Vnd2F0Y2ggc2Vnd2F0Y2ggc2Vnd2F0Y2g="
#: Changes of each lake that a later day confirms: all but the last.
CHANGES = 5
DAYS = CHANGES + 2
#: Objects that stay as they are, so that outlines agree that scenes are not displaced.
PONDS = tuple(cells(0.9 * k, 6, 0.9 * k + 0.5, 6.5) for k in range(8))


def lakes(day: int) -> SceneContent:
    """Six lakes beside unchanged ponds; every other lake grows from day to day, the others shrink."""
    shapes = [
        cells(1.2 * k, 1, 1.2 * k + 0.9, 1.5 + 0.5 * (DAYS - 1 - day if k % 2 else day)) for k in range(6)
    ]
    return SceneContent((*shapes, *PONDS))


WORLD = [lakes(day) for day in range(DAYS)]


def confirmed_only(ledger: Ledger, **more: Any) -> None:
    """Let the watch alert on a change once, a day later, when it is confirmed."""
    ledger.rule(status=AlertStatus.CONFIRMED, confidence=DEFAULT_CONFIDENCE, **more)


@pytest.fixture
def ledger(ledgers: Any) -> Ledger:
    """A ledger whose outbox has five messages about each of six lakes, for two channels."""
    made: Ledger = ledgers()
    confirmed_only(made)
    for day in range(DAYS):
        made.arrive(WORLD, [day])
    (count,) = made.rows("SELECT count(*) AS n FROM segwatch.delivery")
    assert count["n"] == 6 * CHANGES * len(CHANNELS)
    return made


def redirect(ledger: Ledger, where: dict[str, str]) -> None:
    """Give the channels of the outbox other addresses."""
    with ledger.engine.begin() as conn:
        for old, new in where.items():
            change = text("UPDATE segwatch.delivery SET channel = :new WHERE channel = :old")
            conn.execute(change, {"old": old, "new": new})


def settings(**more: Any) -> Any:
    return load_settings(delivery_retry_seconds=0.01, **more)


def deliver_until_done(ledger: Ledger, given: Any) -> None:
    until = time.monotonic() + 60
    while ledger.rows("SELECT 1 FROM segwatch.delivery WHERE state = 'pending'"):
        deliver_outbox(ledger.engine, given)
        assert time.monotonic() < until
        time.sleep(0.01)


def in_order(ledger: Ledger, messages: list[dict[str, Any]]) -> None:
    """Each channel got the messages about each object as they were written."""
    written: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in ledger.rows(
        "SELECT channel, track_id, idempotency_key FROM segwatch.delivery ORDER BY sequence"
    ):
        written[httpx.URL(row["channel"]).path, str(row["track_id"])].append(row["idempotency_key"])
    got: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in messages:
        got[one["path"], one["data"]["track_id"]].append(one["id"])
    assert got == written


def test_killed_at_random_with_a_receiver_that_fails_every_message_arrives_once_and_in_order(
    ledger: Ledger, database: Database
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["segwatch.flows.alerting.courier", "tests.support.receiving"])
    chance = random.Random(11)  # noqa: S311
    kills = 0
    with receiving(failing=0.3) as taken:
        redirect(ledger, {old: taken.url + httpx.URL(old).path for old in CHANNELS})
        until = time.monotonic() + 600
        while ledger.rows("SELECT 1 FROM segwatch.delivery WHERE state = 'pending'"):
            assert time.monotonic() < until
            # a busy machine needs longer for the same work
            slower = 1 + kills / 20
            # leases last twelve timeouts, so that those of killed workers expire soon
            quick = {"delivery_retry_seconds": 0.02, "delivery_timeout_seconds": 0.05 * slower}
            workers = [
                context.Process(target=deliver_again_and_again, args=(database.url(), quick), daemon=True)
                for _ in range(2)
            ]
            for worker in workers:
                worker.start()
            time.sleep(chance.uniform(0.15, 0.4) * slower)
            for worker in workers:
                worker.kill()
                worker.join()
            kills += 1
    assert kills >= 2
    assert len(taken.messages) == 6 * CHANGES * len(CHANNELS)
    assert taken.requests > len(taken.messages), "some were sent again, and taken once"
    in_order(ledger, taken.messages)
    assert {row["state"] for row in ledger.rows("SELECT state FROM segwatch.delivery")} == {"delivered"}


def test_a_provisional_alert_and_its_confirmation_arrive_once_and_in_order(ledgers: Any) -> None:
    ledger: Ledger = ledgers()
    for day in range(DAYS):
        ledger.arrive(WORLD, [day])
    with receiving(failing=0.3) as taken:
        redirect(ledger, {old: taken.url + httpx.URL(old).path for old in CHANNELS})
        deliver_until_done(ledger, settings())
    in_order(ledger, taken.messages)
    types: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in taken.messages:
        types[one["path"], one["data"]["alert_id"]].append(one["type"].removeprefix("segwatch.alert"))
    sent = sorted(types.values())
    assert sent[: 6 * len(CHANNELS)] == [[""]] * 6 * len(CHANNELS), "what no later day showed"
    assert sent[6 * len(CHANNELS) :] == [["", ".confirmed"]] * 6 * CHANGES * len(CHANNELS)


def test_messages_are_signed_cloud_events_with_all_that_a_reader_needs(ledger: Ledger) -> None:
    with receiving() as taken:
        redirect(ledger, {old: taken.url + httpx.URL(old).path for old in CHANNELS})
        deliver_until_done(ledger, settings(webhook_secret=SECRET))
    in_order(ledger, taken.messages)
    body, headers, message = taken.bodies[0], taken.headers[0], taken.messages[0]
    assert Webhook(SECRET).verify(body, headers) is not None
    assert headers["content-type"] == "application/cloudevents+json"
    assert (message["specversion"], message["type"], message["source"]) == (
        "1.0",
        "segwatch.alert",
        "/watches/lakes",
    )
    assert message["id"] == headers["webhook-id"]
    data = message["data"]
    assert message["subject"] == data["track_id"]
    assert data["geometry"]["type"] in {"Polygon", "MultiPolygon"}
    assert data["geometry_simplified"] is False
    assert data["before_m2"] != data["after_m2"]
    assert data["item_hrefs"]
    assert {"instruction", "model", "score", "acquired_at", "scene_key"} <= data.keys()


def test_a_channel_that_is_down_rests_and_takes_nothing_from_the_others(ledger: Ledger) -> None:
    with receiving(answers={"/1": (503, {})}) as taken:
        redirect(ledger, {old: taken.url + httpx.URL(old).path for old in CHANNELS})
        slow = load_settings(delivery_retry_seconds=60)
        for _ in range(3):
            deliver_outbox(ledger.engine, slow)
        tried = taken.paths.count("/1")
        assert outbox.BREAKER_FAILURES <= tried < 14, "a few of thirty"
        assert taken.paths.count("/2") == 30
        (channel,) = ledger.rows("SELECT * FROM segwatch.channel")
        assert channel["name"].endswith("/1")
        assert channel["last_error"] == "HTTP 503"
        assert channel["resting_until"] is not None
        untried = ledger.rows(
            "SELECT attempts FROM segwatch.delivery WHERE state = 'pending' AND attempts = 0"
        )
        assert len(untried) == 30 - tried, "what was not sent is no attempt"
    with receiving() as taken:
        redirect(ledger, {channel["name"]: taken.url + "/1"})
        with ledger.engine.begin() as conn:
            conn.execute(text("UPDATE segwatch.delivery SET next_attempt_at = now()"))
        deliver_until_done(ledger, settings())
    in_order(ledger, taken.messages + _of_path(ledger, "/2"))


def _of_path(ledger: Ledger, path: str) -> list[dict[str, Any]]:
    rows = ledger.rows("SELECT channel, payload FROM segwatch.delivery ORDER BY delivered_at, sequence")
    return [row["payload"] | {"path": path} for row in rows if row["channel"].endswith(path)]


def test_a_refused_message_is_no_failure_of_the_channel(ledger: Ledger) -> None:
    with receiving(answers={"/1": (422, {}), "/2": (429, {"retry-after": "1800"})}) as taken:
        redirect(ledger, {old: taken.url + httpx.URL(old).path for old in CHANNELS})
        deliver_outbox(ledger.engine, load_settings(delivery_retry_seconds=60))
    assert taken.paths.count("/1") == 6, "each object's first message; the others wait for it"
    (channel,) = ledger.rows("SELECT name FROM segwatch.channel")
    assert channel["name"].endswith("/2")
    waits = ledger.rows(
        "SELECT channel, extract(epoch FROM next_attempt_at - clock_timestamp()) AS wait FROM segwatch.delivery"
        " WHERE last_error IS NOT NULL"
    )
    for row in waits:
        low, high = (20, 61) if row["channel"].endswith("/1") else (1700, 1801)
        assert low < row["wait"] < high, row


def test_what_was_refused_for_long_enough_is_given_up_and_can_be_sent_again_by_hand(ledger: Ledger) -> None:
    with receiving(answers={"/1": (400, {})}) as taken:
        redirect(ledger, {old: taken.url + httpx.URL(old).path for old in CHANNELS})
        with ledger.engine.begin() as conn:
            conn.execute(text("UPDATE segwatch.delivery SET tried_since = now() - interval '3 days'"))
        deliver_until_done(ledger, settings(delivery_hours=72))
    dead = ledger.rows("SELECT channel FROM segwatch.delivery WHERE state = 'dead'")
    assert len(dead) == 30
    (alert,) = ledger.rows("SELECT sum(deliveries_failed) AS n FROM watch.alerts")
    assert alert["n"] == 30
    with receiving() as again:
        redirect(ledger, {dead[0]["channel"]: again.url + "/1"})
        with ledger.engine.begin() as conn:
            assert outbox.replay(conn, channel="https://elsewhere.example") == 0
            assert outbox.replay(conn) == 30
            assert outbox.replay(conn) == 0
        deliver_until_done(ledger, settings(delivery_hours=72))
    assert len(again.messages) == 30
    in_order(ledger, again.messages + _of_path(ledger, "/2"))


def test_what_was_corrected_meanwhile_is_not_sent_again(ledgers: Any) -> None:
    ledger: Ledger = ledgers()
    world = {0: SceneContent(()), 1: SceneContent((cells(1, 1, 3, 3),)), 2: SceneContent(())}
    ledger.arrive(world, [0, 1])
    with ledger.engine.begin() as conn:
        conn.execute(text("UPDATE segwatch.delivery SET state = 'dead'"))
    ledger.arrive({1: SceneContent(())}, [1], version=1)
    said = ledger.rows("SELECT ordinal, payload FROM segwatch.delivery ORDER BY ordinal")
    assert [one["payload"]["type"] for one in said[:: len(CHANNELS)]] == [
        "segwatch.alert",
        "segwatch.alert.retracted",
    ]
    assert said[-1]["payload"]["id"] != said[0]["payload"]["id"]
    with receiving() as taken:
        redirect(ledger, {old: taken.url + httpx.URL(old).path for old in CHANNELS})
        deliver_until_done(ledger, settings())
    assert {one["type"] for one in taken.messages} == {"segwatch.alert.retracted"}
    with ledger.engine.begin() as conn:
        assert outbox.replay(conn) == 0


def test_a_snooze_holds_the_messages_about_the_object_until_it_ends(ledger: Ledger) -> None:
    (alert, *_) = ledger.rows("SELECT alert_id, track_id FROM watch.alerts ORDER BY created_at, alert_id")
    later = ledger.rows("SELECT clock_timestamp() + interval '1 hour' AS t")[0]["t"]
    with ledger.engine.begin() as conn:
        assert alerts.mark(conn, alert["alert_id"], alerts.Mark.SNOOZED, person="ada", until=later)
        assert not alerts.mark(conn, alert["alert_id"], alerts.Mark.SNOOZED, person="ada", until=later)
    with receiving() as taken:
        redirect(ledger, {old: taken.url + httpx.URL(old).path for old in CHANNELS})
        deliver_outbox(ledger.engine, settings())
        assert len(taken.messages) == 50
        assert str(alert["track_id"]) not in {one["data"]["track_id"] for one in taken.messages}
        with ledger.engine.begin() as conn:
            alerts.mark(conn, alert["alert_id"], alerts.Mark.REOPENED, person="ada")
        deliver_outbox(ledger.engine, settings())
    in_order(ledger, taken.messages)


def test_marks_are_kept_and_the_last_one_holds(ledger: Ledger) -> None:
    alert = ledger.rows("SELECT alert_id FROM watch.alerts LIMIT 1")[0]["alert_id"]
    with ledger.engine.begin() as conn:
        for given in (alerts.Mark.ACKNOWLEDGED, alerts.Mark.RESOLVED):
            assert alerts.mark(conn, alert, given, person="ada", note="seen")
        assert (
            len(analyst.list_alerts(conn, "lakes", unresolved=True))
            == len(analyst.list_alerts(conn, "lakes")) - 1
        )
    (row,) = ledger.rows(
        "SELECT status, status_by, status_note FROM watch.alerts WHERE alert_id = :id", id=alert
    )
    assert tuple(row.values()) == ("resolved", "ada", "seen")
    kept = ledger.rows("SELECT mark FROM segwatch.alert_mark ORDER BY ordinal")
    assert [one["mark"] for one in kept] == ["acknowledged", "resolved"]
    past = ledger.rows("SELECT clock_timestamp() AS t")[0]["t"]
    with ledger.engine.begin() as conn:
        for wrong, error in (
            ({"given": alerts.Mark.SNOOZED, "person": "ada"}, MarkRefused),
            ({"given": alerts.Mark.SNOOZED, "person": "ada", "until": past}, MarkRefused),
            ({"given": alerts.Mark.RESOLVED, "person": "ada", "until": past}, MarkRefused),
            ({"given": alerts.Mark.RESOLVED, "person": " "}, MarkRefused),
            ({"given": alerts.Mark.RESOLVED, "person": "a\0"}, MarkRefused),
            ({"given": alerts.Mark.RESOLVED, "person": "ada", "note": "half \ud800"}, MarkRefused),
            ({"given": alerts.Mark.RESOLVED, "person": "ada", "note": "x" * 3000}, MarkRefused),
        ):
            with pytest.raises(error):
                alerts.mark(conn, alert, **wrong)
        with pytest.raises(NotFound):
            alerts.mark(conn, type(alert)(int=0), alerts.Mark.RESOLVED, person="ada")


TOKEN = "a token of some length"


@pytest.fixture
def client(database: Database, engine: Engine) -> Iterator[TestClient]:
    app = create_app(
        database.url("segwatch_analyst"),
        ServerOptions(reviews=reviews.ReviewIntake(engine, SecretStr(TOKEN))),
    )
    with TestClient(app) as made:
        yield made


def test_alerts_are_marked_over_http(client: TestClient, ledger: Ledger) -> None:
    first = client.get("/api/alerts", params={"watch": "lakes"}).json()[0]
    assert first["status"] == "open"
    where = f"/api/alerts/{first['alert_id']}/marks"
    body = {"mark": "acknowledged", "person": "ada", "note": "on it"}
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert client.post(where, json=body).status_code == 401
    # in UTC it is in a year that cannot be read again
    never = {"mark": "snoozed", "person": "ada", "until": "9999-12-31T23:59:59-14:00"}
    refused = client.post(where, json=never, headers=bearer)
    assert refused.status_code == 422
    assert "more than 3660 days ahead" in refused.text
    assert client.post(where, json=body, headers=bearer).status_code == 201
    assert client.post(where, json=body, headers=bearer).status_code == 200
    assert client.post(where, json=body | {"mark": "gone"}, headers=bearer).status_code == 422
    assert client.post(where, json=body | {"mark": "snoozed"}, headers=bearer).status_code == 422
    unknown = "/api/alerts/00000000-0000-0000-0000-000000000000/marks"
    assert client.post(unknown, json=body, headers=bearer).status_code == 404
    for headers, name in ((bearer, "ada"), ({}, None)):  # who did it is for those who may mark
        rows = client.get("/api/alerts", params={"watch": "lakes"}, headers=headers).json()
        now = {one["alert_id"]: one for one in rows}[first["alert_id"]]
        assert (now["status"], now["status_by"]) == ("acknowledged", name)


def test_who_listens_in_the_database_is_told_when_the_alert_is_there(
    ledgers: Any, database: Database
) -> None:
    ledger: Ledger = ledgers()
    url = database.url("segwatch_analyst").replace("+psycopg", "")
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("LISTEN segwatch_alert")
        ledger.arrive([SceneContent(()), SceneContent((cells(1, 1, 3, 3),))], [0, 1])
        (note,) = conn.notifies(timeout=60, stop_after=1)
        told = json.loads(note.payload)
        row = conn.execute(
            "SELECT kind, rule FROM watch.alerts WHERE alert_id = %s", (told["alert_id"],)
        ).fetchone()
        assert row == (told["kind"], told["rule"]) == ("appeared", told["rule"])
        ledger.arrive({1: SceneContent(())}, [1], version=1)
        (note,) = conn.notifies(timeout=60, stop_after=1)
        assert json.loads(note.payload)["type"] == "segwatch.alert.retracted"


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:99999/s3cret", "http://[::1/s3cret", "https://xn--0.example/s3cret"]
)
def test_an_address_that_breaks_what_sends_is_its_own_problem(
    ledger: Ledger, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = CHANNELS
    with receiving() as taken:
        redirect(ledger, {bad: address, good: taken.url + "/good"})
        deliver_outbox(ledger.engine, load_settings(delivery_retry_seconds=60))
    assert taken.paths == ["/good"] * 30
    rows = ledger.rows("SELECT * FROM segwatch.delivery WHERE state = 'pending'")
    assert len(rows) == 30
    tried = [row for row in rows if row["last_error"] is not None]
    assert tried
    assert all(row["lease_until"] is None for row in rows), "it is tried again later"
    assert all(row["attempts"] == 1 for row in tried)
    assert "s3cret" not in caplog.text + str([row["last_error"] for row in tried])


def test_a_message_that_breaks_what_sends_holds_up_no_other(ledger: Ledger) -> None:
    plain, service = CHANNELS
    with receiving() as taken:
        chat = taken.url.replace("http://", "json://") + "/chat"
        redirect(ledger, {plain: taken.url + "/plain", service: "apprise:chat"})
        with ledger.engine.begin() as conn:
            lose = "UPDATE segwatch.delivery SET payload = payload #- '{data,bbox}' WHERE id = :id"
            query = (
                "SELECT id FROM segwatch.delivery WHERE channel = 'apprise:chat' ORDER BY sequence LIMIT 1"
            )
            broken = conn.execute(text(query)).scalar_one()
            conn.execute(text(lose), {"id": broken})
        deliver_outbox(ledger.engine, load_settings(delivery_retry_seconds=60, services={"chat": chat}))
    assert taken.paths.count("/plain") == 30
    assert taken.paths.count("/chat") == 25, "all but those about the same object, which wait for it"
    (row,) = ledger.rows("SELECT * FROM segwatch.delivery WHERE last_error IS NOT NULL")
    assert row["id"] == broken
    assert row["last_error"].startswith("unexpected: KeyError in render_message of channels.py")
    assert (row["state"], row["attempts"], row["lease_until"]) == ("pending", 1, None)
    assert row["next_attempt_at"] > datetime.now(UTC)
    assert ledger.rows("SELECT * FROM segwatch.channel WHERE failures > 0") == []


def test_errors_of_the_database_show_no_address(ledger: Ledger) -> None:
    values = {"channel": "https://hook.example/s3cret", "n": 1}
    wrong = text("SELECT 1 FROM segwatch.delivery WHERE channel = :channel AND :n / 0 = 1")
    with pytest.raises(DBAPIError) as caught, ledger.engine.connect() as conn:
        conn.execute(wrong, values)
    assert "division by zero" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_service_of_apprise_gets_words(ledger: Ledger) -> None:
    plain, service = CHANNELS
    with receiving() as taken:
        address = taken.url.replace("http://", "json://") + "/chat"
        redirect(ledger, {plain: "apprise:nobody", service: "apprise:chat"})
        with ledger.engine.begin() as conn:
            conn.execute(text("UPDATE segwatch.delivery SET tried_since = now() - interval '3 days'"))
        deliver_outbox(ledger.engine, load_settings(delivery_retry_seconds=60, services={"chat": address}))
    query = "SELECT channel, state, max(last_error) FROM segwatch.delivery GROUP BY channel, state ORDER BY 1"
    assert [tuple(row.values()) for row in ledger.rows(query)] == [
        ("apprise:chat", "delivered", None),
        (
            "apprise:nobody",
            "pending",
            "SEGWATCH_SERVICES has no service 'nobody'; add it, or take it out of the rule",
        ),
    ]
    assert taken.paths == ["/chat"] * 30
    title, body = taken.messages[0]["title"], taken.messages[0]["message"]
    assert title.startswith("lakes: water ")
    assert " ha -> " in body
    assert "https://stac.example" in body


def test_a_rule_may_speak_once_about_an_object(ledgers: Any) -> None:
    ledger: Ledger = ledgers()
    confirmed_only(ledger, once=True)
    for day in range(DAYS):
        ledger.arrive(WORLD, [day])
    per_object = ledger.rows("SELECT track_id, count(*) AS n FROM watch.alerts GROUP BY 1")
    assert [row["n"] for row in per_object] == [1] * 6


def test_messages_of_quiet_hours_wait_for_their_end_and_a_crowd_for_the_next_hours(ledgers: Any) -> None:
    ledger: Ledger = ledgers()
    now = datetime.now(UTC)
    quiet = QuietHours(f"{now - timedelta(hours=1):%H:%M}", f"{now + timedelta(hours=2):%H:%M}")
    confirmed_only(ledger, quiet=quiet, most_per_hour=4)
    for day in range(4):
        ledger.arrive(WORLD, [day])
    waits = ledger.rows(
        "SELECT channel, round(extract(epoch FROM next_attempt_at - clock_timestamp()) / 3600) AS hours"
        " FROM segwatch.delivery ORDER BY channel, sequence"
    )
    for channel in CHANNELS:
        hours = [int(row["hours"]) for row in waits if row["channel"] == channel]
        assert hours == [2] * 4 + [3] * 4 + [4] * 4
    with receiving() as taken:
        redirect(ledger, {old: taken.url + httpx.URL(old).path for old in CHANNELS})
        deliver_outbox(ledger.engine, settings())
    assert taken.messages == []


def test_corrections_keep_quiet_hours_too(ledgers: Any) -> None:
    """Of an alert that was told before the quiet hours, and of one that waits for their end itself."""
    ledger: Ledger = ledgers()
    now = datetime.now(UTC)
    quiet = QuietHours(f"{now - timedelta(hours=1):%H:%M}", f"{now + timedelta(hours=2):%H:%M}")
    lake, other = cells(1, 1, 3, 3), cells(4, 4, 6, 6)
    with receiving() as taken:
        ledger.rule(channels=(taken.url + "/duty",))
        ledger.arrive({1: SceneContent(()), 2: SceneContent((lake,))}, [1, 2])
        deliver_outbox(ledger.engine, settings())
        assert [one["type"] for one in taken.messages] == ["segwatch.alert"]
        ledger.rule(quiet=quiet)
        ledger.arrive({3: SceneContent((lake, other))}, [3])
        ledger.arrive({2: SceneContent(())}, [2], version=1)
        ledger.arrive({3: SceneContent(())}, [3], version=1)
        deliver_outbox(ledger.engine, settings())
        assert len(taken.messages) == 1, "nobody is woken"
        waits = ledger.rows(
            "SELECT extract(epoch FROM next_attempt_at - clock_timestamp()) / 3600 AS hours"
            " FROM segwatch.delivery WHERE state = 'pending'"
        )
        assert len(waits) == 5, "of three alerts one was told"
        assert all(1.9 < row["hours"] <= 2 for row in waits)
        with ledger.engine.begin() as conn:
            conn.execute(text("UPDATE segwatch.delivery SET next_attempt_at = now() WHERE state = 'pending'"))
        deliver_outbox(ledger.engine, settings())
    in_order(ledger, taken.messages)
    per_alert: dict[str, list[str]] = defaultdict(list)
    for one in taken.messages:
        per_alert[one["data"]["alert_id"]].append(one["type"])
    assert list(per_alert.values()) == [["segwatch.alert", "segwatch.alert.retracted"]] * 3


def test_an_alert_that_nobody_marks_is_told_to_others_once(ledgers: Any) -> None:
    ledger: Ledger = ledgers()
    with receiving() as taken:
        confirmed_only(
            ledger, channels=(taken.url + "/duty",), escalation=Escalation(30, (taken.url + "/boss",))
        )
        ledger.arrive(WORLD, [0, 1, 2])
        deliver_outbox(ledger.engine, settings())
        assert {one["path"] for one in taken.messages} == {"/duty"}
        seen, gone = (row["alert_id"] for row in ledger.rows("SELECT alert_id FROM watch.alerts LIMIT 2"))
        with ledger.engine.begin() as conn:
            alerts.mark(conn, seen, alerts.Mark.ACKNOWLEDGED, person="ada")
            later = text("UPDATE segwatch.alert SET escalate_at = escalate_at - interval '31 minutes'")
            conn.execute(later)
            retract = "UPDATE segwatch.change SET retracted_at = now() WHERE id = (SELECT change_id FROM segwatch.alert"
            conn.execute(text(f"{retract} WHERE id = :id)"), {"id": gone})
        for _ in range(2):
            deliver_outbox(ledger.engine, settings())
    told = [one for one in taken.messages if one["path"] == "/boss"]
    assert {one["type"] for one in told} == {"segwatch.alert.escalated"}
    assert len(told) == 4
    assert {str(seen), str(gone)}.isdisjoint({one["data"]["alert_id"] for one in told})
    assert len({one["data"]["alert_id"] for one in told}) == 4


def test_rules_are_tried_on_the_history_before_they_wake_somebody(ledger: Ledger, database: Database) -> None:
    with ledger.engine.connect() as conn:
        watch = watches.load_current(conn, "lakes").watch
        (rule,) = watch.rules
        tried = replace(
            watch,
            rules=(
                rule,
                replace(rule, name="growth", kinds=(ChangeKind.GREW,)),
                replace(rule, name="once", once=True),
                replace(rule, name="far", region=cells(100, 100, 101, 101)),
                replace(rule, name="first lake", region=cells(0, 0, 1, 8)),
            ),
        )
        count, results = backtest_rules(conn, tried)
        said = {one.rule.name: (len(one.alerts), one.objects, one.busiest_day) for one in results}
        _, late = backtest_rules(conn, tried, since=START + timedelta(days=3))
    assert count == len(PONDS) + 6 * DAYS, "the baseline, and every change"
    alerted = ledger.rows("SELECT count(*) AS n FROM segwatch.alert")[0]["n"]
    assert said[rule.name] == (alerted, 6, 6)
    assert said["growth"] == (15, 3, 3)
    assert said["once"] == (6, 6, 6)
    assert said["far"] == (0, 0, 0)
    assert said["first lake"] == (5, 1, 1)
    assert len(late[0].alerts) == 18


def test_services_passwords_are_in_no_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from segwatch.flows.errors import ConfigError

    monkeypatch.setenv("SEGWATCH_SERVICES", json.dumps({"Bad Name": "mailto://user:hunter2@example.org"}))
    with pytest.raises(ConfigError, match="is not a valid service name") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("SEGWATCH_SERVICES", '{"mail": 3, "chat": "slack://hunter2"}')
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)
