"""The panel of the map that makes a watch, in a real browser on a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, sync_playwright

from segwatch.flows.web.application import create_app
from tests.acceptance.test_web import CHROMIUM
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, cells
from tests.support.live_web import live
from tests.support.paths import ROOT

AXE = ROOT / "flows" / "web" / "page" / "node_modules" / "axe-core" / "axe.min.js"
SQUARE = {"type": "Polygon", "coordinates": [[[10, 40], [10.1, 40], [10.1, 40.1], [10, 40.1], [10, 40]]]}
SOURCE = {
    "id": "watch:lakes", "title": "Made scenes", "collection": "made", "gsd_m": 10, "attribution": None,
    "license": None, "watches": ["lakes"], "scenes": 2, "first_at": None, "last_at": "2024-05-01T10:00:00Z",
    "bbox": None,
}  # fmt: skip
SOURCES = {
    "may_try": True, "why_not": None, "limits": {"area_km2": 500, "tiles": 200, "pending": 3, "hours": 24},
    "sources": [SOURCE],
}  # fmt: skip
QUEUED = {
    "id": "0b0f", "state": "queued", "source": "watch:lakes", "instruction": "segment the water", "area": SQUARE,
    "stage": "waiting for a worker", "progress": None, "reason": None, "scene": None, "model": None,
    "demonstration": None, "totals": None, "cost": None, "observed": None, "unseen": None, "polygons": None,
    "polygons_of_all": None, "picture": None,
}  # fmt: skip
FOUND = {
    "type": "Feature",
    "geometry": SQUARE,
    "properties": {"target": "water", "score": 0.9, "area_m2": 12000},
}
DONE = QUEUED | {
    "state": "done", "stage": None, "model": "tiny@1", "demonstration": True,
    "scene": {"acquired_at": "2024-05-01T10:00:00Z", "item_hrefs": [], "clear_share": 0.95, "attribution": "Made"},
    "totals": [{"target": "water", "polygons": 1, "area_m2": 12000, "presence": 0.9}],
    "cost": {"seconds": 4.2, "bytes_read": 2500000, "km2": 8, "tiles": 2, "tiles_failed": 0}, "observed": SQUARE,
    "polygons": {"type": "FeatureCollection", "features": [FOUND]}, "polygons_of_all": 1,
}  # fmt: skip
CHECK = {
    "source": "watch:lakes", "answers": True, "has_collection": True, "scenes": 5, "complete": True, "by_month": {},
    "first_at": None, "last_at": None, "rejected": 0, "problem": None,
}  # fmt: skip
SAVED = {
    "watch": "bay", "revision": "r", "created": True, "scheduled": True, "note": "It runs at 06:00.", "warnings": [],
    "lines": [],
}  # fmt: skip


class Answers:
    """Answers as the contract of the routes records them, and what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.polls = 0

    def answer(self, route: Route) -> None:
        """Answer one request."""
        path = route.request.url.partition("/api/")[2]
        self.asked.append((f"{route.request.method} {path}", route.request.post_data_json))
        if path == "trials/0b0f":
            self.polls += 1
        status, body = {
            "sources": (200, SOURCES), "catalog/check": (200, CHECK), "watches": (201, SAVED), "trials": (202, QUEUED),
            "trials/0b0f": (200, DONE),
        }[path]  # fmt: skip
        route.fulfill(status=status, content_type="application/json", body=json.dumps(body))


@pytest.fixture
def page(ledgers: Any, database: Database) -> Iterator[Page]:
    """The map over a watch, without the routes for new watches."""
    made: Ledger = ledgers()
    made.arrive([SceneContent((cells(1, 1, 4, 4),))] * 2, [0, 1])
    with live(create_app(database.url("segwatch_analyst"))) as url, sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--enable-unsafe-swiftshader"]
        )
        page = browser.new_page(viewport={"width": 1200, "height": 700})
        page.set_default_timeout(60_000)
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{url}/#watch=lakes&imagery=off")
        page.wait_for_selector("body[data-watch=lakes]")
        yield page
        browser.close()
    assert problems == []


def test_a_watch_is_tried_and_saved_with_the_keyboard(page: Page, tmp_path: Path) -> None:
    answers = Answers()
    page.route("**/api/sources", answers.answer)
    page.route("**/api/catalog/check", answers.answer)
    page.route("**/api/trials**", answers.answer)
    page.route("**/api/trials/*", answers.answer)
    page.route(
        "**/api/watches",
        lambda route: answers.answer(route) if route.request.method == "POST" else route.continue_(),
    )
    page.get_by_role("tab", name="New").press("Enter")
    page.get_by_role("button", name="Try it on the latest clear scene").press("Enter")
    page.wait_for_selector("text=Choose an area first")
    (tmp_path / "bay.geojson").write_text(json.dumps(FOUND), encoding="utf-8")
    page.get_by_label("Or a GeoJSON file").set_input_files(tmp_path / "bay.geojson")
    page.wait_for_selector("text=The area of bay.geojson is on the map.")
    page.get_by_label("Source of images").select_option("watch:lakes")
    page.get_by_label("Instruction").fill("segment the water")
    page.get_by_role("button", name="Check the catalog").press("Enter")
    page.wait_for_selector("text=The catalog answers: 5 scenes.")
    page.get_by_role("button", name="Try it on the latest clear scene").press("Enter")
    page.wait_for_selector("text=1 polygon of water, 1.2 ha on the scene of 2024-05-01, 95 % clear.")
    page.wait_for_selector("text=demonstration model, no basis for decisions")
    assert answers.polls == 1
    page.get_by_label("Name", exact=True).fill("bay")
    page.get_by_label("Scenes since").fill("2024-01-01")
    page.get_by_role("button", name="Save the watch").press("Enter")
    page.wait_for_selector("text=The watch bay is saved. It runs at 06:00.")
    draft = {"source": "watch:lakes", "instruction": "segment the water", "area": SQUARE}
    settings = {"name": "bay", "start": "2024-01-01T00:00:00Z", "schedule": "0 6 * * *", "alerts": False}
    assert [one for one in answers.asked if one[0].startswith("POST")] == [
        ("POST catalog/check", {"source": "watch:lakes", "area": SQUARE}),
        ("POST trials", draft),
        ("POST watches", draft | settings),
    ]
    # the draft stays while another panel is open
    page.get_by_role("tab", name="Watch").press("Enter")
    page.get_by_role("tab", name="New").press("Enter")
    assert page.get_by_label("Instruction").input_value() == "segment the water"
    if AXE.exists():
        page.evaluate(AXE.read_text(encoding="utf-8"))
        found = page.evaluate("axe.run('aside').then((one) => one.violations)")
        assert [one["id"] for one in found if one["impact"] in {"serious", "critical"}] == []


def test_a_server_that_takes_no_watches_says_why(page: Page) -> None:
    refused = SOURCES | {"may_try": False, "why_not": "This server takes no trials.", "sources": []}
    page.route(
        "**/api/sources",
        lambda route: route.fulfill(content_type="application/json", body=json.dumps(refused)),
    )
    page.get_by_role("tab", name="New").press("Enter")
    page.wait_for_selector("text=This server takes no trials.")
    assert page.get_by_role("button", name="Save the watch").count() == 0
