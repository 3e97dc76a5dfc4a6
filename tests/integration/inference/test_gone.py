"""Receivers and feeds that answer in forms that RFC 9110 allows: gone, moved, wait until, compressed."""

from __future__ import annotations

import gzip
import json
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from segwatch.db import events, outbox
from segwatch.flows.alerting.courier import deliver_outbox
from segwatch.flows.cli import app
from segwatch.flows.config.settings import load_settings
from segwatch.flows.events import fetch
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, cells
from tests.support.receiving import receiving
from tests.support.serving import Answer, serving

WORLD = [SceneContent(()), SceneContent(tuple(cells(1.2 * k, 1, 1.2 * k + 0.9, 3) for k in range(6)))]


def deliver(ledger: Ledger) -> None:
    deliver_outbox(ledger.engine, load_settings(delivery_retry_seconds=60))


def states(ledger: Ledger, channel: str) -> dict[str, int]:
    query = "SELECT state, count(*) AS n FROM segwatch.delivery WHERE channel = :channel GROUP BY 1"
    return {row["state"]: row["n"] for row in ledger.rows(query, channel=channel)}


def test_a_channel_that_is_gone_is_set_aside_until_it_is_tried_again_by_hand(ledgers: Any) -> None:
    ledger: Ledger = ledgers()
    with receiving(answers={"/gone": (410, {})}) as taken:
        gone, good = taken.url + "/gone", taken.url + "/good"
        ledger.rule(channels=(gone, good))
        ledger.arrive(WORLD, [0, 1])
        deliver(ledger)
        assert states(ledger, gone) == {"dead": 6}
        assert states(ledger, good) == {"delivered": 6}
        asked = taken.paths.count("/gone")
        assert 1 <= asked <= 6, "those on their way, and no other"
        ledger.arrive([*WORLD, SceneContent(())], [2])
        deliver(ledger)
        assert states(ledger, gone) == {"dead": 12}
        assert taken.paths.count("/gone") == asked, "what comes later is not tried"
        (row,) = ledger.rows("SELECT DISTINCT last_error FROM segwatch.delivery WHERE state = 'dead'")
        assert row["last_error"] == "HTTP 410: the receiver is gone; take the channel out of the rule"
        with ledger.engine.connect() as conn:
            (shown,) = outbox.list_failing_channels(conn)
        assert (shown["name"], shown["given_up"], shown["pending"]) == (gone, 12, 0)
        assert shown["gone_at"] is not None
        assert shown["rules"] == ["lakes, rule any"]
    with receiving() as again, ledger.engine.begin() as conn:
        conn.execute(text("UPDATE segwatch.delivery SET channel = :to WHERE channel = :old"),
                     {"to": again.url + "/gone", "old": gone})  # fmt: skip
        conn.execute(text("UPDATE segwatch.channel SET name = :to WHERE name = :old"),
                     {"to": again.url + "/gone", "old": gone})  # fmt: skip
        assert outbox.replay(conn, channel=again.url + "/gone") == 12
        assert outbox.list_failing_channels(conn) == []


def test_the_command_line_lists_what_is_gone_without_its_key(database: Database, ledgers: Any) -> None:
    ledger: Ledger = ledgers()
    with receiving(answers={"/k3y": (410, {})}) as taken:
        ledger.rule(channels=(taken.url + "/k3y",))
        ledger.arrive(WORLD, [0, 1])
        deliver(ledger)
    runner = CliRunner(env={"SEGWATCH_DATABASE_URL": database.url()})
    done = runner.invoke(app, ["alert", "channels", "--json"])
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)
    assert (row["given_up"], row["rules"]) == (6, ["lakes, rule any"])
    assert row["gone_at"]
    assert "k3y" not in done.stdout


def _in(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize("status", [413, 429, 503, 307, 308])
@pytest.mark.parametrize(
    "after",
    [
        lambda: "1800",
        lambda: _in(1800),
        lambda: (datetime.now(UTC) + timedelta(seconds=1800)).strftime("%A, %d-%b-%y %H:%M:%S GMT"),
        lambda: (datetime.now(UTC) + timedelta(seconds=1800)).strftime("%a %b %e %H:%M:%S %Y"),
    ],
    ids=["seconds", "date", "rfc850", "asctime"],
)
def test_who_asks_for_a_while_gets_it_in_every_form(ledgers: Any, status: int, after: Any) -> None:
    ledger: Ledger = ledgers()
    with receiving(answers={"/1": (status, {"retry-after": after()})}) as taken:
        ledger.rule(channels=(taken.url + "/1",))
        ledger.arrive([SceneContent(()), SceneContent((cells(1, 1, 3, 3),))], [0, 1])
        deliver(ledger)
    (row,) = ledger.rows(
        "SELECT extract(epoch FROM next_attempt_at - clock_timestamp()) AS wait FROM segwatch.delivery"
    )
    assert 1700 < row["wait"] < 1802


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_success_is_one(ledgers: Any, status: int) -> None:
    ledger: Ledger = ledgers()
    with receiving(answers={"/1": (status, {})}) as taken:
        ledger.rule(channels=(taken.url + "/1",))
        ledger.arrive([SceneContent(()), SceneContent((cells(1, 1, 3, 3),))], [0, 1])
        deliver(ledger)
        assert states(ledger, taken.url + "/1") == {"delivered": 1}


FEED = (
    "<rss xmlns:g='http://www.georss.org/georss'><channel><item><guid>1</guid><title>Flood at Plön</title>"
    "<pubDate>Fri, 27 Nov 2026 10:00:00 GMT</pubDate><g:point>1 2</g:point></item></channel></rss>"
)


def poll(engine: Engine, *urls: str) -> list[fetch.PolledFeed]:
    return fetch.poll(engine, load_settings(feeds=urls, feed_timeout_seconds=10))


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, {}, FEED.encode()),
        (203, {}, FEED.encode()),
        (200, {"content-encoding": "Identity"}, FEED.encode()),
        (200, {"content-encoding": "gzip"}, gzip.compress(FEED.encode())),
        (200, {"content-encoding": "X-GZIP"}, gzip.compress(FEED.encode())),
        (200, {"content-encoding": "deflate"}, zlib.compress(FEED.encode())),
        (200, {"content-type": "text/xml; charset=ISO-8859-1"}, FEED.encode("iso-8859-1")),
        (200, {"Content-Type": 'application/rss+xml;charset="windows-1252"'}, FEED.encode("cp1252")),
        (200, {"content-type": "text/xml; charset=us-ascii"}, FEED.encode()),
    ],
)
def test_a_feed_in_every_legal_form(
    engine: Engine, status: int, headers: dict[str, str], body: bytes
) -> None:
    with serving({"/feed": (status, headers, body)}) as base:
        (one,) = poll(engine, f"{base}/feed")
    assert one.recorded == {"new": 1}, one.reason
    with engine.connect() as conn:
        assert [event.title for event in events.load_events(conn)] == ["Flood at Plön"]


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ((410, {}, b""), "it is gone; take it out of SEGWATCH_FEEDS"),
        ((308, {"location": "https://new.example/feed"}, b""), "moved for good to new.example/feed"),
        ((307, {"location": "https://new.example/feed"}, b""), "moved to new.example/feed"),
        ((304, {}, b""), "HTTP 304"),
        ((204, {}, b""), "sent no document"),
        ((206, {}, FEED.encode()[:50]), "only a part"),
        ((429, {"retry-after": "90"}, b""), "asks to wait 90 s"),
        ((200, {"content-encoding": "br"}, b"x"), "compression is not supported"),
        ((200, {"content-encoding": "gzip"}, gzip.compress(FEED.encode())[:40]), "not compressed"),
        ((200, {"content-encoding": "gzip"}, gzip.compress(b" " * (fetch.MAX_BYTES + 1))), "larger than 16 MiB"),
    ],
)  # fmt: skip
def test_a_feed_that_cannot_be_read_says_what_to_do(engine: Engine, answer: Answer, word: str) -> None:
    with serving({"/feed": answer}) as base:
        (one,) = poll(engine, f"{base}/feed")
    assert one.reason is not None
    assert word in one.reason


def test_the_same_id_in_two_feeds_is_two_events(engine: Engine) -> None:
    answer: Answer = (200, {}, FEED.encode())
    with serving({"/feed": answer}) as one, serving({"/feed": answer}) as other:
        urls = (f"{one}/feed?country=a&key=1", f"{one}/feed?country=b&key=1", f"{other}/feed")
        assert [done.recorded for done in poll(engine, *urls)] == [{"new": 1}] * 3
        # a key is who asks, and not what for
        again = (f"{one}/feed?key=2&country=a", f"{one}/feed?api_key=2&country=b")
        assert [done.recorded for done in poll(engine, *again)] == [{"unchanged": 1}] * 2
    with engine.connect() as conn:
        assert not [one for one in events.load_events(conn) if "key" in one.source]


def test_the_name_of_a_source_is_the_same_whatever_the_usual_port() -> None:
    assert (
        fetch.name_source("https://a.example:443/x")
        == fetch.name_source("https://a.example/x")
        == "a.example/x"
    )
    assert fetch.name_source("https://a.example:8443/x") == "a.example:8443/x"
    assert httpx.URL("https://a.example/x").host in fetch.name_source("https://a.example/x?q=1")
