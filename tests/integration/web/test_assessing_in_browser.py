"""The page that labels samples, in a real browser."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import ConsoleMessage, sync_playwright
from pydantic import SecretStr
from sqlalchemy import Engine

from segwatch.flows.web import reviews
from segwatch.flows.web.application import create_app
from segwatch.flows.web.options import ServerOptions
from tests.acceptance.test_web import CHROMIUM
from tests.conftest import Database
from tests.invariants.conftest import Ledger
from tests.support.assessing import arrive, draw
from tests.support.live_web import live
from tests.support.shown_scenes import show_from, silent_host

TOKEN = "a-token-of-some-length"


def test_samples_are_labelled_with_the_keyboard(ledgers: Any, database: Database, engine: Engine) -> None:
    ledger: Ledger = ledgers()
    arrive(ledger)
    draw(ledger)
    options = ServerOptions(
        reviews=reviews.ReviewIntake(engine, SecretStr(TOKEN)), imagery_hosts=("127.0.0.1:*", "localhost:*")
    )
    problems: list[str] = []

    def on_console(said: ConsoleMessage) -> None:
        if said.type == "error":
            problems.append(said.text)

    with (
        silent_host() as (imagery, answers),
        live(create_app(database.url("segwatch_analyst"), options)) as url,
        sync_playwright() as play,
    ):
        answers.set()
        show_from(database, imagery)
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", on_console)
        page.goto(f"{url}/assess?watch=lakes")
        page.wait_for_selector("#watch option", state="attached")
        page.fill("#labeller", "ada")
        page.fill("#token", TOKEN)
        page.click("#who button")
        page.wait_for_selector("body[data-sample='1']")
        assert page.inner_text("#question") == "Sample 1: where is water at the cross?"
        for side in ("before", "after"):
            page.wait_for_selector(f"#{side} img:not([hidden])", timeout=60_000)
            assert page.locator(f"#{side} img").evaluate("one => one.naturalWidth") == 320
        assert page.inner_text("#revealed") == "", "what the map says is hidden"
        page.keyboard.press("1")
        page.wait_for_selector("body[data-sample='2']")
        assert "you said in both. The map" in page.inner_text("#revealed")
        page.keyboard.press("0")
        page.wait_for_selector("body[data-sample='3']")
        assert page.inner_text("#progress").startswith("2 of ")
        page.keyboard.press("ArrowLeft")
        page.wait_for_selector("body[data-sample='2']")
        page.click("[data-label=neither]")
        page.wait_for_selector("body[data-sample='3']")
        # a reload goes on where the labels end
        page.reload()
        page.wait_for_selector("#watch option", state="attached")
        page.click("#who button")
        page.wait_for_selector("body[data-sample='3']")
        browser.close()
    rows = ledger.rows("SELECT l.label, l.labeller FROM segwatch.assessment_label l ORDER BY l.labelled_at")
    assert [tuple(row.values()) for row in rows] == [("both", "ada"), ("unclear", "ada"), ("neither", "ada")]
    assert problems == []
