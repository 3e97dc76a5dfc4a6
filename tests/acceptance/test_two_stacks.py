"""Two demonstrations on one machine, started at the same moment on the same ports, keep out of each other's way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row
from shapely.geometry import mapping

from segwatch.db.embedded.ports import PLACES, find_free_port
from segwatch.flows.services import environment
from segwatch.flows.services.secrets import read_prefect_secret
from segwatch.flows.services.stack import Stack
from tests.acceptance.conftest import COLOUR
from tests.support.made_scenes import Lake, SeriesSpec, make_series
from tests.support.paths import ROOT, make_home


@dataclass(frozen=True)
class Demo:
    """One of the two."""

    name: str
    folder: Path
    stack: Stack

    def query(self, statement: str, *, database: str = "segwatch") -> list[dict[str, Any]]:
        """Rows of a query as superuser."""
        url = self.stack.cluster.info().superuser_url(database)
        with psycopg.connect(url, row_factory=dict_row) as conn:
            return conn.execute(statement).fetchall()


def _make(folder: Path, name: str, left: float, ports: dict[str, int]) -> Demo:
    spec = SeriesSpec(
        collection=f"made-{name}",
        days=("05-01", "05-11"),
        lakes=(Lake("growing", 100, 100, (30, 45)),),
        clouds=(None, None),
        size_px=200,
        left=left,
    )
    made = make_series(folder / "material", spec)
    (folder / "material" / "watches").mkdir()
    watch = {
        "version": 1,
        "name": name,
        "instruction": "segment the water",
        "targets": ["water"],
        "area": {"geojson": mapping(made.area)},
        "source": {"profile": str(made.profile), "catalog": "${SEGWATCH_STAC_URL}"},
        "start": "2024-01-01T00:00:00Z",
        "rules": [
            {
                "name": "any",
                "kinds": ["grew"],
                "status": "provisional",  # two scenes confirm nothing
                "channels": ["${SEGWATCH_RECEIVER_URL}/alerts"],
            }
        ],
    }
    (folder / "material" / "watches" / f"{name}.yaml").write_text(json.dumps(watch))  # JSON is YAML
    home = folder / ".segwatch"
    (home / "services").mkdir(parents=True)
    for service, port in ports.items():
        (home / "services" / f"{service}.port").write_text(str(port))
    (home / "postgres.json").write_text(json.dumps({"port": ports["postgres"]}))
    return Demo(name, folder, Stack(home, say=lambda _: None))


def _start(demo: Demo) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "segwatch.flows.cli", "demo", "--folder", "material"],
        cwd=demo.folder,
        env={**os.environ, **COLOUR, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Demo, Demo]]:
    """Two demonstrations that were started at once, both of which wanted the same six ports, after their runs."""
    folder = make_home("two")
    for name in ("north", "south"):
        (folder / name).mkdir()
    ports = {service: find_free_port() for service in PLACES}
    demos = (
        _make(folder / "north", "north", 600_000.0, ports),
        _make(folder / "south", "south", 620_000.0, ports),
    )
    started = [_start(demo) for demo in demos]
    try:
        told = [one.communicate(timeout=1200)[0] for one in started]
        assert [one.returncode for one in started] == [0, 0], "\n\n".join(told)
        assert any("another program uses port" in text for text in told)
        assert all("make clean to" not in text for text in told), "nobody is advised to delete data"
        yield demos
    finally:
        for one in started:
            one.kill()
        for demo in demos:
            demo.stack.remove()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.timeout(2400)
def test_each_has_ports_of_its_own(both: tuple[Demo, Demo]) -> None:
    one, other = (set(vars_of(demo).values()) | {str(demo.stack.cluster.info().port)} for demo in both)
    assert len(one) == len(other) == 6
    assert not one & other


def vars_of(demo: Demo) -> dict[str, str]:
    urls = demo.stack.urls()
    return {name: getattr(urls, name) for name in ("web", "prefect", "stac", "imagery", "receiver")}


def test_each_has_its_own_data_and_runs(both: tuple[Demo, Demo]) -> None:
    for demo in both:
        objects = demo.query("SELECT watch, item_hrefs FROM watch.objects_now")
        assert {row["watch"] for row in objects} == {demo.name}
        hrefs = {href for row in objects for href in row["item_hrefs"]}
        assert hrefs
        assert all(href.startswith(demo.stack.urls().stac) for href in hrefs)
        runs = demo.query(
            "SELECT parameters ->> 'watch' AS watch, state_type FROM flow_run", database="prefect"
        )
        assert {row["watch"] for row in runs if row["watch"]} == {demo.name}
        assert [row["state_type"] for row in runs if row["watch"]].count("COMPLETED") >= 2, (
            "observe and segment"
        )
        received = [
            json.loads(line) for line in (demo.stack.home / "received.jsonl").read_text().splitlines()
        ]
        assert [one["payload"]["data"]["watch"] for one in received] == [demo.name]


def test_a_worker_of_the_other_gets_no_work(both: tuple[Demo, Demo]) -> None:
    """As one that outlived its own server, and asks at a port that is another's now."""
    here, there = both
    url = here.stack.urls().prefect
    asked = f"{url}/api/work_pools/cpu/get_scheduled_flow_runs"
    user, _, password = read_prefect_secret(here.stack.home).partition(":")
    assert httpx.post(asked, json={}, auth=(user, password), timeout=120).status_code == 200
    user, _, password = read_prefect_secret(there.stack.home).partition(":")
    assert httpx.post(asked, json={}, auth=(user, password), timeout=120).status_code == 401
    assert httpx.post(asked, json={}, timeout=120).status_code == 401
    stray = environment.find_running(there.stack.home) | {"PREFECT_API_URL": f"{url}/api"}
    argv = [sys.executable, "-P", "-m", "prefect", "worker", "start", "--pool", "cpu", "--type", "process"]
    done = subprocess.run(
        [*argv, "--name", "stray", "--run-once"],
        env=os.environ | stray,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert "401" in done.stdout + done.stderr
    workers = {row["name"] for row in here.query("SELECT name FROM worker", database="prefect")}
    assert workers == {"cpu-1", "gpu-1"}


def test_the_prefect_ui_opens_and_its_api_wants_the_password(both: tuple[Demo, Demo]) -> None:
    url = both[0].stack.urls().prefect
    page = httpx.get(f"{url}/", headers={"Accept": "text/html"}, follow_redirects=True, timeout=120)
    assert page.status_code == 200
    assert "<html" in page.text
    assert httpx.get(f"{url}/ui-settings", timeout=120).json()["auth"] == "BASIC"
    foreign = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    answered = httpx.options(f"{url}/api/flow_runs/filter", headers=foreign, timeout=120)
    assert "access-control-allow-origin" not in answered.headers


def test_stopped_and_started_again_each_comes_back_where_it_was(both: tuple[Demo, Demo]) -> None:
    demo = both[0]
    before, port = vars_of(demo), demo.stack.cluster.info().port
    demo.stack.down()
    done = _start(demo)
    told = done.communicate(timeout=900)[0]
    assert done.returncode == 0, told
    assert "Nothing changed since the last run" in told
    assert "another program has port" not in told
    assert (vars_of(demo), demo.stack.cluster.info().port) == (before, port)
