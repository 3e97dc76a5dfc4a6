"""A service of the demo that ends by itself is started again; one that cannot be is reported."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from segwatch.flows.services import keeper
from tests.acceptance.conftest import System


def test_a_worker_that_ends_is_started_again_and_one_that_is_gone_is_reported(system: System) -> None:
    supervisor = system.stack.supervisor
    service = supervisor.find("worker-cpu")
    assert service is not None
    until(lambda: _children(service.pid) != [])
    (first,) = _children(service.pid)
    # one that ends sooner counts as one that cannot be started
    until(lambda: time.time() - Path(f"/proc/{first}").stat().st_ctime > keeper.FIRST_SECONDS)
    os.kill(first, signal.SIGTERM)
    until(lambda: _children(service.pid) not in ([], [first]))
    assert "worker-cpu" in {one.name for one in supervisor.restarts()}, "others may have been killed before"

    os.kill(service.pid, signal.SIGKILL)
    until(lambda: supervisor.find("worker-cpu") is None)
    done = system.segwatch("status", "--json")
    said = json.loads(done.stdout)
    assert done.returncode == 1, "wrong is not 0"
    names = [one["name"] for one in said["services"]]
    assert names[0] == "postgres"
    assert "worker-cpu" not in names
    found = [
        one
        for one in said["findings"]
        # workers that other tests ended count as online until their heartbeats are old
        if one["about"] in ("services", "workers") and "cpu" in one["says"] and one["level"] == "wrong"
    ]
    assert [one["about"] for one in found] == ["services"], found
    assert "make demo" in found[0]["fix"]
    supervisor.stop("worker-cpu")


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)
