"""The operators' page and what it asks: the real application on a real database, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import ConsoleMessage, Page, sync_playwright
from sqlalchemy import Connection, text

from segwatch.db import tokens
from segwatch.db.tokens import Scope
from segwatch.flows.alerting.channels import render_message
from segwatch.flows.web import schemas
from segwatch.flows.web.application import create_app
from segwatch.flows.web.operations import OperationIntake
from segwatch.flows.web.options import ServerOptions
from tests.acceptance.test_web import CHROMIUM
from tests.conftest import Database
from tests.invariants.conftest import MODEL, Ledger, SceneContent, cells
from tests.support.live_web import live

LAKE = cells(1, 1, 4, 4)
PREFECT = "http://127.0.0.1:4200"


@pytest.fixture
def ledger(ledgers: Any) -> Ledger:
    """Two observed scenes, a third that failed, and a catalog that was silent twice."""
    made: Ledger = ledgers()
    made.arrive([SceneContent((LAKE,))] * 3, [0, 1])
    made.find([2])
    with made.engine.begin() as conn:
        conn.execute(
            text(
                "UPDATE segwatch.observation SET state = 'failed', reason = 'the file is broken', attempts = 5"
                " WHERE state = 'pending'"
            )
        )
        conn.execute(
            text(
                "INSERT INTO segwatch.discovery (watch_name, attempted_at, failures, error)"
                " VALUES ('lakes', now(), 2, 'cannot reach stac.inside.example') ON CONFLICT (watch_name)"
                " DO UPDATE SET failures = 2, error = excluded.error"
            )
        )
        for statement in _MEASURED:
            conn.execute(text(statement))
    return made


_MEASURED = (
    "UPDATE segwatch.observation SET shift_east_m = 3, shift_north_m = 0, shift_quality = 0.9, shift_source = 'pixels'"
    " WHERE state = 'observed'",
    "UPDATE segwatch.discovery SET lag_p50_seconds = 7200, lag_p95_seconds = 86400",
    "INSERT INTO segwatch.alert_age (watch_name, up_to_seconds, alerts, seconds)"
    " VALUES ('lakes', 3600, 3, 9000), ('lakes', 'Infinity', 1, 9000000)",
    "INSERT INTO segwatch.usage (watch_name, month, model_version, outcome, attempts, compute_seconds,"
    " bytes_read, area_km2)"
    " SELECT 'lakes', date_trunc('month', now() AT TIME ZONE 'UTC'), 'm@1', u.outcome, u.attempts, 1, 1, 1"
    " FROM (VALUES ('observed', 6), ('saturated', 2), ('machine', 5)) u(outcome, attempts)",
    "INSERT INTO segwatch.revisit (watch_name, platform, relative_orbit, catalog, repeat_days, seen, last_at, next_at,"
    " missing, missed_in_a_row) VALUES ('lakes', 'p', '7', 'c', 5, 9, now(), now() + interval '5 days',"
    " ARRAY[now()], 1)",
)


@pytest.fixture
def told() -> list[tuple[str, bool]]:
    """What the Prefect server was told."""
    return []


@pytest.fixture
def options(ledger: Ledger, told: list[tuple[str, bool]]) -> ServerOptions:
    def find_version(_: Connection, __: str) -> str:
        return MODEL

    def tell(watch: str, paused: bool) -> None:
        told.append((watch, paused))

    return ServerOptions(operations=OperationIntake(ledger.engine, find_version, tell), prefect_url=PREFECT)


@pytest.fixture
def client(database: Database, options: ServerOptions) -> Iterator[TestClient]:
    with TestClient(create_app(database.url("segwatch_analyst"), options)) as made:
        yield made


def make_token(ledger: Ledger, scope: Scope, watches: tuple[str, ...] | None = None) -> dict[str, str]:
    with ledger.engine.begin() as conn:
        made = tokens.create(conn, str(scope), watch_names=watches, scopes=[scope], expires_at=None)
    return {"Authorization": f"Bearer {made.secret}"}


def test_an_operator_sees_what_is_wrong_and_acts(
    client: TestClient, ledger: Ledger, told: list[tuple[str, bool]]
) -> None:
    operator, reader = make_token(ledger, Scope.OPERATE), make_token(ledger, Scope.READ)
    found = client.get("/api/operations", headers=operator).json()
    schemas.Operations.model_validate(found)
    assert (found["prefect_url"], found["may_operate"]) == (PREFECT, True)
    (lakes,) = found["watches"]
    assert (lakes["state"], lakes["failed"]) == ("active", 1)
    assert [(one["reason"], one["observations"]) for one in lakes["failures"]] == [("the file is broken", 1)]
    assert lakes["last_scene"]["acquired_at"].startswith("2024-01-02")
    assert lakes["last_scene"]["lag_seconds"] > 0
    assert lakes["queue"] == {"pending": 0, "running": 0, "oldest_at": None}
    assert lakes["cost"]["gpu_seconds"] > 0
    assert (lakes["catalog"]["failures"], lakes["catalog"]["error"]) == (
        2,
        "cannot reach stac.inside.example",
    )
    shown = client.get("/api/operations", headers=reader).json()
    assert shown["may_operate"] is False
    assert (lakes["registration"], lakes["rendering"]) == ({"shift_m": 3.0}, {"judged": 8, "saturated": 2})
    assert lakes["alert_ages"][0] == {"up_to_seconds": 3600.0, "alerts": 3}
    assert lakes["alert_ages"][-1]["up_to_seconds"] is None, "JSON has no infinity"
    assert shown["watches"][0]["catalog"]["error"] == "the search failed", "names of hosts are for operators"

    def act(action: str, headers: dict[str, str] = operator, watch: str = "lakes", **body: str) -> Any:
        return client.post(f"/api/operations/{watch}/{action}", json=body, headers=headers)

    for action in ("retry", "pause", "resume", "test-alert"):
        assert act(action, reader).status_code == 403, action
        assert client.post(f"/api/operations/lakes/{action}", json={}).status_code == 401, action
    assert act("retry", watch="other").status_code == 404
    assert act("explode").status_code == 422
    assert act("retry", more="x").status_code == 422
    assert act("retry").json()["count"] == 1
    assert act("retry").json()["count"] == 0
    assert act("pause", note="maintenance").json()["message"] == "paused by operate"
    assert act("pause").json()["message"] == "paused by operate, as before"
    assert client.get("/api/operations", headers=reader).json()["watches"][0]["state"] == "paused"
    assert act("resume", person="bo").json()["message"] == "resumed by bo"
    assert told == [("lakes", True), ("lakes", True), ("lakes", False)]
    before = ledger.rows("SELECT count(*) AS n FROM segwatch.delivery")[0]["n"]
    first = act("test-alert")
    act("test-alert")
    sent = ledger.rows("SELECT payload FROM segwatch.delivery WHERE payload ->> 'type' = 'segwatch.test'")
    assert first.json()["count"] == 2
    assert len(sent) in {2, 4}, "one a channel in a minute"
    assert ledger.rows("SELECT count(*) AS n FROM segwatch.delivery")[0]["n"] == before + len(sent)
    assert "hook.example/1" not in first.text, "the path of a webhook may be a secret"
    title, words = render_message(sent[0]["payload"])
    assert (title, "nothing happened" in words) == ("Test of lakes", True)
    with ledger.engine.begin() as conn:
        conn.exec_driver_sql("UPDATE segwatch.access_token SET watches = '{others}'")
    assert act("pause").status_code == 404
    assert client.get("/api/operations", headers=operator).json()["watches"] == []


def test_the_page_is_used_with_the_keyboard(
    database: Database, options: ServerOptions, ledger: Ledger
) -> None:
    token = make_token(ledger, Scope.OPERATE)["Authorization"].removeprefix("Bearer ")
    problems: list[str] = []

    def on_console(said: ConsoleMessage) -> None:
        if said.type == "error":
            problems.append(said.text)

    with live(create_app(database.url("segwatch_analyst"), options)) as url, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", on_console)
        page.goto(f"{url}/operations")
        page.wait_for_selector("body[data-ready]")
        assert page.locator("article button").count() == 0, "readers have no buttons"
        assert page.is_visible("#reading")
        assert page.get_attribute("#prefect", "href") == PREFECT
        page.evaluate("one => sessionStorage.setItem('segwatch.token', one)", token)
        page.click("#reload")
        page.wait_for_selector("article button")
        assert "1 with trouble" in page.inner_text("#status")
        assert "1 observation failed" in page.inner_text(".trouble")
        assert "2 of 8 scenes this month were saturated" in page.inner_text(".trouble")
        described = " ".join(page.inner_text("dl").split())
        assert "half within 1 h of acquisition, 95 % over 7 d" in described
        assert "half of the scenes within 2 h of acquisition, 95 % within 1 d" in described
        assert "1 of 10 acquisitions missing, 1 in a row; next expected" in described
        assert "newest scene shifted by 3 m" in described
        assert "km²" in described
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "fits a phone"
        press(page, "retry")
        page.locator("#status", has_text="1 failed observation").wait_for()
        assert page.locator("[data-action=retry]").count() == 0
        assert page.evaluate("document.activeElement.closest('article').dataset.watch") == "lakes"
        press(page, "pause")
        page.wait_for_selector("[data-state=paused]")
        assert page.locator("[data-action=resume]").get_attribute("aria-label") == (
            "Resume lakes: go on with searches and predictions"
        )
        browser.close()
    assert problems == []


def press(page: Page, action: str) -> None:
    page.locator(f"[data-action={action}]").focus()
    page.keyboard.press("Enter")
