"""A real Prefect server, deployed to from a folder that is gone when the tests begin."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import DeploymentSchedule, FlowRun
from prefect.context import refresh_global_settings_context
from sqlalchemy import Engine

from segwatch.db.embedded.ports import find_free_port
from segwatch.flows.orchestration import deploy
from segwatch.flows.services.supervisor import Supervisor
from tests.support.colour_segmenter import ColourSegmenter
from tests.support.paths import ROOT

COLOUR = f"{ColourSegmenter.__module__}:{ColourSegmenter.__name__}"


@dataclass(frozen=True)
class Server:
    """A Prefect server; this process talks to it while a test runs."""

    supervisor: Supervisor
    environment: dict[str, str]
    shipped: dict[str, list[bool]]
    """By deployment, whether its schedules were switched on after the first deployment."""

    def schedules(self, deployment: str) -> dict[str, DeploymentSchedule]:
        """Schedules of a deployment, by slug or expression."""
        with _client() as client:
            found = client.read_deployment_schedules(client.read_deployment_by_name(deployment).id)
        return {one.slug or str(getattr(one.schedule, "cron", "?")): one for one in found}

    def log(self) -> Path:
        """What the server says."""
        return Path(self.environment["PREFECT_HOME"]).parent / "logs" / "prefect.log"

    def watch_schedules(self) -> dict[str, list[DeploymentSchedule]]:
        """Schedules of each watch's own deployment, by watch."""
        with _client() as client:
            return {
                one.name.removeprefix("watch-"): client.read_deployment_schedules(one.id)
                for one in client.read_deployments()
                if one.name.startswith("watch-")
            }

    def scheduled(self) -> set[str]:
        """Watches that have a schedule."""
        return {name for name, schedules in self.watch_schedules().items() if schedules}

    def forget_watches(self) -> None:
        """Without the deployments of watches, and without what was scheduled on the shared one."""
        with _client() as client:
            for one in client.read_deployments():
                if one.name.startswith("watch-"):
                    client.delete_deployment(one.id)
            observe = client.read_deployment_by_name("observe/observe")
            for each in client.read_deployment_schedules(observe.id):
                assert each.id is not None
                client.delete_deployment_schedule(observe.id, each.id)

    def runs(self, flow: str, **parameters: Any) -> list[FlowRun]:
        """Runs of a deployment that were asked for with these parameters."""
        with _client() as client:
            deployment = client.read_deployment_by_name(flow)
            every = client.read_flow_runs()
        return [one for one in every if one.deployment_id == deployment.id and one.parameters == parameters]


def _client() -> SyncPrefectClient:
    return get_client(sync_client=True)


@pytest.fixture(scope="package")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("prefect")
    supervisor = Supervisor(home)
    port = find_free_port()
    environment = {
        "PREFECT_HOME": str(home / "home"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PYTHONPATH": str(ROOT),
        "DO_NOT_TRACK": "1",
    }
    argv = [sys.executable, "-P", "-m", "prefect", "server", "start", "--no-ui", "--host", "127.0.0.1"]
    try:
        supervisor.start("prefect", [*argv, "--port", str(port)], environment)
        supervisor.wait("prefect", f"http://127.0.0.1:{port}/api/health")
        with pytest.MonkeyPatch.context() as patch:
            _talk_to(environment, patch)
            folder = home / "deployed-from"
            shutil.copytree(deploy.find_deployments_folder(), folder)
            deploy.deploy_flows(folder)
            shutil.rmtree(folder)
            with _client() as client:
                shipped = {
                    one.name: [each.active for each in client.read_deployment_schedules(one.id)]
                    for one in client.read_deployments()
                }
        yield Server(supervisor, environment, shipped)
    finally:
        supervisor.stop_all()
        refresh_global_settings_context()


@pytest.fixture
def server(_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server, with the environment of a process that uses it."""
    with monkeypatch.context() as patch:
        _talk_to(_server.environment, patch)
        yield _server
        _server.forget_watches()
    refresh_global_settings_context()


@pytest.fixture
def worker(
    server: Server, database: Any, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Engine:
    """The ledger of this process' runs, which answer by colour."""
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())
    monkeypatch.setenv("SEGWATCH_SEGMENTER", COLOUR)
    monkeypatch.setenv("SEGWATCH_HOME", str(tmp_path))
    monkeypatch.setenv("SEGWATCH_LINGER_SECONDS", "0")
    return engine


def _talk_to(environment: dict[str, str], patch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        patch.setenv(name, value)
    refresh_global_settings_context()
