"""The ground of the map from another host: only where a setting names it, and only that host."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from playwright.sync_api import sync_playwright
from pydantic import ValidationError

from segwatch.flows.config.settings.web import WebSettings
from segwatch.flows.web.application import create_app
from segwatch.flows.web.background import Background, find_background
from segwatch.flows.web.options import ServerOptions
from tests.acceptance.test_web import CHROMIUM
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, cells
from tests.support.live_web import live

TILES = "https://tiles.example.org:8443/a/{z}/{x}/{y}.png"


def test_the_policy_allows_exactly_the_host_that_is_set(database: Database) -> None:
    def ask(options: ServerOptions) -> tuple[dict[str, Any], str]:
        with TestClient(create_app(database.url("segwatch_analyst"), options)) as client:
            return client.get("/api/background").json(), client.get("/").headers["content-security-policy"]

    told, policy = ask(ServerOptions(background=Background(TILES, "Example Maps")))
    assert told == {"tiles": TILES, "attribution": "Example Maps"}
    assert "connect-src 'self' https://tiles.example.org:8443;" in policy
    assert "img-src 'self' data: blob: https://tiles.example.org:8443;" in policy
    assert policy.count("http") == 2
    told, policy = ask(ServerOptions())
    assert (told["tiles"], "http" in policy) == (None, False)


def test_what_is_no_url_of_tiles_is_refused() -> None:
    assert find_background(WebSettings()) is None
    assert find_background(WebSettings(map_tiles_url=TILES)) == Background(TILES, "")
    for wrong in (
        "https://tiles.example.org/{z}/{x}.png",
        "https://*/{z}/{x}/{y}.png",
        "https://a.example.org; script-src *;/{z}/{x}/{y}.png",
        "https://user@example.org/{z}/{x}/{y}.png",
        "data:/{z}/{x}/{y}",
    ):
        with pytest.raises(ValidationError, match="URL of tiles"):
            WebSettings(map_tiles_url=wrong)


@contextmanager
def tile_host() -> Iterator[tuple[str, list[str]]]:
    """A server of red tiles, and the paths that it was asked for."""
    asked: list[str] = []
    content = io.BytesIO()
    Image.new("RGB", (256, 256), (200, 0, 0)).save(content, "PNG")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
            # the page reads the pixels, which browsers allow only where the host says so
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()
            self.wfile.write(content.getvalue())

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_the_map_shows_the_tiles_below_its_objects(ledgers: Any, database: Database) -> None:
    made: Ledger = ledgers()
    made.arrive([SceneContent((cells(1, 1, 4, 4),))] * 2, [0, 1])
    problems: list[str] = []
    with tile_host() as (host, asked), sync_playwright() as play:
        options = ServerOptions(background=Background(f"{host}/{{z}}/{{x}}/{{y}}.png", "Red Maps"))
        with live(create_app(database.url("segwatch_analyst"), options)) as url:
            browser = play.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--enable-unsafe-swiftshader"]
            )
            page = browser.new_page(viewport={"width": 900, "height": 600})
            page.set_default_timeout(60_000)
            page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
            page.goto(f"{url}/#watch=lakes&imagery=off")
            page.wait_for_selector("#attribution:has-text('Red Maps')")
            page.wait_for_selector("body[data-watch=lakes][data-drawn=true]")
            with Image.open(io.BytesIO(page.locator("#map").screenshot())) as picture:
                colours = picture.convert("RGB").getcolors(picture.width * picture.height) or []
            browser.close()
    assert asked
    assert max(colours)[1] == (200, 0, 0)
    assert problems == []
