"""Event feeds through their Prefect deployment."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright
from shapely.geometry import mapping

from tests.acceptance.conftest import COLOUR, System
from tests.support.paths import DATA
from tests.support.serving import Answer, serving

FEEDS = DATA / "feeds"


def test_feeds_are_polled_on_a_worker(system: System) -> None:
    names = ("gdacs-rss.xml", "fl-1102983-ep1-event.json")
    answers: dict[str, Answer] = {f"/{name}": (200, {}, (FEEDS / name).read_bytes()) for name in names}
    with serving(answers) as base:
        feeds = json.dumps([f"{base}/{name}" for name in names] + [f"{base}/missing"])
        system.deployed("poll-feeds/poll-feeds", COLOUR | {"SEGWATCH_FEEDS": feeds})
        again = system.command("event", "poll", f"{base}/gdacs-rss.xml", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)[0]["recorded"] == {"unchanged": 16}
    listed = json.loads(system.command("event", "list", "--kind", "flood", "--json").stdout)
    assert [row["external_id"] for row in listed if row["source"] == "gdacs"] == ["FL1102983"]
    assert len(system.query("SELECT id FROM segwatch.event WHERE source = 'gdacs'")) == 17


def playbook(system: System) -> Path:
    """A folder with a playbook for floods that looks at the made lakes."""
    folder = system.folder / "playbooks"
    folder.mkdir(exist_ok=True)
    document = {
        "version": 1, "name": "flood", "title": "Flood", "radius_km": 1, "days": 3650,
        "match": {"kinds": ["flood"], "min_level": "orange", "regions": [list(system.lakes.area.bounds)]},
        "baseline": {"days": 60},
        "sources": [
            {"profile": str(system.lakes.profile), "catalog": "http://127.0.0.1:9/"},
            {"profile": str(system.lakes.profile), "catalog": system.stack.urls().stac},
        ],
        "watch": {"instruction": "segment the water", "targets": ["water"], "priority": 900,
                  "tracking": {"gone_after": 1}},
    }  # fmt: skip
    (folder / "flood.yaml").write_text(json.dumps(document), encoding="utf-8")
    return folder


def observed(system: System, watch: str) -> list[tuple[str, str]]:
    rows = system.query(
        "SELECT o.acquired_at, o.state, o.priority FROM segwatch.observation o"
        " JOIN segwatch.watch w ON w.id = o.revision_id WHERE w.name = :watch ORDER BY o.acquired_at",
        watch=watch,
    )
    assert {row["priority"] for row in rows} <= {899}, "of a disaster run, and old"
    return [(f"{row['acquired_at']:%m-%d}", row["state"]) for row in rows]


def page_of_totals(html: str) -> list[list[str]]:
    """Rows of the table of what each target covers in all."""
    table = html.partition("<h3>A. Area by target</h3>")[2].partition("</table>")[0]
    rows = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in table.split("<tr>")]
    return [row for row in rows if row]


def picture_of_the_report(system: System, watch: str) -> None:
    """The report as a browser shows it, and as paper."""
    folder = system.stack.home / "evidence" / watch
    html = (folder / "briefing.html").read_text(encoding="utf-8")
    assert (folder / "briefing.pdf").read_bytes().startswith(b"%PDF-")
    assert html.count("data:image/jpeg;base64,") == 2
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1000, "height": 1200})
        page.goto((folder / "briefing.html").as_uri())
        shown = page.inner_text("body")
        widths = page.eval_on_selector_all("img", "all => all.map(one => one.naturalWidth)")
        page.screenshot(path=folder / "page.png", full_page=True)
        browser.close()
    assert min(widths) > 50
    assert "before: 2024-05-11" in shown
    assert "after: 2024-06-30" in shown
    assert "water" in shown
    assert re.search("(100%|more than 99%) of the area was observed", shown)
    (total,) = page_of_totals(html)
    now = system.query(
        "SELECT sum(area_m2) / 1e4 AS hectares FROM watch.objects_now WHERE watch = :watch", watch=watch
    )
    assert float(total[2]) == pytest.approx(float(now[0]["hectares"]), abs=0.01)
    assert float(total[3]) == pytest.approx(float(total[2]) - float(total[1]), abs=0.011)


def test_a_disaster_run_by_hand_says_what_it_would_do_and_does_it(system: System) -> None:
    area = system.folder / "town.geojson"
    area.write_text(json.dumps(mapping(system.lakes.area)), encoding="utf-8")
    more = COLOUR | {"SEGWATCH_PLAYBOOKS": str(playbook(system))}
    command = ["respond", "--playbook", "flood", "--area", str(area), "--at", "2024-05-25T00:00:00", "--json"]
    before = system.counts()
    tried = system.command(*command, "--dry-run", **more)
    assert tried.exit_code == 0, tried.output
    would = json.loads(tried.stdout)
    assert (would["baseline"].rpartition("/")[2], would["scenes_after"]) == ("2024-05-11", 4)
    assert "cannot be read" in would["unreachable"][0] or "127.0.0.1:9" in would["unreachable"][0]
    assert system.counts() == before, "a dry run writes nothing"
    without_server = {"PREFECT_API_URL": ""}
    done = system.segwatch(*command, **more, **without_server)
    assert done.returncode == 0, done.stderr
    watch = json.loads(done.stdout)["watch"]
    assert watch == would["watch"]
    days = [day for day, _ in observed(system, watch)]
    assert days == ["05-11", "05-31", "06-10", "06-20", "06-30"]
    changes = system.query("SELECT valid_at, baseline FROM watch.changes WHERE watch = :watch", watch=watch)
    assert {f"{row['valid_at']:%m-%d}" for row in changes if row["baseline"]} == {"05-11"}
    assert any(not row["baseline"] for row in changes), "the lakes changed since"
    picture_of_the_report(system, watch)
    wrong = system.command("respond", "--playbook", "flood", "--event", "gdacs/none", **more)
    assert wrong.exit_code == 1
    assert "segwatch event list" in wrong.stderr


def test_an_event_of_several_feeds_starts_one_run_on_the_workers(system: System) -> None:
    def told(identity: str, east: float) -> bytes:
        place = system.lakes.area.centroid
        document: dict[str, Any] = {
            "type": "Feature", "id": identity,
            "geometry": {"type": "Point", "coordinates": [place.x + east, place.y]},
            "properties": {"kind": "flood", "title": "<b>Flood</b>", "occurred_at": "2024-05-25T00:00:00Z",
                           "updated_at": "2024-05-25T01:00:00Z",
                           "level": "red"},
        }  # fmt: skip
        return json.dumps({"type": "FeatureCollection", "features": [document]}).encode()

    answers: dict[str, Answer] = {"/one": (200, {}, told("x", 0)), "/two": (200, {}, told("y", 0.01))}
    with serving(answers) as base:
        environment = COLOUR | {
            "SEGWATCH_FEEDS": json.dumps([f"{base}/one", f"{base}/two"]),
            "SEGWATCH_PLAYBOOKS": str(playbook(system)),
        }
        for _ in range(2):
            system.deployed("respond/respond", environment)
    names = system.query(
        "SELECT name FROM segwatch.watch_head WHERE name LIKE 'flood-%' AND name NOT LIKE 'flood-town%'"
    )
    (watch,) = (row["name"] for row in names)
    expected = ["05-11", "05-31", "06-10", "06-20", "06-30"]
    until = time.monotonic() + 500
    while [state for _, state in observed(system, watch)].count("observed") < 3:
        assert time.monotonic() < until, observed(system, watch)
        time.sleep(1)
    assert [day for day, _ in observed(system, watch)] == expected


_EMIT = """
import json, sys
from prefect.events import emit_event
emit_event("segwatch.event", resource={"prefect.resource.id": "segwatch.event.test"}, payload=json.loads(sys.argv[1]))
"""


def test_a_prefect_event_becomes_an_event_of_the_ledger(system: System) -> None:
    """Through the trigger of the deployment: what it carries is recorded by a run of respond.

    No playbook is for a drought, so that no watch comes of it.
    """
    document = {
        "type": "Feature", "id": "told-by-prefect",
        "geometry": {"type": "Point", "coordinates": [10.0, 45.0]},
        "properties": {"kind": "drought", "title": "Po", "occurred_at": datetime.now(UTC).isoformat(),
                       "updated_at": datetime.now(UTC).isoformat(), "level": "red"},
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", _EMIT, json.dumps(document)],
        env=system.environment(), capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    until = time.monotonic() + 500
    while not (
        rows := system.query("SELECT kind, title FROM segwatch.event WHERE external_id = 'told-by-prefect'")
    ):
        assert time.monotonic() < until, "no run recorded the event"
        time.sleep(0.5)
    assert rows == [{"kind": "drought", "title": "Po"}]
