"""A deployment's runs work on any worker, wherever it was deployed from."""

from __future__ import annotations

import sys
from typing import Any

from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from sqlalchemy import Engine

from tests.integration.runs.conftest import Server


def test_no_deployment_has_a_step_that_needs_the_machine_it_came_from(server: Server) -> None:
    with get_client(sync_client=True) as client:
        assert {one.name: one.pull_steps for one in client.read_deployments()} == {
            name: [] for name in server.shipped
        }


def test_a_worker_runs_what_was_deployed_from_a_folder_that_is_gone(server: Server, worker: Engine) -> None:
    argv = [sys.executable, "-P", "-m", "prefect", "worker", "start", "--pool", "gpu", "--type", "process"]
    server.supervisor.start("worker", argv, server.environment)
    try:
        run: Any = run_deployment("segment/segment", timeout=120, poll_interval=1)
    finally:
        server.supervisor.stop("worker")
    assert run.state.is_completed(), run.state.message
