"""A worker that drains the queue, on a real ledger and real files."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import psycopg
import pytest
from psycopg import sql
from shapely.geometry import box
from sqlalchemy import Engine, text

from segwatch.db import observations, scenes, watches
from segwatch.flows.segment import Drain
from segwatch.flows.segmenters import Answer, Tiles
from segwatch.flows.settings import load_settings
from segwatch.geo.crs import to_lonlat
from segwatch.geo.sources import profiles
from segwatch.geo.types import Instruction, Item, Scene, Watch
from tests.support.colour_segmenter import ColourSegmenter
from tests.support.images import GRID, image
from tests.support.serving import serving_files

NOW = datetime(2024, 5, 1, 10, tzinfo=UTC)
LEASE_SECONDS = 1.5


class Slow(ColourSegmenter):
    """Says that it has begun, and takes until it is told."""

    colour = (10, 20, 30)

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()

    def segment(self, tiles: Tiles, instructions: Any) -> list[list[Answer]]:
        self.begun.set()
        assert self.may_end.wait(60)
        return super().segment(tiles, instructions)


def _queue(engine: Engine, url: str, version: str) -> None:
    area = to_lonlat(box(*GRID.bounds).buffer(-20), GRID.crs)
    item = Item("one", "visual", url, NOW, None, "made", "1", "", area, {"visual": f"{url}/a.tif"})
    scene = Scene("visual", "made", "1", date(2024, 5, 1), NOW, (item,), area)
    watch = Watch("lakes", Instruction("the water", ("water",)), area, profiles.load("rgb-cog"), url, NOW)
    with engine.begin() as conn:
        revision = watches.apply(conn, watch).revision_id
        observations.enqueue(conn, revision, version, scenes.upsert(conn, [scene]))


@contextmanager
def _nobody_gets_in(database: Any) -> Iterator[None]:
    """Every connection of the database is cut, and no new one is let in."""
    name = sql.Identifier(database.name)
    url = database.cluster.info().superuser_url("postgres")
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        try:
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database.name]
            )
            yield
        finally:
            conn.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
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
    with serving_files({"/a.tif": image(10, 20, 30)}) as files:
        _queue(engine, files.url, segmenter.version)
        drain = Drain(engine, segmenter, settings)
        worker = threading.Thread(target=drain.run)
        worker.start()
        try:
            assert segmenter.begun.wait(60)
            with _nobody_gets_in(database):
                _until(lambda: "leases could not be renewed" in caplog.text)
            time.sleep(2 * LEASE_SECONDS)
            with engine.connect() as conn:
                held = text("SELECT bool_and(lease_until > clock_timestamp()) FROM segwatch.observation")
                assert conn.execute(held).scalar_one(), "renewed again, though its time was over long ago"
        finally:
            segmenter.may_end.set()
            worker.join(60)
    assert drain.total.inferred == 1
