"""The whole system with real parts, started as the demo starts it, on simulated scenes whose truth is known."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import refresh_global_settings_context
from prefect.deployments import run_deployment
from shapely.geometry import mapping
from sqlalchemy import Engine, text
from typer.testing import CliRunner, Result

from segwatch.db.engine import make_engine
from segwatch.flows.cli import app
from segwatch.flows.services.stack import Stack
from tests.support.made_scenes import Lake, MadeSeries, SeriesSpec, make_series
from tests.support.paths import ROOT, make_home

#: The segmenter that knows the truth.
COLOUR = {"SEGWATCH_SEGMENTER": "tests.support.colour_segmenter:ColourSegmenter"}

#: One good scene, one whose file is cut, one under cloud, one without the image asset.
BROKEN = SeriesSpec(
    collection="made-broken",
    days=("05-01", "05-11", "05-21", "05-31"),
    lakes=(Lake("steady", 90, 100, (40,) * 4),),
    clouds=(None, None, (0, 0, 200, 200), None),
    size_px=200,
    left=600_000.0,
)


@dataclass(frozen=True)
class System:
    """The running system and the material it looks at."""

    stack: Stack
    lakes: MadeSeries
    broken: MadeSeries
    folder: Path
    _given: dict[str, str] = field(default_factory=dict)
    """What the workers were started with, beside what is their own."""

    def work(self, environment: Mapping[str, str]) -> None:
        """Have the workers run with this environment: no run brings its own along."""
        pools = ("worker-cpu", "worker-gpu")
        if dict(environment) == self._given and all(map(self.stack.supervisor.find, pools)):
            return
        for name in pools:
            self.stack.supervisor.stop(name)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            self.stack.up_workers()
        self._given.clear()
        self._given.update(environment)

    def work_again(self) -> None:
        """Start workers that have ended, with the environment that they had."""
        self.work(dict(self._given or COLOUR))

    def url(self, role: str = "segwatch_worker") -> str:
        """Database URL of a role."""
        return self.stack.cluster.info().url_for(role)

    def engine(self) -> Engine:
        """A new engine with the worker's rights."""
        return make_engine(self.url())

    def environment(self, **more: str) -> dict[str, str]:
        """Environment of a user's shell next to the running system."""
        return {**os.environ, **self.stack.environment(), "PYTHONPATH": str(ROOT), **more}

    def segwatch(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run the command line in a process of its own."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "segwatch.flows.cli", *arguments],
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=560,
            check=False,
        )

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[bytes]:
        """Start the command line and do not wait for it."""
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "segwatch.flows.cli", *arguments],
            env=self.environment(**more),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def watch_file(self, name: str, series: MadeSeries, **more: Any) -> Path:
        """Write a watch file over a made series."""
        document = {
            "version": 1,
            "name": name,
            "instruction": "segment the water",
            "targets": ["water"],
            "area": {"geojson": mapping(series.area)},
            "source": {"profile": str(series.profile), "catalog": "${SEGWATCH_STAC_URL}"},
            "start": "2024-01-01T00:00:00Z",
            "end": "2025-01-01T00:00:00Z",
            **more,
        }
        file = self.folder / f"{name}.yaml"
        file.write_text(json.dumps(document), encoding="utf-8")  # JSON is YAML
        return file

    @contextmanager
    def beside(self, **more: str) -> Iterator[None]:
        """Give this process the environment of a user's shell: a process of its own takes seconds to start."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment(**more).items():
                patch.setenv(name, value)
            refresh_global_settings_context()
            try:
                yield
            finally:
                patch.undo()
                refresh_global_settings_context()

    def command(self, *arguments: str, **more: str) -> Result:
        """Run the command line in this process."""
        with self.beside(**more):
            return CliRunner().invoke(app, list(arguments))

    def apply(self, name: str, series: MadeSeries, **more: Any) -> None:
        """Store a watch in the ledger, as a user does."""
        done = self.command("apply", str(self.watch_file(name, series, **more)))
        assert done.exit_code == 0, done.output

    def observe(self, watch: str, environment: Mapping[str, str]) -> None:
        """Trigger the main job's deployment and wait for its run on workers with this environment."""
        self.deployed("observe/observe", environment, watch=watch)

    def deployed(self, name: str, environment: Mapping[str, str], **parameters: Any) -> None:
        """Trigger a deployment and wait for its run on workers with this environment."""
        self.work(environment)
        ended = self.ended(name, **parameters)
        assert ended.startswith("COMPLETED"), ended

    def ended(self, name: str, **parameters: Any) -> str:
        """Trigger a deployment; how its run ended, and what it said."""
        with self.beside():
            run = cast(FlowRun, run_deployment(name, parameters=parameters, timeout=500, poll_interval=1))
        assert run.state is not None
        return f"{run.state.type.value} {run.state.message or ''}"

    def unschedule(self) -> None:
        """Let tests see what they start themselves: other runs have other channels and segmenters than theirs."""
        with self.beside(), get_client(sync_client=True) as client:
            for one in client.read_deployments():
                for each in client.read_deployment_schedules(one.id):
                    assert each.id is not None
                    client.update_deployment_schedule(one.id, each.id, active=False)

    def query(self, statement: str, **values: object) -> list[dict[str, Any]]:
        """Rows of a query with the worker's rights."""
        engine = self.engine()
        with engine.connect() as conn:
            rows = [dict(row) for row in conn.execute(text(statement), values).mappings()]
        engine.dispose()
        return rows

    def counts(self) -> dict[str, int]:
        """Rows of every table but the log of runs."""
        tables = self.query(
            "SELECT table_name AS name FROM information_schema.tables "
            "WHERE table_schema = 'segwatch' AND table_type = 'BASE TABLE' AND table_name <> 'run' ORDER BY 1"
        )
        return {
            row["name"]: self.query(f"SELECT count(*) AS n FROM segwatch.{row['name']}")[0]["n"]
            for row in tables
        }

    def received(self) -> list[dict[str, Any]]:
        """Messages the webhook receiver accepted."""
        file = self.stack.home / "received.jsonl"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="package")
def system() -> Iterator[System]:
    """Everything, up; made once for all acceptance tests."""
    home = make_home("acceptance")
    folder = home / "material"
    lakes = make_series(folder)
    broken = _break(make_series(folder, BROKEN))
    stack = Stack(home / "state", say=lambda _: None)
    made = System(stack, lakes, broken, folder)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)  # the workers import the tests' segmenter
    try:
        stack.up_database()
        stack.up_catalog(folder / "imagery", folder / "stac")
        stack.up_receiver()
        stack.up_prefect()
        deployed = made.command("deploy")
        assert deployed.exit_code == 0, deployed.output
        made.unschedule()
        made.work(COLOUR)
        stack.up_web()
        yield made
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
        stack.down()
        stack.cluster.destroy()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(autouse=True)
def _workers_at_work(request: pytest.FixtureRequest) -> None:
    """Start the workers again that a test before ended: tests run in any order."""
    if "system" in request.fixturenames:
        request.getfixturevalue("system").work_again()


def _break(series: MadeSeries) -> MadeSeries:
    image = series.imagery / "made-broken" / "05-11.tif"
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    item = series.stac / "made-broken" / "items" / "made-broken-2024-05-31.json"
    document = json.loads(item.read_text(encoding="utf-8"))
    del document["assets"]["image"]
    item.write_text(json.dumps(document), encoding="utf-8")
    return series
