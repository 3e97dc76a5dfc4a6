"""The main job where a catalog, the GPU pool, or work is missing."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.states import Running
from shapely.geometry import box
from sqlalchemy import Engine, text

from segwatch.db import ledger, observations, runs, scenes, watches
from segwatch.flows import observe
from segwatch.flows.config.settings import load_settings
from segwatch.flows.errors import FlowError
from segwatch.flows.inference import segmenters
from segwatch.flows.inference.drain import Drain
from segwatch.flows.orchestration import deploy
from segwatch.flows.orchestration.heartbeats import register_run
from segwatch.flows.orchestration.in_process import run_in_process
from segwatch.flows.segment import segment
from segwatch.flows.track import track
from segwatch.geo.crs import to_lonlat
from segwatch.geo.grid import get_crs
from segwatch.geo.sources import profiles
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.tracking import ChangeKind
from segwatch.geo.types.watch import AlertRule, Instruction, Watch
from tests.integration.runs.conftest import Server
from tests.support import at_work
from tests.support.colour_segmenter import ColourSegmenter, Well
from tests.support.images import GRID, textured
from tests.support.receiving import receiving
from tests.support.serving import Answer, serving, serving_files

WELL = f"{Well.__module__}:{Well.__name__}"
NOW = datetime(2024, 5, 1, 10, tzinfo=UTC)
AREA = to_lonlat(box(*GRID.boundingbox).buffer(-20), get_crs(GRID))
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
    monkeypatch.setenv("SEGWATCH_SEGMENT_WAIT_SECONDS", "2")


def lakes(catalog: str, **more: Any) -> Watch:
    given = Watch("lakes", Instruction("the water", ("water",)), AREA, profiles.load("rgb-cog"), catalog, NOW)
    return replace(given, **more)


def queue(
    engine: Engine,
    watch: Watch,
    image_url: str = "http://127.0.0.1:9/a.tif",
    version: str = ColourSegmenter.version,
) -> None:
    """Store the watch, and let one scene wait for it."""
    item = Item("one", "visual", image_url, NOW, None, "made", "1", "", AREA, {"visual": image_url})
    scene = Scene("visual", "made", "1", date(2024, 5, 1), NOW, (item,), AREA)
    with engine.begin() as conn:
        revision = watches.apply(conn, watch).revision_id
        observations.enqueue(conn, revision, version, scenes.upsert(conn, [scene]))


def states(engine: Engine) -> dict[str, str]:
    query = "SELECT w.name, o.state FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.revision_id"
    with engine.connect() as conn:
        return {row.name: row.state for row in conn.execute(text(query))}


def observed(watch: str, **period: Any) -> dict[str, Any]:
    """The report of an observing run that did something."""
    report = observe.observe.fn(watch, **period)
    assert isinstance(report, dict)
    return report


@contextmanager
def observing(engine: Engine) -> Iterator[None]:
    """Another run observes the watch lakes."""
    with engine.connect() as conn:
        subject = f"observe {watches.load_current(conn, 'lakes').revision_id}"
    with register_run(engine, load_settings(), "observe", watch="lakes", subject=subject) as holder:
        assert holder is None
        yield


def open_segment_runs(server: Server) -> list[FlowRun]:
    found = [run for watch in ({}, {"watch": "lakes"}) for run in server.runs("segment/segment", **watch)]
    return [one for one in found if one.state is None or not one.state.is_final()]


def test_scenes_that_no_run_takes_get_one_segment_run(server: Server, worker: Engine) -> None:
    """After an outage, or a worker that was killed; the schedule of the watch may be a day away."""
    with get_client(sync_client=True) as client:
        for one in open_segment_runs(server):
            client.delete_flow_run(one.id)
        assert "resumed" not in track.fn(), "nothing waits"
        queue(worker, lakes("http://127.0.0.1:9/"))
        with observing(worker):
            assert "resumed" not in track.fn(), "that run takes them"
        with worker.begin() as conn:
            conn.execute(text("UPDATE segwatch.observation SET not_before = now() + interval '1 hour'"))
        assert "resumed" not in track.fn(), "they may not be tried yet"
        with worker.begin() as conn:
            conn.execute(text("UPDATE segwatch.observation SET not_before = NULL"))
        assert track.fn()["resumed"] == ["lakes"]
        assert "resumed" not in track.fn(), "one at a time"
        (run,) = open_segment_runs(server)
        assert (run.parameters, run.work_pool_name) == ({}, "gpu")
        client.delete_flow_run(run.id)


def test_where_runs_segment_themselves_waiting_scenes_get_an_observe_run(
    server: Server, worker: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No worker of the gpu pool may take a segment run."""
    monkeypatch.setenv("SEGWATCH_SEGMENT_HERE", "true")
    with get_client(sync_client=True) as client:
        for one in open_segment_runs(server):
            client.delete_flow_run(one.id)
        queue(worker, lakes("http://127.0.0.1:9/"))
        assert track.fn()["resumed"] == ["lakes"]
        assert "resumed" not in track.fn(), "one at a time"
        assert open_segment_runs(server) == []
        (run,) = [
            one
            for one in server.runs("observe/observe", watch="lakes")
            if one.state is None or not one.state.is_final()
        ]
        assert run.work_pool_name == "cpu"
        client.delete_flow_run(run.id)


def test_an_announced_watch_gets_an_observe_run(server: Server, worker: Engine) -> None:
    """The web server leaves a request; the next track run has the watch searched."""
    with get_client(sync_client=True) as client:
        with worker.begin() as conn:
            watches.apply(conn, lakes("http://127.0.0.1:9/"))
            conn.execute(
                text("INSERT INTO segwatch.discovery_request (watch_name, item_id) VALUES ('lakes', 'a')")
            )
        for one in server.runs("observe/observe", watch="lakes"):
            client.delete_flow_run(one.id)
        assert track.fn()["announced"] == ["lakes"]
        assert "announced" not in track.fn(), "one at a time"
        (run,) = server.runs("observe/observe", watch="lakes")
        assert run.work_pool_name == "cpu"
        client.delete_flow_run(run.id)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 400
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


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
    said = str(caught.value)
    assert "s without an active worker of the gpu pool, and was cancelled; make sure that" in said
    assert "1 scene(s) wait and no worker holds them" in said
    assert states(worker) == {"answered": "observed", "out-of-reach": "pending"}
    assert len(taken.messages) == 1
    (run,) = server.runs("segment/segment", watch="out-of-reach")
    assert run.state_name == "Cancelled", "it does not wait for the worker to come back, with all that follow"


def test_in_one_process_alerts_do_not_wait_for_a_catalog_either(worker: Engine, nowhere: str) -> None:
    with serving_files({"/a.tif": textured(10, 20, 30)}) as files:
        queue(worker, lakes(nowhere), f"{files.url}/a.tif")
        with pytest.raises(Exception, match="cannot be read"):
            run_in_process(worker, load_settings(), "lakes")
    assert states(worker) == {"lakes": "observed"}


def test_where_nothing_waits_no_segment_run_is_started(server: Server, worker: Engine, catalog: str) -> None:
    with worker.begin() as conn:
        watches.apply(conn, lakes(catalog, name="quiet"))
    report = observed("quiet")
    assert report["discover"]["scenes"] == 0
    assert report["segment"] == {"run": None}
    assert server.runs("segment/segment", watch="quiet") == []


def test_the_model_is_loaded_for_work_only(worker: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def load(settings: Any) -> segmenters.InstructionSegmenter:
        loaded.append(settings.segmenter)
        return ColourSegmenter()

    monkeypatch.setattr(segmenters, "load_segmenter", load)
    nothing = {"scenes": 0, "inferred": 0, "skipped": 0, "failed": 0, "waiting": 0, "reasons": {}}
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
        watches.apply(conn, lakes(catalog))
    with observing(worker):
        skipped = observe.observe.fn("lakes")
        assert isinstance(skipped, State)
        assert (skipped.name, skipped.is_completed()) == ("Skipped", True)
        assert str(skipped.message).startswith(
            "did nothing: lakes is observed by the observe run of lakes on "
        )
        assert "last heartbeat" in str(skipped.message)
        assert "nothing is left" in str(skipped.message)
        asked_for = observed("lakes", start=NOW)
        assert asked_for["discover"]["items"] == 0, "a period that is asked for is nobody else's"
        with worker.begin() as conn:
            watches.apply(conn, lakes(catalog, priority=900))
        assert "discover" in observed("lakes"), "the run under way looks with the old definition"
    with worker.begin() as conn:
        watches.apply(conn, lakes(catalog))
    assert "discover" in observed("lakes"), "it is over"


def test_beside_another_run_what_a_lost_worker_held_is_taken_over(
    server: Server, worker: Engine, catalog: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGWATCH_SEGMENT_HERE", "true")
    monkeypatch.setenv("SEGWATCH_SEGMENTER", WELL)
    with serving_files({"/a.tif": textured(10, 20, 30)}) as files:
        queue(worker, lakes(catalog), f"{files.url}/a.tif", Well.version)
        with worker.begin() as conn:
            assert ledger.lease(conn, worker="gone", seconds=0.01, model_version=Well.version)
        with observing(worker):
            report = observed("lakes")
    assert report["observe"]["expired_leases"] == 1
    assert report["segment"]["here"]["inferred"] == 1
    assert "without an active worker of the gpu pool" in report["segment"]["troubles"][0]
    assert states(worker) == {"lakes": "observed"}


def test_an_observing_run_that_is_stopped_loses_its_watch(
    server: Server, worker: Engine, catalog: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGWATCH_LEASE_SECONDS", "2")
    with worker.begin() as conn:
        watches.apply(conn, lakes(catalog))
    with at_work.process("observe", "lakes") as process:
        time.sleep(2.5)
        assert isinstance(observe.observe.fn("lakes"), State), "it is at work, longer than a lease"
        process.send_signal(signal.SIGSTOP)
        until(lambda: not isinstance(observe.observe.fn("lakes"), State))
    with worker.connect() as conn:
        outcomes = conn.execute(text("SELECT outcome FROM segwatch.run ORDER BY started_at")).scalars().all()
    assert outcomes == ["lost", "completed"]


def test_a_worker_that_is_killed_with_its_run_does_not_stall_its_watch(
    server: Server, worker: Engine, catalog: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefect shows the run as Running for ever; the second one is taken by nobody."""
    monkeypatch.setenv("SEGWATCH_LEASE_SECONDS", "2")
    monkeypatch.setenv("SEGWATCH_SEGMENT_HERE", "true")
    monkeypatch.setenv("SEGWATCH_SEGMENTER", WELL)
    with serving_files({"/a.tif": textured(10, 20, 30)}) as files, ThreadPoolExecutor(1) as pool:
        queue(worker, lakes(catalog), f"{files.url}/a.tif", Well.version)
        with at_work.process("work") as process:
            running = pool.submit(observed, "lakes")
            until(lambda: states(worker) == {"lakes": "leased"})
            process.kill()
            begun = time.monotonic()
            report = running.result(400)
    assert time.monotonic() - begun < 30
    lost, idle = report["segment"]["troubles"][0].split("; ")[:2]
    assert "has stopped sending heartbeats" in lost
    assert "without an active worker of the gpu pool, and was cancelled" in idle
    assert states(worker) == {"lakes": "observed"}
    every = server.runs("segment/segment", watch="lakes")
    assert {str(one.state_name) for one in every} >= {"Cancelled", "Crashed"}


def test_zombies_of_dead_workers_are_ended_in_prefect(server: Server, worker: Engine, catalog: str) -> None:
    with worker.begin() as conn:
        watches.apply(conn, lakes(catalog))
    with get_client(sync_client=True) as client:
        zombie = cast(FlowRun, run_deployment("segment/segment", timeout=0)).id
        client.set_flow_run_state(zombie, Running(), force=True)
        with worker.begin() as conn:
            runs.begin(conn, flow="segment", worker="host-7", seconds=0.01, flow_run_id=zombie)
        observe.observe.fn("lakes")
        state = client.read_flow_run(zombie).state
    assert state is not None
    assert state.is_crashed()
    assert "lost: the segment run on host-7 (started" in str(state.message)


def test_a_watch_that_is_over_ends_its_schedule(server: Server, worker: Engine, catalog: str) -> None:
    daily = lakes(catalog, name="over", schedule="0 6 * * *")
    deploy.schedule_watches([daily])
    assert "over" in server.scheduled()
    with worker.begin() as conn:
        watches.apply(conn, replace(daily, end=NOW + timedelta(days=1)))
    observe.observe("over")
    assert "over" not in server.scheduled()
