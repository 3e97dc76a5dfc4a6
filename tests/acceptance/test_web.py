"""The map in a real browser, the OGC API and the scene tiles over HTTP."""

from __future__ import annotations

import io
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import rasterio
from playwright.sync_api import ConsoleMessage, Page, Request, sync_playwright
from sqlalchemy import text

from segwatch.db.analyst.keys import VIEW_KEYS
from segwatch.db.embedded.ports import find_free_port
from tests.acceptance.conftest import COLOUR, System

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def mapped(system: System) -> str:
    """URL of the map over a watch with alerts."""
    rule = {"name": "any", "kinds": ["grew", "appeared"], "channels": [], "status": "provisional"}
    system.apply("mapped", system.lakes, rules=[rule])
    done = system.segwatch("run", "mapped", **COLOUR)
    assert done.returncode == 0, done.stderr
    return system.stack.urls().web


@pytest.fixture
def page(mapped: str) -> Iterator[Page]:
    """The map page, loaded."""
    with opened(mapped) as page:
        yield page


@contextmanager
def opened(mapped: str, refusals: Sequence[int] = (), *, imagery: bool = False) -> Iterator[Page]:
    """The map page, loaded; fails on any request to another host and on any error of the page.

    The browser itself reports answers that refuse as errors; those of ``refusals`` are expected.
    """
    problems: list[str] = []
    expected = [f"the server responded with a status of {one}" for one in refusals]
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--enable-unsafe-swiftshader"]
        )
        page = browser.new_page(viewport={"width": 1200, "height": 700})

        def on_console(said: ConsoleMessage) -> None:
            if said.type == "error" and not any(one in said.text for one in expected):
                problems.append(said.text)

        def on_request(asked: Request) -> None:
            if not asked.url.startswith((mapped, "blob:", "data:")):
                problems.append(f"asked {asked.url}")

        # the browser paints on the processor, which other tests use, too
        page.set_default_timeout(90_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", on_console)
        page.on("request", on_request)
        page.goto(f"{mapped}/#watch=mapped{'' if imagery else '&imagery=off'}")
        page.wait_for_selector("body[data-watch=mapped]", timeout=60_000)
        yield page
        browser.close()
    assert problems == []


ALERTS = "#panel [role=option]"


def show(page: Page, tab: str) -> None:
    """Open a panel beside the map."""
    page.get_by_role("tab", name=tab).click()


@pytest.fixture
def with_imagery(mapped: str) -> Iterator[Page]:
    """The map page over imagery, which takes long to render beside other tests."""
    with opened(mapped, imagery=True) as page:
        yield page


def test_the_page_shows_objects_dates_and_alerts(with_imagery: Page, tmp_path: Path) -> None:
    page = with_imagery
    assert page.inner_text("#date") == "2024-06-30"
    assert page.locator(ALERTS).count() == 2
    show(page, "Watch")
    # the objects are counted after the panel is there; one lake of four is gone at the end
    page.wait_for_selector("#summary:has-text('3 objects')")
    last = _picture(page, tmp_path / "last.png")
    page.locator("#slider").fill("1")
    assert page.inner_text("#date") == "2024-05-11"
    second = _picture(page, tmp_path / "second.png")
    # vermilion is the colour of what appeared: the passing lake at the second date, nothing at the last
    assert _share(second, (213, 94, 0)) > 2e-4
    assert _share(last, (213, 94, 0)) < 1e-5
    # orange is the colour of what grew
    assert _share(second, (230, 159, 0)) > 2e-4
    # the imagery is below: the ground is green and brown, not the colour of the base map's land
    assert _share(second, (244, 243, 238)) < 0.6
    assert with_imagery.locator("#accuracy").inner_text() == "not assessed"


def test_an_alert_leads_to_its_place_and_date_and_a_link_restores_them(page: Page) -> None:
    page.locator(ALERTS).first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    stops = page.locator(f"{ALERTS}[tabindex='0']")
    assert stops.count() == 1, "the list is one stop of the tab key"
    page.keyboard.press("Enter")
    assert page.inner_text("#date") == "2024-05-11"
    page.wait_for_selector("[role=tabpanel] h2:focus")
    page.wait_for_selector("#object dl")
    page.wait_for_selector("body[data-drawn=true]", timeout=120_000)
    marked, link = page.inner_text("#marked"), page.url
    page.goto("about:blank")
    page.goto(link)
    page.wait_for_selector("#marked", timeout=60_000)
    assert page.inner_text("#marked") == marked
    assert page.inner_text("#date") == "2024-05-11"
    assert page.url == link


def test_two_dates_are_compared_with_two_maps(page: Page) -> None:
    page.get_by_role("button", name="Swipe").click()
    assert page.input_value("#from").startswith("2024-06-20")
    page.wait_for_selector("#before canvas")
    page.get_by_label("Border between the two dates").fill("20")
    page.wait_for_selector("#map[style*='20%']")
    page.get_by_role("button", name="One date").click()
    page.wait_for_selector("#before canvas", state="detached")


def test_a_failing_server_is_shown_and_asked_again(mapped: str) -> None:
    with opened(mapped, refusals=[503]) as page:
        page.route("**/api/alerts?*", lambda route: route.fulfill(status=503, json={"detail": "too busy"}))
        page.reload()
        page.wait_for_selector("#panel .problem", timeout=60_000)
        assert "The alerts could not be loaded: too busy" in page.inner_text("#panel .problem")
        page.unroute("**/api/alerts?*")
        page.get_by_role("button", name="Try again").click()
        page.wait_for_selector(ALERTS)


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_no_serious_finding_of_accessibility(mapped: str, look: str) -> None:
    axe = Path(__file__).parents[2] / "flows/web/page/node_modules/axe-core/axe.min.js"
    if not axe.exists():
        pytest.skip("axe-core is not installed: npm install in flows/web/page")
    with opened(mapped) as page:
        if look == "phone":
            page.set_viewport_size({"width": 390, "height": 844})
        elif look == "dark":
            page.get_by_role("button", name="Dark colours").click()
        page.evaluate(axe.read_text(encoding="utf-8"))
        show(page, "Alerts")
        page.locator(ALERTS).first.focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("#object dl")
        if look == "phone":
            box = page.locator("aside").bounding_box()
            assert box is not None
            assert box["height"] > 300, "the sheet opens with the choice"
        for tab in ("Object", "Alerts", "Watch", "New", "Tools"):
            show(page, tab)
            found = page.evaluate("axe.run().then(found => found.violations)")
            assert [
                (one["id"], one["nodes"][0]["html"])
                for one in found
                if one["impact"] in {"serious", "critical"}
            ] == []


@pytest.fixture
def refuted(system: System, mapped: str) -> Iterator[str]:
    """URL of the map while what grew counts as refuted."""
    engine = system.engine()
    judged = (
        "SELECT j.id, j.status, j.confidence FROM segwatch.change_judgement j JOIN watch.changes c USING (change_id)"
        " WHERE c.watch = 'mapped' AND c.kind = 'grew' AND upper_inf(j.recorded)"
    )
    change = text(
        "UPDATE segwatch.change_judgement SET status = :status, confidence = :confidence WHERE id = :id"
    )
    rows = system.query(judged)
    assert rows
    with engine.begin() as conn:
        conn.execute(change, [row | {"status": "refuted", "confidence": 0.004} for row in rows])
    yield mapped
    with engine.begin() as conn:
        conn.execute(change, rows)
    engine.dispose()


def test_refuted_changes_are_hidden_and_counted_until_somebody_wants_them(refuted: str) -> None:
    with opened(refuted) as page:
        assert page.locator(ALERTS).count() == 1
        assert "sure" in page.locator(ALERTS).inner_text()
        show(page, "Watch")
        assert "1 refuted hidden in the list of alerts" in page.inner_text("#hidden")
        page.check("#statuses input[value=refuted]")
        assert page.inner_text("#hidden") == ""
        show(page, "Alerts")
        page.wait_for_selector(f"{ALERTS}.refuted")
        assert "refuted, under 1 % likely" in page.locator(f"{ALERTS}.refuted").inner_text()
        assert page.locator(ALERTS).count() == 2
        show(page, "Watch")
        page.uncheck("#statuses input[value=provisional]")
        page.uncheck("#statuses input[value=confirmed]")
        show(page, "Alerts")
        page.wait_for_selector(f"{ALERTS}.provisional", state="detached")
        assert page.locator(ALERTS).count() == 1


TOKEN = "a-token-of-some-length"
HOSTILE = "<img src=x onerror=document.title='run'>"


@pytest.fixture
def marking(system: System, mapped: str) -> Iterator[str]:
    """URL of a map on which the same watch's alerts may be marked."""
    url = f"http://127.0.0.1:{find_free_port()}"
    server = system.start("serve", "--port", url.rpartition(":")[2], SEGWATCH_REVIEW_TOKEN=TOKEN)
    until = time.monotonic() + 300
    while not _answers(url):
        assert time.monotonic() < until
        time.sleep(0.1)
    yield url
    server.kill()
    server.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").is_success
    except httpx.TransportError:
        return False


def said(page: Page) -> str:
    """What the page answers to a press of a button."""
    page.wait_for_selector("#marks:not([disabled])")
    return page.inner_text("#answer")


def press(page: Page, name: str) -> str:
    page.get_by_role("button", name=name, exact=True).click()
    return said(page)


def test_an_alert_is_marked_from_the_map(system: System, marking: str, tmp_path: Path) -> None:
    def marks() -> list[tuple[str, ...]]:
        rows = system.query("SELECT mark, person, note FROM segwatch.alert_mark ORDER BY marked_at")
        return [tuple(row.values()) for row in rows]

    asked: list[str] = []
    with opened(marking, refusals=[401]) as page:
        page.on("request", lambda request: asked.append(request.url))
        assert not page.is_visible("#marking")
        page.locator(ALERTS).first.click()
        assert press(page, "Acknowledge").startswith("Enter your name")
        page.fill("#person", HOSTILE)
        assert press(page, "Acknowledge").startswith("Enter a token")
        page.fill("#token", "a token \u20ac")
        assert "characters" in press(page, "Acknowledge")
        page.fill("#token", "another-token-of-some-length")
        assert press(page, "Acknowledge") == "The token is invalid; nothing was changed."
        assert marks() == []
        page.fill("#token", TOKEN)
        page.fill("#note", "on it")
        assert press(page, "Acknowledge") == "Done: acknowledged."
        assert marks() == [("acknowledged", HOSTILE, "on it")]
        assert f"acknowledged by {HOSTILE}" in page.inner_text("#marked")
        assert page.query_selector("img[src=x]") is None
        assert page.title() == "segwatch"
        page.screenshot(path=tmp_path / "marked.png")
        assert press(page, "Snooze") == "Done: snoozed."
        assert "snoozed until 20" in page.inner_text("#marked")
        assert press(page, "Resolve") == "Done: resolved."
        assert press(page, "Reopen") == "Done: reopened."
        assert [one[0] for one in marks()] == ["acknowledged", "snoozed", "resolved", "reopened"]
        page.reload()
        page.wait_for_selector("#marking", timeout=60_000)
        assert page.input_value("#token") == TOKEN, "kept in this tab"
        assert page.evaluate("localStorage.length") == 0
        assert page.evaluate("document.cookie") == ""
    assert not [url for url in asked if "token" in url]


def test_a_map_that_cannot_mark_says_so(mapped: str) -> None:
    with opened(mapped, refusals=[403]) as page:
        page.locator(ALERTS).first.click()
        page.fill("#person", "ada")
        page.fill("#token", "x")
        assert "SEGWATCH_REVIEW_TOKEN" in press(page, "Resolve")


def test_names_from_outside_are_text(mapped: str) -> None:
    policy = httpx.get(f"{mapped}/").headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy


def test_features_of_the_analyst_views(mapped: str) -> None:
    listed = httpx.get(f"{mapped}/ogc/collections").json()["collections"]
    names = {one["id"] for one in listed}
    assert names == {f"watch.{view}" for view in VIEW_KEYS}
    assert {"watch.objects_now", "watch.alerts", "watch.area_by_week"} <= names
    found = httpx.get(f"{mapped}/ogc/collections/watch.objects_now/items", params={"watch": "mapped"}).json()
    assert found["numberMatched"] == 3
    assert {one["geometry"]["type"] for one in found["features"]} == {"Polygon"}
    assert httpx.get(f"{mapped}/ogc/collections/segwatch.delivery/items").status_code == 404


def test_scene_tiles_show_the_scene_and_nothing_else(system: System, mapped: str) -> None:
    scene = httpx.get(f"{mapped}/api/scenes", params={"watch": "mapped"}).json()[0]
    middle = system.lakes.area.centroid
    zoom = 13
    column = int((middle.x + 180) / 360 * 2**zoom)
    row = int((1 - np.arcsinh(np.tan(np.radians(middle.y))) / np.pi) / 2 * 2**zoom)
    tile = f"{mapped}/imagery/tiles/WebMercatorQuad/{zoom}/{column}/{row}.png"
    got = httpx.get(tile, params={"watch": "mapped", "scene": scene["scene_id"]}, timeout=60)
    assert got.headers["content-type"] == "image/png"
    with rasterio.open(io.BytesIO(got.content)) as image:
        pixels = image.read()
    assert pixels.shape == (4, 256, 256)
    blue = (np.abs(pixels[:3].astype(int) - np.array([35, 70, 120])[:, None, None]) < 25).all(axis=0)
    assert blue.mean() > 0.01
    assert httpx.get(tile, params={"watch": "mapped", "scene": "0" * 32}).status_code == 404
    assert httpx.get(tile, params={"url": "file:///etc/passwd"}).status_code == 422


def _picture(page: Page, file: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    page.wait_for_selector("body[data-drawn=true]", timeout=120_000)
    # its swatches have the colours that are looked for
    page.evaluate("document.querySelector('.legend').open = false")
    page.locator("#map").screenshot(path=file)
    with rasterio.open(file) as image:
        return np.asarray(image.read()[:3])


def _share(picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], colour: tuple[int, int, int]) -> float:
    distance = np.abs(picture.astype(int) - np.array(colour)[:, None, None]).max(axis=0)
    return float((distance < 12).mean())
