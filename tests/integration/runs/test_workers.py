"""A deployment's runs work on any worker, wherever it was deployed from."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from sqlalchemy import Engine

from tests.integration.runs.conftest import Server


def test_no_deployment_has_a_step_that_needs_the_machine_it_came_from(server: Server) -> None:
    with get_client(sync_client=True) as client:
        assert {one.name: one.pull_steps for one in client.read_deployments()} == {
            name: [] for name in server.shipped
        }


def test_a_worker_runs_what_was_deployed_from_a_folder_that_is_gone(server: Server, worker: Engine) -> None:
    with working(server, "gpu"):
        run: Any = run_deployment("segment/segment", timeout=120, poll_interval=1)
    assert run.state.is_completed(), run.state.message


def test_what_was_due_while_no_worker_was_there_is_not_all_run_at_once(
    server: Server, worker: Engine
) -> None:
    due = {cast(FlowRun, run_deployment("deliver/deliver", timeout=0)).id for _ in range(3)}
    with working(server, "cpu"), get_client(sync_client=True) as client:
        until = time.monotonic() + 120
        while True:
            states = [state for one in due if (state := client.read_flow_run(one).state) is not None]
            if all(state.is_final() for state in states):
                break
            assert time.monotonic() < until, states
            time.sleep(0.5)
    ended = [state.name for state in states]
    assert ended.count("Cancelled") >= 2, ended  # the third, where none of the schedule came before it


@contextmanager
def working(server: Server, pool: str) -> Iterator[None]:
    """A worker of the pool for the length of the block."""
    argv = [sys.executable, "-P", "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"]
    server.supervisor.start("worker", argv, server.environment)
    try:
        yield
    finally:
        server.supervisor.stop("worker")
