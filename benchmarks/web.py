"""The map in Chromium: time to first draw, of a date step, of a pan, of a tile, and the bytes that this takes.

The ledger of :mod:`segwatch.benchmarks.tracking_scale` with all objects in view. The server runs in a process of its
own, as ``segwatch serve`` does. The map has drawn when MapLibre is idle: all tiles are there, and all are painted.
Chromium paints on the processor, because the machine need not have a display. Processor seconds are those of browser,
server and database together: on a machine that does other work, they say more than the times. Needs the extra ``dev``
and Chromium.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import quantiles
from typing import TYPE_CHECKING

import httpx

from segwatch.benchmarks.processor import read_processor_seconds
from segwatch.benchmarks.tracking_scale import World, out, throwaway_cluster
from segwatch.db.embedded.ports import find_free_port
from segwatch.flows.errors import ConfigError

if TYPE_CHECKING:
    from playwright.sync_api import Page, Request

WATCH = "forest-fires"
_STEPS = 10
_PANS = 8
_PAN_PIXELS = 250
_REST_SECONDS = 5.0
_TIMEOUT_MS = 120_000
_DRAWN = "body[data-drawn=true]"
_TILES = "/api/tiles/"


def run(*, quick: bool, device: str) -> dict[str, float | int]:
    """Measure the map on 100 000 objects; quick: on 20 000."""
    del device  # all on the CPU
    tracks = 20_000 if quick else 100_000
    with throwaway_cluster() as cluster:
        world = World(cluster, 20 if quick else 40)
        world.grow(tracks)
        url = world.analyst.url.render_as_string(hide_password=False)
        with _serve(url) as base, _open_browser() as page:
            database = int((cluster.info().data_dir / "postmaster.pid").read_text().split("\n", 1)[0])
            figures = _measure(page, base, [os.getpid(), database])
        world.engine.dispose()
        world.analyst.dispose()
    out.print(f"{tracks} objects: {figures}")
    return {"objects": tracks, **figures}


@contextmanager
def _serve(database_url: str) -> Iterator[str]:
    port = find_free_port()
    command = [sys.executable, "-P", "-m", "segwatch.flows.web", "--port", str(port)]
    settings = {**os.environ, "SEGWATCH_ANALYST_URL": database_url, "SEGWATCH_DATABASE_URL": database_url}
    with subprocess.Popen(command, env=settings, stdout=subprocess.DEVNULL) as server:
        base = f"http://127.0.0.1:{port}"
        try:
            _wait_until_ready(base, server)
            yield base
        finally:
            server.terminate()


def _wait_until_ready(base: str, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        try:
            if httpx.get(f"{base}/readyz").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError(f"the server of the map ended with status {server.returncode}")


@contextmanager
def _open_browser() -> Iterator[Page]:
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError as error:
        raise ConfigError(
            "this benchmark drives a browser; install segwatch with the extra dev: pip install 'segwatch[dev]'"
        ) from error
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    flags = [
        "--no-sandbox",
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
        "--ignore-gpu-blocklist",
    ]
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=flags)
        yield browser.new_page(viewport={"width": 1280, "height": 800})
        browser.close()


def _measure(page: Page, base: str, processes: Sequence[int]) -> dict[str, float | int]:
    # tiles are fetched by a worker, whose requests the page's own clock does not list
    finished: list[Request] = []
    page.on("requestfinished", lambda one: finished.append(one))  # noqa: PLW0108 - Playwright marks its handlers
    begun = read_processor_seconds(processes)
    first = _open(page, lambda: page.goto(f"{base}/#watch={WATCH}&imagery=off"))
    first_processor = read_processor_seconds(processes) - begun
    first_bytes = _count_bytes(finished)
    shown = str(page.inner_text("#drawn"))
    time.sleep(_REST_SECONDS)  # a person looks at the map before stepping on
    begun = read_processor_seconds(processes)
    steps = [_step(page) for _ in range(_STEPS)]
    step_processor = (read_processor_seconds(processes) - begun) / _STEPS
    time.sleep(_REST_SECONDS)
    pans = [_pan(page, _PAN_PIXELS if number % 2 else -_PAN_PIXELS) for number in range(_PANS)]
    tiles = [one for one in finished if _TILES in one.url]
    return {
        "first_draw_seconds": round(first, 2),
        "first_draw_processor_seconds": round(first_processor, 2),
        "second_visit_seconds": round(_open(page, page.reload), 2),
        "first_draw_bytes": first_bytes,
        "date_step_p95_ms": round(_p95(steps) * 1000),
        "date_step_processor_seconds": round(step_processor, 2),
        "pan_p95_ms": round(_p95(pans) * 1000),
        "tile_p95_ms": round(_p95([one.timing["responseEnd"] for one in tiles])),
        "tiles": len(tiles),
        "tile_bytes": _count_bytes(tiles),
        "says_what_is_cut": int("of" in shown),
    }


def _open(page: Page, visit: Callable[[], object]) -> float:
    """Visit the map, until it has drawn."""
    begun = time.perf_counter()
    visit()
    page.wait_for_selector("body[data-watch]", timeout=_TIMEOUT_MS)
    page.wait_for_selector(_DRAWN, timeout=_TIMEOUT_MS)
    return time.perf_counter() - begun


def _count_bytes(requests: Sequence[Request]) -> int:
    """Count the bytes of the answers as they were sent, compressed, with their headers."""
    sizes = [one.sizes() for one in requests]
    return sum(one["responseBodySize"] + one["responseHeadersSize"] for one in sizes)


def _step(page: Page) -> float:
    """Step to the scene before, until it is drawn."""
    begun = time.perf_counter()
    page.evaluate("document.body.dataset.drawn = 'false'")
    page.get_by_role("button", name="Previous scene").click()
    page.wait_for_selector(_DRAWN, timeout=_TIMEOUT_MS)
    return time.perf_counter() - begun


def _pan(page: Page, pixels: int) -> float:
    """Drag the map sideways, until what came into view is drawn."""
    box = page.locator("#map").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + pixels, y, steps=5)
    begun = time.perf_counter()
    page.evaluate("document.body.dataset.drawn = 'false'")
    page.mouse.up()
    page.wait_for_selector(_DRAWN, timeout=_TIMEOUT_MS)
    return time.perf_counter() - begun


def _p95(values: list[float]) -> float:
    return quantiles(values, n=20)[-1] if len(values) > 1 else values[0]
