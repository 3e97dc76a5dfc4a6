"""An area is drawn on the map, tried by a real worker, and saved as a watch that the Prefect server schedules."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, sync_playwright
from sqlalchemy import Engine

from segwatch.db import tokens, watches
from segwatch.db.tokens import Scope
from segwatch.flows.config.settings import load_settings
from segwatch.flows.orchestration.trial_intake import make_trial_intake
from segwatch.flows.web.application import create_app
from segwatch.flows.web.options import ServerOptions
from tests.acceptance.test_web import CHROMIUM
from tests.conftest import Database
from tests.integration.runs.conftest import Server
from tests.integration.runs.test_workers import working
from tests.support.colour_segmenter import Well
from tests.support.live_web import live
from tests.support.tried_source import WELL, serving_source


def test_a_drawn_area_is_tried_by_a_worker_and_saved(
    server: Server, worker: Engine, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGWATCH_SEGMENTER", WELL)
    problems: list[str] = []
    with serving_source() as lakes, sync_playwright() as play:
        with worker.begin() as conn:
            watches.apply(conn, lakes)
            made = tokens.create(conn, "ada", watch_names=None, scopes=[Scope.OPERATE], expires_at=None)
        options = ServerOptions(trials=make_trial_intake(load_settings(), worker))
        with live(create_app(database.url("segwatch_analyst"), options)) as url, working(server, "gpu"):
            browser = play.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--enable-unsafe-swiftshader"]
            )
            page = browser.new_page(viewport={"width": 1200, "height": 800})
            # the browser paints on the processor, and the worker starts a process for the trial
            page.set_default_timeout(180_000)
            page.on("pageerror", lambda error: problems.append(str(error)))
            west, south, east, north = lakes.area.bounds
            page.goto(f"{url}/#watch=lakes&tab=new&view=15/{(south + north) / 2:.5f}/{(west + east) / 2:.5f}")
            page.get_by_label("Token with the scope operate").fill(made.secret)
            page.get_by_role("button", name="Try again").click()
            draw_square(page, 80)
            page.get_by_label("Source of images").select_option("watch:lakes")
            page.get_by_label("Instruction").fill("segment the water")
            page.get_by_role("button", name="Try it on the latest clear scene").click()
            said = page.get_by_label("Trial").get_by_role("status")
            said.filter(has_text="1 polygon of water").wait_for()
            # the newest scene is under cloud
            assert "on the scene of 2024-06-01" in said.inner_text()
            assert page.get_by_text(Well.version).count() == 1
            page.get_by_alt_text("The scene with the outlines of what was found").wait_for()
            page.get_by_label("Name", exact=True).fill("ponds")
            page.get_by_role("button", name="Save the watch").click()
            page.get_by_text("The watch ponds is saved.").wait_for()
            browser.close()
    assert problems == []
    assert "ponds" in server.scheduled()
    with worker.connect() as conn:
        saved = watches.load_current(conn, "ponds").watch
    assert saved.area.within(lakes.area.buffer(0.001))
    assert saved.instruction.text == "segment the water"


def draw_square(page: Page, half: float) -> None:
    """Draw a square around the middle of the map, half a side in pixels, and take it for the area."""
    page.get_by_role("button", name="Draw it on the map").click()
    page.get_by_text("Click the corners on the map").wait_for()
    box = page.locator("#map").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    corners = [(-half, -half), (half, -half), (half, half), (-half, half), (-half, -half)]
    for right, down in corners:
        page.mouse.move(x + right, y + down)
        page.mouse.click(x + right, y + down, delay=50)
        page.wait_for_timeout(500)  # two clicks at once are a double click
    page.get_by_role("button", name="Use what is drawn").click()
    page.get_by_text("The area is on the map.").wait_for()
