"""From a USGS feed over HTTP to the ground that an earthquake run looks at."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from segwatch.db import events, watches
from segwatch.flows.config.settings import FlowSettings, load_settings
from segwatch.flows.events import disaster_runs, fetch, playbooks
from segwatch.flows.events.source_selection import RunTarget
from segwatch.geo.area import compute_area_m2
from tests.support.paths import DATA
from tests.support.serving import Answer, serving
from tests.unit.geo.events.test_shaking import RINGS

DETAIL = DATA / "feeds" / "usgs_event_detail_us6000pi9w.json"
#: A ring of 40 km, and the playbook's radius of 25 km.
SHAKEN_KM2, AROUND_KM2 = 5027, 1963


def detail(base: str) -> dict[str, Any]:
    """The recorded document, its contours on a server of the test."""
    document: dict[str, Any] = json.loads(DETAIL.read_bytes())
    for one in document["properties"]["products"]["shakemap"]:
        for name, file in one["contents"].items():
            file["url"] = f"{base}/{name}"
    return document


def summary(base: str) -> bytes:
    """What the feed of many events says of it: a link to the document in detail instead of its products."""
    document = detail(base)
    del document["properties"]["products"]
    document["properties"]["detail"] = f"{base}/detail"
    return json.dumps({"type": "FeatureCollection", "features": [document]}).encode()


def looked(engine: Engine, settings: FlowSettings, **changes: Any) -> RunTarget:
    with engine.connect() as conn:
        (event,) = events.load_events(conn)
    book = playbooks.find_playbook(playbooks.load_all(), "earthquake")
    return disaster_runs.resolve_target(engine, settings, book, replace(event, **changes))


def area(happening: RunTarget) -> float:
    return compute_area_m2(happening.area) / 1e6


@pytest.mark.parametrize("whole", [True, False], ids=["in detail", "by its link"])
def test_an_earthquake_is_looked_at_where_it_shook(engine: Engine, whole: bool) -> None:
    answers: dict[str, Answer] = {"/download/cont_mmi.json": (200, {}, RINGS)}
    with serving(answers) as base:
        answers["/detail"] = (200, {}, json.dumps(detail(base)).encode())
        answers["/feed"] = answers["/detail"] if whole else (200, {}, summary(base))
        settings = load_settings(feeds=(f"{base}/feed",), feed_timeout_seconds=5)
        assert fetch.poll(engine, settings)[0].recorded == {"new": 1}
        assert fetch.poll(engine, settings)[0].recorded == {"unchanged": 1}
        assert area(looked(engine, settings)) == pytest.approx(SHAKEN_KM2, rel=0.01)


def test_another_feeds_entry_about_it_may_lead_to_the_contours(engine: Engine) -> None:
    answers: dict[str, Answer] = {"/download/cont_mmi.json": (200, {}, RINGS)}
    with serving(answers) as base:
        answers["/feed"] = (200, {}, json.dumps(detail(base)).encode())
        settings = load_settings(feeds=(f"{base}/feed",), feed_timeout_seconds=5)
        fetch.poll(engine, settings)
        with engine.connect() as conn:
            (told,) = events.load_events(conn)
        other = replace(told, source="gdacs", external_id="EQ1", shaking="")
        book = playbooks.find_playbook(playbooks.load_all(), "earthquake")
        happening = disaster_runs.resolve_target(engine, settings, book, other, [told])
    assert happening.identity == "gdacs/EQ1"
    assert area(happening) == pytest.approx(SHAKEN_KM2, rel=0.01)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((404, {}, b""), "HTTP 404"),
        ((302, {"location": "http://127.0.0.1:1/admin?key=secret"}, b""), "it has moved"),
        ((200, {}, b"<html>"), "not JSON"),
        ((200, {}, b" " * (fetch.MAX_BYTES + 1)), "larger than 16 MiB"),
        ((200, {"content-length": "1000"}, b"{"), "truncated"),
        ((200, {}, b'{"features": []}'), "no contours"),
    ],
)
def test_without_contours_it_is_the_radius_and_the_log_says_why(
    engine: Engine, caplog: pytest.LogCaptureFixture, answer: Answer, reason: str
) -> None:
    answers: dict[str, Answer] = {"/download/cont_mmi.json": answer}
    with serving(answers) as base, caplog.at_level(logging.INFO):
        answers["/feed"] = (200, {}, json.dumps(detail(base)).encode())
        settings = load_settings(feeds=(f"{base}/feed",), feed_timeout_seconds=5)
        fetch.poll(engine, settings)
        assert area(looked(engine, settings)) == pytest.approx(AROUND_KM2, rel=0.01)
        assert reason in caplog.text
        assert "secret" not in caplog.text
        assert area(looked(engine, settings, shaking="")) == pytest.approx(AROUND_KM2, rel=0.01)
        assert "no feed has usable contours of shaking" in caplog.text


def test_a_link_leads_nowhere_but_to_hosts_of_feeds(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    answers: dict[str, Answer] = {}
    with serving({"/download/cont_mmi.json": (200, {}, RINGS)}) as inside, serving(answers) as base:
        answers["/feed"] = (200, {}, json.dumps(detail(inside)).encode())
        settings = load_settings(feeds=(f"{base}/feed",), feed_timeout_seconds=5)
        fetch.poll(engine, settings)
        for link in (f"{inside}/download/cont_mmi.json", "http://[", "http://host:99999/"):
            caplog.clear()
            assert area(looked(engine, settings, shaking=link)) == pytest.approx(AROUND_KM2, rel=0.01)
            assert "its link " in caplog.text


def test_contours_that_cannot_be_had_today_do_not_move_the_watch(engine: Engine) -> None:
    answers: dict[str, Answer] = {"/download/cont_mmi.json": (200, {}, RINGS)}
    with serving(answers) as base:
        answers["/feed"] = (200, {}, json.dumps(detail(base)).encode())
        settings = load_settings(feeds=(f"{base}/feed",), feed_timeout_seconds=5)
        fetch.poll(engine, settings)
        first = looked(engine, settings)
        book = playbooks.find_playbook(playbooks.load_all(), "earthquake")
        with engine.begin() as conn:
            watches.apply(
                conn, book.watch_over(first.area, first.occurred_at, first.identity, book.sources[0])
            )
        answers["/download/cont_mmi.json"] = (503, {}, b"")
        again = looked(engine, settings)
    assert again.area.equals(first.area)
