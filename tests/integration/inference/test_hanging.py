"""A worker that hangs in native code, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import pytest
from sqlalchemy import Engine, text

from segwatch.flows.config.settings import load_settings
from segwatch.flows.inference.drain import Drain
from tests.support.colour_segmenter import Well
from tests.support.hanging import Frozen, Hanging, Slow
from tests.support.images import textured
from tests.support.serving import serving_files
from tests.support.small_queue import queue

_WORKER = """
import sys, time
from segwatch.db.engine import make_engine
from segwatch.flows.inference.drain import Drain
from segwatch.flows.config.settings import load_settings
from tests.support import hanging
settings = load_settings()
Drain(make_engine(settings.database_url.get_secret_value()), getattr(hanging, sys.argv[1])(), settings).run()
time.sleep(float(sys.argv[2]))
"""


def _drain(database: Any, segmenter: type[Well], then_idle: float = 0) -> subprocess.CompletedProcess[str]:
    settings = {
        "SEGWATCH_DATABASE_URL": database.url(),
        "SEGWATCH_LEASE_SECONDS": "3",
        "SEGWATCH_LINGER_SECONDS": "0",
        "SEGWATCH_STALL_SECONDS": "4",
        "SEGWATCH_EVIDENCE": "none",
    }
    return subprocess.run(
        [sys.executable, "-c", _WORKER, segmenter.__name__, str(then_idle)],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def _attempts(engine: Engine) -> list[tuple[str, int]]:
    with engine.connect() as conn:
        found = conn.execute(text("SELECT state, attempts FROM segwatch.observation ORDER BY acquired_at"))
        return [(row.state, row.attempts) for row in found]


@pytest.mark.parametrize("how", [Hanging, Frozen])
def test_a_worker_that_hangs_ends_and_its_scene_goes_to_another(
    database: Any, engine: Engine, how: type[Well]
) -> None:
    with serving_files({"/a.tif": textured(10, 20, 30)}) as files:
        queue(engine, files.url, how.version)
        hung = _drain(database, how)
        assert hung.returncode == 1
        assert "in segment" in hung.stderr, "where it was is told"
        assert _attempts(engine) == [("leased", 1)]
        update = {"linger_seconds": 0.0, "evidence": "none"}
        settings = load_settings().model_copy(update=update)
        until = time.monotonic() + 300
        while not Drain(engine, Well(), settings).run().inferred:  # the lease ends in some seconds
            assert time.monotonic() < until
            time.sleep(0.2)
    assert _attempts(engine) == [("inferred", 1)]


def test_neither_slow_work_nor_a_process_without_work_hangs(database: Any, engine: Engine) -> None:
    with serving_files({"/a.tif": textured(10, 20, 30)}) as files:
        queue(engine, files.url, Slow.version, count=3)
        done = _drain(database, Slow, then_idle=5)
    assert done.returncode == 0, done.stderr
    assert _attempts(engine) == [("inferred", 1)] * 3
