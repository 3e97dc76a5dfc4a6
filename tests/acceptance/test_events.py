"""Event feeds through their Prefect deployment."""

from __future__ import annotations

import json
from pathlib import Path

from tests.acceptance.conftest import System
from tests.support.serving import Answer, serving

FEEDS = Path(__file__).parents[1] / "data" / "feeds"


def test_feeds_are_polled_on_a_worker(system: System) -> None:
    names = ("gdacs-rss.xml", "fl-1102983-ep1-event.json")
    answers: dict[str, Answer] = {f"/{name}": (200, {}, (FEEDS / name).read_bytes()) for name in names}
    with serving(answers) as base:
        feeds = json.dumps([f"{base}/{name}" for name in names] + [f"{base}/missing"])
        system.deployed("poll-feeds/poll-feeds", {"SEGWATCH_FEEDS": feeds})
        again = system.segwatch("event", "poll", f"{base}/gdacs-rss.xml", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)[0]["recorded"] == {"unchanged": 16}
    listed = json.loads(system.segwatch("event", "list", "--kind", "flood", "--json").stdout)
    assert [row["external_id"] for row in listed] == ["FL1102983"]
    assert len(system.query("SELECT id FROM segwatch.event")) == 17
