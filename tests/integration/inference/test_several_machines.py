"""Years of one watch shared by machines of different versions and devices, and what history makes way for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from segwatch.db import ledger
from segwatch.flows.pipeline.tracking import track_ready
from tests.conftest import Database
from tests.support import small_queue
from tests.support.colour_segmenter import Well
from tests.support.images import textured
from tests.support.machine import SlowWell
from tests.support.paths import ROOT
from tests.support.serving import serving_files

#: Pool, version of the code and device of each worker; the pool of two devices is one machine with one home.
MACHINES = (
    ("gpu", "now", "cuda:0"),
    ("gpu", "now", "cuda:1"),
    ("gpu-old", "before", "cuda:0"),
    ("cpu", "now", "cpu"),
)
SCENES = 24


@contextmanager
def machine(database: Database, home: Path, version: str, device: str) -> Iterator[subprocess.Popen[str]]:
    """A worker that is ready to work; killed at the end of the block."""
    home.mkdir(exist_ok=True)
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("SEGWATCH_", "PREFECT_"))
    }
    environment = kept | {
        "PYTHONPATH": str(ROOT),
        "SEGWATCH_DATABASE_URL": database.url(),
        "SEGWATCH_HOME": str(home),
        "SEGWATCH_DEVICE": device,
        "SEGWATCH_SEGMENTER": f"{SlowWell.__module__}:{SlowWell.__name__}",
        "SEGWATCH_IMAGERY_HOSTS": '["127.0.0.1:*"]',
        "SEGWATCH_ALLOWED_ADDRESSES": '["127.0.0.0/8"]',
        "SEGWATCH_LINGER_SECONDS": "0",
    }
    argv = [sys.executable, "-P", "-m", "tests.support.machine", version]
    started = subprocess.Popen(
        argv, env=environment, cwd=home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


@pytest.mark.timeout(900)
def test_machines_of_two_versions_share_years_of_one_watch_and_nothing_is_done_twice(
    engine: Engine, database: Database, tmp_path: Path
) -> None:
    with serving_files({"/a.tif": textured(10, 20, 30)}) as files, ExitStack() as stack:
        small_queue.queue(engine, files.url, Well.version, count=SCENES)
        workers = [
            stack.enter_context(machine(database, tmp_path / pool, version, device))
            for pool, version, device in MACHINES
        ]
        for one in workers:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        for one in workers:
            assert one.stdin is not None
            one.stdin.write("go\n")
            one.stdin.flush()
        done = [json.loads(one.communicate(timeout=600)[0].splitlines()[-1]) for one in workers]
    assert [one.returncode for one in workers] == [0] * len(workers)
    counts = Counter(scene for scenes in done for scene in scenes)
    expected = {(small_queue.NOW + timedelta(days=day)).isoformat() for day in range(SCENES)}
    assert counts == dict.fromkeys(expected, 1)
    assert all(done), "every machine did some"
    track_ready(engine)
    with engine.connect() as conn:
        rows = conn.exec_driver_sql(
            "SELECT state, attempts, count(*) FROM segwatch.observation GROUP BY 1, 2"
        ).all()
    assert [tuple(row) for row in rows] == [("observed", 1, SCENES)]


def test_history_makes_way_for_new_scenes_and_both_for_disasters(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "http://example.org"
    small_queue.queue(engine, url, Well.version, name="history", count=3)
    monkeypatch.setattr(small_queue, "NOW", datetime.now(UTC).replace(microsecond=0) - timedelta(days=3))
    small_queue.queue(engine, url, Well.version, name="history", count=1)
    small_queue.queue(engine, url, Well.version, name="today", first=1)
    small_queue.queue(engine, url, Well.version, name="disaster", first=2, priority=900)
    taken = []
    for _ in range(6):
        with engine.begin() as conn:
            leased = ledger.lease(conn, worker="w", seconds=60, model_version=Well.version)
        assert leased is not None
        taken.append((leased.observations[0].watch.name, leased.scene.acquired_at.year > 2024))
    assert taken == [
        ("disaster", True), ("history", True), ("today", True), *[("history", False)] * 3,
    ]  # fmt: skip
