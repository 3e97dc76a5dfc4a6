"""Feeds over HTTP end in the ledger: new, revised and unchanged events, and reasons for what is refused."""

from __future__ import annotations

import json
import time

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import ProgrammingError

from segwatch.db import events
from segwatch.flows.config.settings import load_settings
from segwatch.flows.errors import ConfigError
from segwatch.flows.events import fetch
from tests.conftest import Database
from tests.support.behaving import Behaviour, behaving, dripping_body, dripping_headers
from tests.support.paths import DATA
from tests.support.serving import Answer, serving

FEEDS = DATA / "feeds"


def of(name: str) -> Answer:
    return 200, {}, (FEEDS / name).read_bytes()


def poll(engine: Engine, *urls: str) -> list[fetch.PolledFeed]:
    return fetch.poll(engine, load_settings(feeds=urls, feed_timeout_seconds=10))


def rows(engine: Engine) -> int:
    with engine.connect() as conn:
        return int(conn.execute(text("SELECT count(*) FROM segwatch.event")).scalar_one())


def test_recorded_feeds_end_in_the_ledger_once(engine: Engine) -> None:
    names = ("gdacs-rss.xml", "usgs_event_detail_us6000pi9w.json", "eonet_v3_events_20201130.geojson")
    with serving({f"/{name}": of(name) for name in names}) as base:
        first = poll(engine, *(f"{base}/{name}?key=secret" for name in names))
        held = rows(engine)
        again = poll(engine, *(f"{base}/{name}" for name in names))
    assert [one.reason for one in first] == [None] * 3
    assert not [one for one in first if "secret" in one.feed]
    assert held == sum(one.recorded["new"] for one in first)
    assert held + sum(len(one.refused) for one in first) == 16 + 1 + 20
    assert [set(one.recorded) for one in again] == [{"unchanged"}] * 3
    assert rows(engine) == held
    with engine.connect() as conn:
        listed = events.list_events(conn)
        quakes = events.list_events(conn, "earthquake")
    assert len(listed) == held
    assert quakes[0]["external_id"] == "us6000pi9w"
    assert quakes[0]["place"].startswith("POINT(87.")


def test_a_revision_is_kept_and_becomes_the_current_one(engine: Engine) -> None:
    event = json.loads((FEEDS / "fl-1102983-ep1-event.json").read_bytes())
    answers = {"/flood": of("fl-1102983-ep1-event.json")}

    def say(**properties: object) -> dict[str, int]:
        changed = event | {"properties": event["properties"] | properties}
        answers["/flood"] = (200, {}, json.dumps(changed).encode())
        return poll(engine, f"{base}/flood")[0].recorded

    with serving(answers) as base:
        assert poll(engine, f"{base}/flood")[0].recorded == {"new": 1}
        assert say(alertlevel="Red") == {"revised": 1}
        assert say() == {"revised": 1}, "a feed may go back to what it said"
        assert say(alertlevel="Red", datemodified="2025-01-06T00:00:00") == {"revised": 1}
        assert say() == {"stale": 1}, "an old copy takes nothing back"
    with engine.connect() as conn:
        (flood,) = events.list_events(conn)
    assert (flood["revisions"], flood["level"]) == (4, "red")


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ((500, {}, b""), "500"),
        (
            (301, {"location": "https://elsewhere.example/feed?key=secret"}, b""),
            "elsewhere.example/feed; put",
        ),
        ((301, {"location": "http://["}, b""), "moved"),
        ((200, {"content-encoding": "gzip"}, b"x"), "compressed"),
        ((200, {}, b"<html>no feed</html>"), "neither RSS"),
        ((200, {}, b'<!DOCTYPE a [<!ENTITY b "c">]><rss>&b;</rss>'), "not safe XML"),
        ((200, {}, b" " * (fetch.MAX_BYTES + 1)), "larger than 16 MiB"),
        ((200, {"content-length": "1000"}, b"<rss/>"), "truncated"),
    ],
)
def test_a_feed_that_fails_says_why_and_stops_no_other(engine: Engine, answer: Answer, word: str) -> None:
    with serving({"/bad": answer, "/good": of("usgs_event_detail_us6000pi9w.json")}) as base:
        bad, good = poll(engine, f"{base}/bad", f"{base}/good")
    assert bad.reason is not None
    assert word in bad.reason
    assert "secret" not in bad.reason
    assert good.recorded == {"new": 1}
    assert rows(engine) == 1


def test_characters_that_no_database_stores_end_no_poll(engine: Engine) -> None:
    document = {
        "type": "Feature", "id": "one\x00", "geometry": {"type": "Point", "coordinates": [10, 45]},
        "properties": {"kind": "flood", "title": "Po \ud800 \x00", "occurred_at": "2024-05-25T00:00:00Z",
                       "updated_at": "2024-05-25T00:00:00Z"},
    }  # fmt: skip
    with serving({"/feed": (200, {}, json.dumps(document).encode())}) as base:
        assert poll(engine, f"{base}/feed")[0].recorded == {"new": 1}
    with engine.connect() as conn:
        assert [one["title"] for one in events.list_events(conn)] == ["Po \ufffd \ufffd"]


@pytest.mark.parametrize("way", [dripping_headers, dripping_body], ids=lambda one: one.__name__)
def test_a_feed_that_drips_costs_its_time_and_no_more(engine: Engine, way: Behaviour) -> None:
    begun = time.monotonic()
    with behaving(way) as slow, serving({"/good": of("usgs_event_detail_us6000pi9w.json")}) as base:
        settings = load_settings(feeds=(f"{slow.url}/feed", f"{base}/good"), feed_timeout_seconds=3)
        bad, good = fetch.poll(engine, settings)
    assert time.monotonic() - begun < 20
    assert bad.reason == "it took more than 3 s; see SEGWATCH_FEED_TIMEOUT_SECONDS"
    assert good.recorded == {"new": 1}


def own(name: str, place: object) -> bytes:
    """A feed of one event in the own form."""
    times = {"occurred_at": "2024-05-25T00:00:00Z", "updated_at": "2024-05-25T00:00:00Z"}
    one = {
        "type": "Feature", "id": name, "geometry": {"type": "Point", "coordinates": place},
        "properties": {"kind": "flood", "title": name, **times},
    }  # fmt: skip
    return json.dumps(one).encode()


def test_a_coordinate_beyond_all_numbers_is_refused_and_stops_no_other(engine: Engine) -> None:
    answers: dict[str, Answer] = {
        "/bad": (200, {}, own("bad", [10**400, 45])),
        "/good": (200, {}, own("good", [10, 45])),
    }
    with serving(answers) as base:
        bad, good = poll(engine, f"{base}/bad", f"{base}/good")
    assert bad.reason is None
    assert [one["entry"] for one in bad.refused] == ["bad"]
    assert good.recorded == {"new": 1}


def test_an_event_that_the_database_does_not_take_costs_its_feed_alone(
    engine: Engine, database: Database
) -> None:
    with psycopg.connect(database.superuser_url, autocommit=True) as conn:
        conn.execute("ALTER TABLE segwatch.event ADD CONSTRAINT not_this CHECK (title <> 'bad')")
    answers: dict[str, Answer] = {
        "/bad": (200, {}, own("bad", [10, 45])),
        "/good": (200, {}, own("good", [10, 45])),
    }
    with serving(answers) as base:
        bad, good = poll(engine, f"{base}/bad", f"{base}/good")
    assert bad.reason is not None
    assert "not_this" in bad.reason
    assert "\n" not in bad.reason
    assert good.recorded == {"new": 1}
    assert rows(engine) == 1


def test_a_ledger_that_is_not_there_is_no_feeds_fault(engine: Engine, database: Database) -> None:
    with psycopg.connect(database.superuser_url, autocommit=True) as conn:
        conn.execute("DROP SCHEMA segwatch CASCADE")
    with serving({"/good": (200, {}, own("good", [10, 45]))}) as base, pytest.raises(ProgrammingError):
        poll(engine, f"{base}/good")


def test_an_unreachable_feed(engine: Engine) -> None:
    with serving({}) as base:
        pass
    (one,) = poll(engine, f"{base}/gone")
    assert one.reason


@pytest.mark.parametrize("feed", ["file:///etc/passwd", "ftp://example.org/x", "gdacs", "http://"])
def test_addresses_that_are_none(feed: str) -> None:
    with pytest.raises(ConfigError, match="SEGWATCH_FEEDS"):
        load_settings(feeds=(feed,))
