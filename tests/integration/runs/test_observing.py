"""The main job where a catalog, the GPU pool, or work is missing."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from shapely.geometry import box
from sqlalchemy import Engine, text

from segwatch.db import ledger, observations, scenes, watches
from segwatch.flows import deploy, observe, segmenters
from segwatch.flows.errors import FlowError
from segwatch.flows.segment import Drain, segment
from segwatch.flows.settings import load_settings
from segwatch.geo.crs import to_lonlat
from segwatch.geo.sources import profiles
from segwatch.geo.types import AlertRule, ChangeKind, Instruction, Item, Scene, Watch
from tests.integration.runs.conftest import Server
from tests.support.colour_segmenter import ColourSegmenter, Well
from tests.support.images import GRID, textured
from tests.support.receiving import receiving
from tests.support.serving import Answer, serving, serving_files

NOW = datetime(2024, 5, 1, 10, tzinfo=UTC)
AREA = to_lonlat(box(*GRID.bounds).buffer(-20), GRID.crs)
EMPTY: dict[str, Answer] = {
    "/": (200, {}, json.dumps({"type": "FeatureCollection", "features": []}).encode())
}


@pytest.fixture
def catalog() -> Iterator[str]:
    """Address of a catalog without any item."""
    with serving(EMPTY) as base:
        yield f"{base}/"


@pytest.fixture
def nowhere() -> Iterator[str]:
    """Address of a catalog that does not answer."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{closed.getsockname()[1]}/"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker is there, and no test waits hours for it."""
    monkeypatch.setattr(observe, "_SEGMENT_TIMEOUT_SECONDS", 2)


def lakes(catalog: str, **more: Any) -> Watch:
    given = Watch("lakes", Instruction("the water", ("water",)), AREA, profiles.load("rgb-cog"), catalog, NOW)
    return replace(given, **more)


def queue(engine: Engine, watch: Watch, image_url: str = "http://127.0.0.1:9/a.tif") -> None:
    """Store the watch, and let one scene wait for it."""
    item = Item("one", "visual", image_url, NOW, None, "made", "1", "", AREA, {"visual": image_url})
    scene = Scene("visual", "made", "1", date(2024, 5, 1), NOW, (item,), AREA)
    with engine.begin() as conn:
        revision = watches.apply(conn, watch).revision_id
        observations.enqueue(conn, revision, ColourSegmenter.version, scenes.upsert(conn, [scene]))


def states(engine: Engine) -> dict[str, str]:
    query = "SELECT w.name, o.state FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.watch_id"
    with engine.connect() as conn:
        return {row.name: row.state for row in conn.execute(text(query))}


def test_alerts_wait_neither_for_a_catalog_nor_for_a_gpu(
    server: Server, worker: Engine, nowhere: str
) -> None:
    with serving_files({"/a.tif": textured(10, 20, 30)}) as files, receiving() as taken:
        rule = AlertRule("any", tuple(ChangeKind), channels=(f"{taken.url}/alerts",), include_baseline=True)
        queue(worker, lakes(files.url, name="answered", rules=(rule,)), f"{files.url}/a.tif")
        Drain(worker, Well(), load_settings()).run()
        assert states(worker) == {"answered": "inferred"}
        queue(worker, lakes(nowhere, name="out-of-reach"))
        with pytest.raises(FlowError) as caught:
            observe.observe.fn("out-of-reach")
    assert "discover: " in str(caught.value)
    assert nowhere.rstrip("/") in str(caught.value)
    assert "after 2 s and was cancelled; see that a worker of the gpu pool runs" in str(caught.value)
    assert states(worker) == {"answered": "observed", "out-of-reach": "pending"}
    assert len(taken.messages) == 1
    (run,) = server.runs("segment/segment", watch="out-of-reach")
    assert run.state_name == "Cancelled", "it does not wait for the worker to come back, with all that follow"


def test_in_one_process_alerts_do_not_wait_for_a_catalog_either(worker: Engine, nowhere: str) -> None:
    with serving_files({"/a.tif": textured(10, 20, 30)}) as files:
        queue(worker, lakes(nowhere), f"{files.url}/a.tif")
        with pytest.raises(Exception, match="did not answer"):
            observe.run_in_process(worker, load_settings(), "lakes")
    assert states(worker) == {"lakes": "observed"}


def test_where_nothing_waits_no_segment_run_is_started(server: Server, worker: Engine, catalog: str) -> None:
    with worker.begin() as conn:
        watches.apply(conn, lakes(catalog, name="quiet"))
    report = observe.observe.fn("quiet")
    assert report["discover"]["scenes"] == 0
    assert report["segment"] == {"run": None}
    assert server.runs("segment/segment", watch="quiet") == []


def test_the_model_is_loaded_for_work_only(worker: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def load(settings: Any) -> segmenters.Segmenter:
        loaded.append(settings.segmenter)
        return ColourSegmenter()

    monkeypatch.setattr(segmenters, "load", load)
    nothing = {"scenes": 0, "inferred": 0, "skipped": 0, "failed": 0, "reasons": {}}
    assert segment.fn() == nothing
    assert loaded == []
    queue(worker, lakes("http://127.0.0.1:9/"))
    assert segment.fn("another") == nothing
    assert loaded == []
    with worker.begin() as conn:
        ledger.lease(conn, worker="dead", seconds=0.2, model_version=ColourSegmenter.version)
    segment.fn("lakes")
    assert len(loaded) == 1, "what a dead worker held is about to come back"


def test_a_watch_is_observed_by_one_run_at_a_time(server: Server, worker: Engine, catalog: str) -> None:
    with worker.begin() as conn:
        revision = watches.apply(conn, lakes(catalog)).revision_id
    with watches.alone(worker, revision) as alone:
        assert alone
        assert observe.observe.fn("lakes") == {"observe": {"under_way": "another run"}}
        asked_for = observe.observe.fn("lakes", start=NOW)
        assert asked_for["discover"]["items"] == 0, "a period that is asked for is nobody else's"
        with worker.begin() as conn:
            watches.apply(conn, lakes(catalog, priority=900))
        assert "discover" in observe.observe.fn("lakes"), "the run under way looks with the old definition"
    with worker.begin() as conn:
        watches.apply(conn, lakes(catalog))
    assert "discover" in observe.observe.fn("lakes"), "it is over"


def test_a_watch_that_is_over_ends_its_schedule(server: Server, worker: Engine, catalog: str) -> None:
    daily = lakes(catalog, name="over", schedule="0 6 * * *")
    deploy.schedule([daily])
    assert "over" in server.scheduled()
    with worker.begin() as conn:
        watches.apply(conn, replace(daily, end=NOW + timedelta(days=1)))
    observe.observe("over")
    assert "over" not in server.scheduled()
