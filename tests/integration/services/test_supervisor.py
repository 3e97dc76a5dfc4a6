"""Background services: started once, stopped whole, and never mistaken for a stranger's process."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from segwatch.flows.errors import ServiceError
from segwatch.flows.services.supervisor import Supervisor
from tests.support.serving import serving

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path)
    yield made
    made.stop_all()


def test_starting_twice_keeps_one_process(supervisor: Supervisor) -> None:
    first = supervisor.start("one", SLEEPER, {})
    assert supervisor.start("one", SLEEPER, {}) == first
    assert [service.name for service in supervisor.running()] == ["one"]


def test_stopping_twice_is_fine(supervisor: Supervisor) -> None:
    supervisor.start("one", SLEEPER, {})
    assert supervisor.stop("one")
    assert not supervisor.stop("one")
    assert supervisor.running() == []


def test_children_are_stopped_with_their_parent(supervisor: Supervisor, tmp_path: Path) -> None:
    pid_file = tmp_path / "child.pid"
    script = (
        "import subprocess, sys, time, pathlib;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(child.pid)); time.sleep(600)"
    )
    supervisor.start("parent", [sys.executable, "-c", script], {})
    deadline = time.monotonic() + 20
    while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    child = int(pid_file.read_text())
    supervisor.stop("parent")
    stat = Path(f"/proc/{child}/stat")
    assert not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] in {"Z", "X"}


def test_a_killed_service_starts_again(supervisor: Supervisor) -> None:
    first = supervisor.start("one", SLEEPER, {})
    os.killpg(first.pid, signal.SIGKILL)
    os.waitpid(first.pid, 0)
    assert supervisor.find("one") is None
    assert supervisor.start("one", SLEEPER, {}).pid != first.pid


def test_a_recycled_pid_is_not_ours(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start("one", SLEEPER, {})
    supervisor.stop("one")
    record = tmp_path / "services" / "one.json"
    record.write_text(json.dumps({"name": "one", "pid": os.getpid(), "started": 1}))
    assert supervisor.find("one") is None
    assert not supervisor.stop("one")  # and this test lives on


def test_a_service_that_ends_shows_its_log(supervisor: Supervisor) -> None:
    supervisor.start("broken", [sys.executable, "-c", "raise SystemExit('no such setting')"], {})
    with pytest.raises(ServiceError, match="no such setting"):
        supervisor.wait("broken", "http://127.0.0.1:9/", seconds=20)


def test_the_port_is_remembered_and_a_taken_one_explained(supervisor: Supervisor) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        port = supervisor.port("web", taken)
        assert port != taken
    assert supervisor.port("web", taken) == port
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(ServiceError, match=f"port {port}.*make clean"):
            supervisor.port("web", taken)


def test_a_stranger_that_answers_in_its_place_is_not_taken_for_the_service(supervisor: Supervisor) -> None:
    """As when two stacks that start at the same time have chosen the same port."""
    with serving({"/healthz": (200, {}, b"ok")}) as stranger:
        supervisor.start("web", SLEEPER, {})
        with pytest.raises(ServiceError, match="another program answers"):
            supervisor.wait("web", f"{stranger}/healthz", seconds=20)
    assert supervisor.running() == []
    serves = (
        "import http.server as h; h.HTTPServer(('127.0.0.1', {}), h.SimpleHTTPRequestHandler).serve_forever()"
    )
    port = supervisor.port("web", 1)
    supervisor.start("web", [sys.executable, "-c", serves.format(port)], {})
    supervisor.wait("web", f"http://127.0.0.1:{port}/", seconds=20)
