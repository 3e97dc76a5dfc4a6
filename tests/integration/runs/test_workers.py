"""A deployment's runs work on any worker, wherever it was deployed from."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.exceptions import PrefectHTTPStatusError
from shapely.geometry import mapping
from sqlalchemy import Engine, text

from segwatch.db import tokens, watches
from segwatch.db.tokens import Scope
from segwatch.flows.config.settings import load_settings
from segwatch.flows.orchestration.lost_runs import end_lost_runs
from segwatch.flows.orchestration.trial_intake import make_trial_intake
from segwatch.flows.orchestration.trial_runs import start_trials
from segwatch.flows.web import trials as web_trials
from segwatch.flows.web.application import create_app
from segwatch.flows.web.options import ServerOptions
from tests.conftest import Database
from tests.integration.runs.conftest import Server
from tests.support.colour_segmenter import Well
from tests.support.hanging import FrozenOnce
from tests.support.images import textured
from tests.support.serving import serving_files
from tests.support.small_queue import queue
from tests.support.tried_source import AREA, WELL, serving_source


def test_no_deployment_has_a_step_that_needs_the_machine_it_came_from(server: Server) -> None:
    with get_client(sync_client=True) as client:
        assert {one.name: one.pull_steps for one in client.read_deployments()} == {
            name: [] for name in server.shipped
        }


def test_a_worker_runs_what_was_deployed_from_a_folder_that_is_gone(server: Server, worker: Engine) -> None:
    with working(server, "gpu"):
        run: Any = run_deployment("segment/segment", timeout=400, poll_interval=1)
    assert run.state.is_completed(), run.state.message


def test_what_was_due_while_no_worker_was_there_is_not_all_run_at_once(
    server: Server, worker: Engine
) -> None:
    due = {cast(FlowRun, run_deployment("deliver/deliver", timeout=0)).id for _ in range(3)}
    with working(server, "cpu"), get_client(sync_client=True) as client:
        states = _until(client, sorted(due), lambda one: one.is_final())
    ended = [state.name for state in states]
    assert ended.count("Cancelled") >= 2, ended  # the third, where none of the schedule came before it


def test_a_run_that_hangs_leaves_its_place_and_its_scene_to_the_next(
    server: Server, worker: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGWATCH_SEGMENTER", f"{FrozenOnce.__module__}:{FrozenOnce.__name__}")
    monkeypatch.setenv("SEGWATCH_LEASE_SECONDS", "3")
    monkeypatch.setenv("SEGWATCH_STALL_SECONDS", "5")
    with (
        serving_files({"/a.tif": textured(10, 20, 30)}) as files,
        working(server, "gpu", limit=1),
        get_client(sync_client=True) as client,
    ):
        queue(worker, files.url, Well.version)
        hung = _segment()
        _until(client, [hung], lambda one: one.is_running())
        following = _segment()
        states = _until(client, [hung, following], lambda one: one.is_final())
        first, second = (client.read_flow_run(one) for one in (hung, following))
    assert [state.name for state in states] == ["Crashed", "Completed"]
    assert first.end_time is not None
    assert second.start_time is not None
    assert first.end_time <= second.start_time, "one at a time"
    with worker.connect() as conn:
        rows = conn.execute(text("SELECT state, attempts FROM segwatch.observation")).all()
    assert [tuple(row) for row in rows] == [("inferred", 1)], "a lease that runs out is no attempt"


def _segment() -> UUID:
    return cast(FlowRun, run_deployment("segment/segment", timeout=0)).id


def test_what_a_run_brings_along_is_not_executed(server: Server, worker: Engine, tmp_path: Path) -> None:
    """Whoever may create runs: through the deployment they are refused, and what gets past that is not heeded."""
    sign = tmp_path / "executed"
    command = f"touch {sign}"
    attacks: list[dict[str, Any]] = [
        {"command": command},
        {"env": {"PYTHONSTARTUP": str(sign), "SEGWATCH_SEGMENTER": "antigravity:geohash"}},
        {"env.SEGWATCH_SEGMENTER": "antigravity:geohash"},
        {"working_dir": str(tmp_path)},
        {"stream_output": False, "command": command},
    ]
    with get_client(sync_client=True) as client, working(server, "gpu"):
        deployment = client.read_deployment_by_name("segment/segment")
        for attack in attacks:
            with pytest.raises(PrefectHTTPStatusError) as refused:
                client.create_flow_run_from_deployment(deployment.id, job_variables=attack)
            assert refused.value.response.status_code in {409, 422}, attack
        everything = {name: value for attack in attacks for name, value in attack.items()}
        past = _past_the_deployment(client, deployment, everything)
        (state,) = _until(client, [past], lambda one: one.is_final())
    assert state.name == "Completed"
    assert not sign.exists()


def _past_the_deployment(client: SyncPrefectClient, deployment: Any, variables: dict[str, Any]) -> UUID:
    """A run whose variables the server compares with nothing."""
    made = client.request(
        "POST",
        "/flow_runs/",
        json={
            "flow_id": str(deployment.flow_id),
            "deployment_id": str(deployment.id),
            "work_pool_name": "gpu",
            "work_queue_name": deployment.work_queue_name,
            "job_variables": variables,
            "state": {"type": "SCHEDULED"},
        },
    )
    return UUID(made.json()["id"])


def _until(client: SyncPrefectClient, runs: list[UUID], holds: Callable[[State], bool]) -> list[State]:
    """Their states once this holds for each."""
    until = time.monotonic() + 400
    while True:
        states = [state for one in runs if (state := client.read_flow_run(one).state) is not None]
        if all(holds(state) for state in states):
            return states
        assert time.monotonic() < until, states
        time.sleep(0.5)


def test_a_trial_that_is_asked_for_over_http_is_run_by_a_worker(
    server: Server, worker: Engine, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGWATCH_SEGMENTER", WELL)
    # a request waits longer for Prefect here, as a busy machine needs more than seconds to start a run
    monkeypatch.setattr(web_trials, "_START_SECONDS", 120.0)
    earlier = {one.id for one in server.runs("trial/trial")}
    with serving_source() as lakes, get_client(sync_client=True) as client:
        with worker.begin() as conn:
            watches.apply(conn, lakes)
            made = tokens.create(conn, "ada", watch_names=None, scopes=[Scope.OPERATE], expires_at=None)
        ada = {"Authorization": f"Bearer {made.secret}"}
        body = {"source": "watch:lakes", "area": mapping(AREA), "instruction": "segment the water"}
        options = ServerOptions(trials=make_trial_intake(load_settings(), worker))
        with TestClient(create_app(database.url("segwatch_analyst"), options), headers=ada) as web:
            where = web.post("/api/trials", json=body).headers["location"]
            web.post("/api/trials", json=body)
            (run,) = (one for one in server.runs("trial/trial") if one.id not in earlier)
            assert not start_trials(worker), "one run takes both"
            with working(server, "gpu"):
                _until(client, [run.id], lambda one: one.is_completed())
            found = web.get(where).json()
            saved = web.post("/api/watches", json=body | _NEW_WATCH).json()
    assert (found["state"], found["totals"][0]["polygons"], found["model"]) == ("done", 1, Well.version)
    assert not start_trials(worker), "none waits"
    assert saved["scheduled"] is True
    assert "ponds" in server.scheduled()


_NEW_WATCH = {"name": "ponds", "start": "2024-01-01T00:00:00Z", "schedule": "0 6 * * *"}


@contextmanager
def working(server: Server, pool: str, limit: int | None = None) -> Iterator[None]:
    """A worker of the pool for the length of the block."""
    argv = [sys.executable, "-P", "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"]
    argv += [] if limit is None else ["--limit", str(limit)]
    server.supervisor.start("worker", argv, server.environment)
    try:
        yield
    finally:
        server.supervisor.stop("worker")


def test_a_worker_that_is_killed_leaves_its_place_and_its_scene_to_another(
    server: Server, worker: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefect goes on showing its run as Running, in the only place of the pool, until a run of any flow ends it."""
    monkeypatch.setenv("SEGWATCH_SEGMENTER", f"{FrozenOnce.__module__}:{FrozenOnce.__name__}")
    monkeypatch.setenv("SEGWATCH_LEASE_SECONDS", "3")
    with (
        serving_files({"/a.tif": textured(10, 20, 30)}) as files,
        get_client(sync_client=True) as client,
        one_place(client, "gpu"),
    ):
        queue(worker, files.url, Well.version)
        with working(server, "gpu"):
            killed = _segment()
            _until(client, [killed], lambda one: one.is_running())
            _kill_worker(server, _wait_for_segmenter(worker, tmp_path))
        following = _segment()
        with working(server, "gpu"):
            time.sleep(4)
            assert [state.name for state in _until(client, [killed], lambda one: one.is_running())] == [
                "Running"
            ]
            assert not _until(client, [following], lambda _: True)[0].is_running(), "the place is taken"
            (ended,) = end_lost_runs(worker)
            states = _until(client, [killed, following], lambda one: one.is_final())
    assert "segment run" in ended
    assert [state.name for state in states] == ["Crashed", "Completed"]
    with worker.connect() as conn:
        rows = conn.execute(text("SELECT state, attempts FROM segwatch.observation")).all()
        outcomes = conn.execute(text("SELECT outcome FROM segwatch.run ORDER BY started_at")).scalars().all()
    assert [tuple(row) for row in rows] == [("inferred", 1)], "a lease that runs out is no attempt"
    assert outcomes == ["lost", "completed"]


@contextmanager
def one_place(client: SyncPrefectClient, pool: str) -> Iterator[None]:
    """Let one run at a time into a pool for the length of the block."""
    client.update_work_pool(pool, WorkPoolUpdate(concurrency_limit=1))
    try:
        yield
    finally:
        client.update_work_pool(pool, WorkPoolUpdate(concurrency_limit=100))


def _wait_for_segmenter(engine: Engine, home: Path) -> int:
    """Return the process that segments, once it is at it."""
    until = time.monotonic() + 400
    while not (home / "frozen-once").exists():
        assert time.monotonic() < until
        time.sleep(0.2)
    with engine.connect() as conn:
        worker: str = conn.execute(
            text("SELECT worker FROM segwatch.run WHERE ended_at IS NULL")
        ).scalar_one()
    return int(worker.rpartition("-")[2])


def _kill_worker(server: Server, run: int) -> None:
    """Kill the worker with its keeper first, so that nobody sees the run's process end, then that."""
    service = server.supervisor.find("worker")
    assert service is not None
    os.killpg(service.pid, signal.SIGKILL)
    os.kill(run, signal.SIGKILL)
