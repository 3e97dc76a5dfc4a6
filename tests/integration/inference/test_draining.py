"""A worker that drains the queue, on a real ledger and real files."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text

from segwatch.flows.config.settings import load_settings
from segwatch.flows.inference.drain import Drain
from segwatch.flows.inference.segmenters import Prediction, Tiles
from tests.support.colour_segmenter import Well
from tests.support.images import textured
from tests.support.serving import serving_files
from tests.support.small_queue import nobody_gets_in, queue

LEASE_SECONDS = 1.5


class Slow(Well):
    """Says that it has begun, and takes until it is told."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()

    def segment(self, tiles: Tiles, instructions: Any) -> list[list[Prediction]]:
        self.begun.set()
        assert self.may_end.wait(300)
        return super().segment(tiles, instructions)


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_database_that_is_away_for_a_moment_costs_no_lease(
    database: Any, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    segmenter = Slow()
    settings = load_settings().model_copy(
        update={"lease_seconds": LEASE_SECONDS, "linger_seconds": 0.0, "evidence": "none"}
    )
    with serving_files({"/a.tif": textured(10, 20, 30)}) as files:
        queue(engine, files.url, segmenter.version)
        drain = Drain(engine, segmenter, settings)
        worker = threading.Thread(target=drain.run)
        worker.start()
        try:
            assert segmenter.begun.wait(300)
            with nobody_gets_in(database):
                _until(lambda: "leases could not be renewed" in caplog.text)
            time.sleep(2 * LEASE_SECONDS)
            with engine.connect() as conn:
                held = text("SELECT bool_and(lease_until > clock_timestamp()) FROM segwatch.observation")
                assert conn.execute(held).scalar_one(), "renewed again, though its time was over long ago"
        finally:
            segmenter.may_end.set()
            worker.join(300)
    assert drain.counts.inferred == 1
