"""Tiles are decoded in few processes of limited memory and time: what exceeds them ends alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapely.geometry import box

from segwatch.flows.web.pixels.decoding import Decoders, DecodersBusy, Limits, MiB, Rendered
from segwatch.geo.errors import ReadFailed, UnfitPixels, UnsafeHref
from segwatch.geo.rendering import render
from segwatch.geo.sources import profiles
from segwatch.geo.sources.rasters.pixels import read_scene
from segwatch.geo.types.scene import Item, Scene
from tests.support.hostile_tiffs import Page, hostile_tiff
from tests.support.images import GRID, textured
from tests.support.serving import running, serving_files

PROFILE = profiles.load("rgb-cog")
HOSTS = ["127.0.0.1:*"]
#: One block, within the limit of blocks, and more than the processes of these tests may hold.
LARGE = hostile_tiff(Page(6000, 1800, 8, tile=(6000, 1808), filled=7))


def scene(href: str) -> Scene:
    now, square = datetime.now(UTC), box(14, 45, 16, 47)
    item = Item(
        "one", "visual", href, now, None, "made", "1", "", square, {"visual": href}, {"eo:cloud_cover": 3}
    )
    return Scene("visual", "made", "1", date(2024, 5, 1), now, (item,), square)


@pytest.fixture
def small() -> Iterator[Decoders]:
    made = Decoders(Limits(processes=2, waiting=1, wait_seconds=0.2, seconds=30, memory_bytes=64 * MiB))
    yield made
    made.close()


def rendered(decoders: Decoders, href: str) -> Rendered:
    return decoders.render(scene(href), PROFILE, GRID, allowed_hosts=HOSTS)


@pytest.fixture
def hanging() -> Iterator[str]:
    """A server that takes requests and answers none until the test ends."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            over.wait(60)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with running(Handler) as url:
        yield url
        over.set()


def processes(decoders: Decoders) -> list[Any]:
    return [one._process.pid for one in decoders._idle]


def test_what_is_shown_is_what_the_model_sees_and_what_exceeds_the_memory_ends_alone(small: Decoders) -> None:
    with serving_files(
        {"/good.tif": textured(40, 90, 200), "/large.tif": LARGE, "/page.tif": b"220 mail.example"}
    ) as files:
        window = read_scene(scene(f"{files.url}/good.tif"), PROFILE, GRID, allowed_hosts=HOSTS)
        found = rendered(small, f"{files.url}/good.tif")
        assert np.array_equal(found.rgb, render(window.bands, window.valid, PROFILE))
        assert np.array_equal(found.valid, window.valid)
        (first,) = processes(small)
        with pytest.raises((UnfitPixels, ReadFailed)) as told:
            rendered(small, f"{files.url}/large.tif")
        peak = _peak_mib(first) if first in processes(small) else 0
        assert peak < 400, told.value
        with pytest.raises(ReadFailed, match="neither GeoTIFF nor JPEG 2000") as banner:
            rendered(small, f"{files.url}/page.tif")
        assert "mail" not in str(banner.value)
        with pytest.raises(UnsafeHref, match="port 22"):
            small.render(scene("http://127.0.0.1:22/a.tif"), PROFILE, GRID, allowed_hosts=["127.0.0.1"])
        assert rendered(small, f"{files.url}/good.tif").valid.all()


def _peak_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(one.split()[1]) for one in lines if one.startswith("VmHWM")) / 1024


def test_a_tile_that_takes_too_long_is_ended_while_others_are_answered(hanging: str) -> None:
    decoders = Decoders(Limits(processes=2, waiting=1, wait_seconds=0.2, seconds=4))
    try:
        with (
            serving_files({"/good.tif": textured(40, 90, 200)}) as files,
            ThreadPoolExecutor(3) as threads,
        ):
            slow = threads.submit(rendered, decoders, f"{hanging}/slow.tif")
            while not decoders._busy:
                time.sleep(0.01)
            assert rendered(decoders, f"{files.url}/good.tif").valid.all()
            another = threads.submit(rendered, decoders, f"{hanging}/slow.tif")
            while len(decoders._busy) < 2:
                time.sleep(0.01)
            with pytest.raises(DecodersBusy, match="try again later"):
                rendered(decoders, f"{files.url}/good.tif")
            for one in (slow, another):
                with pytest.raises(UnfitPixels, match="more than 4 s"):
                    one.result(60)
            assert rendered(decoders, f"{files.url}/good.tif").valid.all(), "by a new process"
    finally:
        decoders.close()
    assert not processes(decoders)
