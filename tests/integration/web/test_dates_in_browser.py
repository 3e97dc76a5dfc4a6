"""Stepping through the dates of the map, in a real browser on a real server."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from segwatch.flows.web.application import create_app
from tests.acceptance.test_web import CHROMIUM
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, cells
from tests.support.live_web import live

LAKE, POND = cells(1, 1, 4, 4), cells(6, 6, 7, 7)
WORLD = [SceneContent((LAKE,)), SceneContent((LAKE,)), SceneContent((LAKE, POND)), SceneContent((LAKE, POND))]
#: Colours of what appeared on the date, and of what was there when it was first observed.
APPEARED, BASELINE = (213, 94, 0), (141, 150, 158)

#: Largest difference of a channel, and pixels that a line has at least.
_NEAR, _LINE_PIXELS = 12, 40


@pytest.fixture
def page(ledgers: Any, database: Database) -> Iterator[Page]:
    """The map at the last of four dates, drawn and at rest."""
    made: Ledger = ledgers()
    made.arrive(WORLD, [0, 1, 2, 3])
    with live(create_app(database.url("segwatch_analyst"))) as url, sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--enable-unsafe-swiftshader"]
        )
        page = browser.new_page(viewport={"width": 1000, "height": 700})
        page.set_default_timeout(60_000)
        with page.expect_request(lambda asked: "since=2024-01-01" in asked.url):
            page.goto(f"{url}/#watch=lakes&imagery=off")
        await_drawn(page)
        page.wait_for_load_state("networkidle")
        page.locator(".legend summary").click()  # it has the colours, too
        yield page
        browser.close()


def test_a_step_to_another_date_asks_the_server_for_nothing(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url))
    assert has_colour(page, APPEARED) is False, "the pond appeared a date before"
    step(page, "Previous scene")
    assert page.inner_text("#date") == "2024-01-03"
    assert has_colour(page, APPEARED)
    step(page, "Previous scene")
    assert page.inner_text("#date") == "2024-01-02"
    assert not has_colour(page, APPEARED), "it was not there yet"
    assert has_colour(page, BASELINE)
    assert asked == []


def step(page: Page, button: str) -> None:
    page.evaluate("document.body.dataset.drawn = 'false'")
    page.get_by_role("button", name=button).press("Enter")
    await_drawn(page)


def await_drawn(page: Page) -> None:
    page.wait_for_selector("body[data-watch=lakes][data-drawn=true]")


def has_colour(page: Page, colour: tuple[int, int, int]) -> bool:
    """Whether the map has lines of a colour."""
    with Image.open(io.BytesIO(page.locator("#map canvas").screenshot())) as picture:
        pixels = np.asarray(picture.convert("RGB"), np.int16)
    return int((np.abs(pixels - colour).max(axis=2) <= _NEAR).sum()) > _LINE_PIXELS
