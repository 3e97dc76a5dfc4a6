"""Background services: started once, stopped whole, and never mistaken for a stranger's process."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from segwatch.db.embedded.ports import PLACES, find_free_port
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.errors import PortLost, ServiceError
from segwatch.flows.runtime import quicklook_store
from segwatch.flows.services import accounts, keeper
from segwatch.flows.services.stack import Stack
from segwatch.flows.services.supervisor import Supervisor
from tests.support.serving import serving

_SERVES = (
    "import http.server as h; h.HTTPServer(('127.0.0.1', {}), h.SimpleHTTPRequestHandler).serve_forever()"
)
SLEEPER_SH = ["/bin/sleep", "600"]
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
    deadline = time.monotonic() + 120
    while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    child = int(pid_file.read_text())
    supervisor.stop("parent")
    assert not _lives(child)


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
        supervisor.wait("broken", "http://127.0.0.1:9/")


def test_a_slow_service_is_no_broken_one(supervisor: Supervisor) -> None:
    supervisor.start("slow", SLEEPER, {})
    with pytest.raises(ServiceError, match=r"but it runs; .*repeat the command later.*slow\.log is empty"):
        supervisor.wait("slow", "http://127.0.0.1:9/", seconds=0.5)
    assert supervisor.find("slow") is not None


def test_a_port_is_kept_until_another_program_has_it(supervisor: Supervisor) -> None:
    port = supervisor.port("web")
    assert supervisor.port("web") == port == supervisor.remembered_port("web")
    with _listener(port):
        moved = supervisor.port("web")
        assert moved != port
    assert supervisor.port("web") == moved, "and the new one is kept"


def test_homes_have_ports_of_their_own(tmp_path: Path) -> None:
    """Also while one of them is stopped: its URLs are in its ledger."""
    homes = [Supervisor(tmp_path / name) for name in ("one", "two", "three")]
    ports = [one.port(name) for one in homes for name in PLACES]
    assert len(set(ports)) == len(ports)
    assert [one.port(name) for one in homes for name in PLACES] == ports
    client_ports = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    assert max(ports) < 30_000 or max(ports) < int(client_ports[0])


def test_a_service_is_started_anew_when_it_is_to_be_another(supervisor: Supervisor) -> None:
    first = supervisor.start("one", SLEEPER, {"WHERE": "here"})
    second = supervisor.start("one", SLEEPER, {"WHERE": "there"})
    assert first.pid != second.pid
    assert not _lives(first.pid)
    assert supervisor.start("one", SLEEPER, {"WHERE": "there"}) == second


def test_a_service_that_cannot_listen_has_lost_its_port(supervisor: Supervisor) -> None:
    port = supervisor.port("web")
    with _listener(port):
        supervisor.start("web", [sys.executable, "-c", _SERVES.format(port)], {})
        with pytest.raises(PortLost, match=str(port)):
            supervisor.wait("web", f"http://127.0.0.1:{port}/")
    moved = supervisor.change_port("web")
    assert moved != port
    supervisor.start("web", [sys.executable, "-c", _SERVES.format(moved)], {})
    supervisor.wait("web", f"http://127.0.0.1:{moved}/")


def test_a_stranger_that_answers_in_its_place_is_not_taken_for_the_service(supervisor: Supervisor) -> None:
    """As when two stacks that start at the same time have chosen the same port."""
    with serving({"/healthz": (200, {}, b"ok")}) as stranger:
        supervisor.start("web", SLEEPER, {})
        with pytest.raises(PortLost, match="another program responds"):
            supervisor.wait("web", f"{stranger}/healthz")
    assert supervisor.running() == []


@contextmanager
def _listener(port: int) -> Iterator[None]:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        yield


def _lives(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] not in {"Z", "X"}


@pytest.fixture
def shared_python(monkeypatch: pytest.MonkeyPatch) -> str:
    """A Python that other users can run, for services and their keepers."""
    python = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
    monkeypatch.setattr(sys, "_base_executable", python)
    return python


@pytest.mark.usefixtures("shared_python")
def test_a_service_has_an_account_of_its_own_and_nothing_else() -> None:
    """As root; an ordinary user has none to give away."""
    # not tmp_path: other users cannot enter that of root
    home = Path(tempfile.mkdtemp(prefix="segwatch-accounts-", dir="/tmp"))
    home.chmod(0o711)
    (home / "secret").write_text("x")
    (home / "secret").chmod(0o600)
    made = [accounts.make_account(home, name) for name in ("web", "worker-cpu", "worker-gpu")]
    supervisor = Supervisor(home)
    try:
        if os.geteuid() != 0:
            assert made == [None] * 3
            return
        web, cpu, gpu = (one for one in made if one is not None)
        assert len({web.uid, cpu.uid, gpu.uid, 0}) == 4
        assert cpu.gid == gpu.gid != web.gid
        script = (
            'id -u; id -G; umask; echo "$KEPT $GONE"; cat "$1/secret"; ls "$1/accounts/worker-cpu"; '
            'touch "$HOME/mine" && stat -c %a "$HOME/mine"'
        )
        supervisor.start(
            "web",
            ["/bin/sh", "-c", script, "sh", str(home)],
            web.environment(),
            inherited={"PATH": os.environ["PATH"], "KEPT": "kept"},
            account=web,
        )
        said = _log_of(home, "web", until="600")
        assert said.splitlines()[:4] == [str(web.uid), str(web.gid), "0077", "kept "]
        assert said.count("Permission denied") == 2
        assert (home / "logs" / "web.log").stat().st_mode & 0o077 == 0
        assert (home / "logs").stat().st_mode & 0o077 == 0
    finally:
        supervisor.stop_all()
        shutil.rmtree(home)


def test_an_account_that_cannot_run_segwatch_is_told_why() -> None:
    if (
        who := accounts.make_account(Path(tempfile.mkdtemp(prefix="segwatch-accounts-", dir="/tmp")), "web")
    ) is None:
        assert os.geteuid() != 0
        return
    home = who.folder.parents[1]
    try:
        home.chmod(0o700)
        assert "ermission" in str(accounts.find_obstacle(who, {}))
    finally:
        shutil.rmtree(home)


@pytest.mark.parametrize("interpreter", ["executable", "_base_executable"])
def test_the_folder_that_bars_is_named(monkeypatch: pytest.MonkeyPatch, interpreter: str) -> None:
    """Also the folder of a link on the way to Python, as where Python is root's own and the environment a copy."""
    top = Path(tempfile.mkdtemp(prefix="segwatch-accounts-", dir="/tmp"))
    try:
        top.chmod(0o755)
        (top / "home").mkdir(mode=0o711)
        (top / "private").mkdir(mode=0o700)
        (top / "bin").mkdir()
        (top / "private" / "python").symlink_to(sys.executable)
        (top / "bin" / "python").symlink_to("../private/python")
        before = accounts.list_barring_folders(top / "home")
        monkeypatch.setattr(sys, interpreter, str(top / "bin" / "python"))
        assert [one for one in accounts.list_barring_folders(top / "home") if one not in before] == [
            top / "private"
        ]
        if os.geteuid() == 0:
            told: list[str] = []
            stack = Stack(top / "home", say=told.append)
            assert stack._account("imagery") is stack._account("web") is None
            (said,) = told
            assert f"chmod o+x {shlex.join(map(str, accounts.list_barring_folders(top / 'home')))}" in said
            assert all(name in said for name in accounts.SERVICES)
    finally:
        shutil.rmtree(top)


def test_a_port_of_a_service_with_an_account_is_known_for_its_own(shared_python: str) -> None:
    home = Path(tempfile.mkdtemp(prefix="segwatch-accounts-", dir="/tmp"))
    home.chmod(0o711)
    supervisor = Supervisor(home)
    try:
        who = accounts.make_account(home, "web")
        port = find_free_port()
        supervisor.start("web", [shared_python, "-c", _SERVES.format(port)], {}, account=who)
        supervisor.wait("web", f"http://127.0.0.1:{port}/")
        with serving({"/": (200, {}, b"x")}) as other:
            supervisor.start("receiver", SLEEPER_SH, {}, account=accounts.make_account(home, "receiver"))
            with pytest.raises(PortLost):
                supervisor.wait("receiver", f"{other}/")
    finally:
        supervisor.stop_all()
        shutil.rmtree(home)


def test_evidence_of_before_is_shared_by_the_workers(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        assert accounts.make_account(tmp_path, "worker-cpu") is None
        return
    (tmp_path / "evidence" / "lakes").mkdir(parents=True)
    picture = tmp_path / "evidence" / "lakes" / "one.jpg"
    picture.write_text("x")
    (tmp_path / "evidence" / "away").symlink_to("/etc/passwd")
    before = Path("/etc/passwd").stat()
    cpu, gpu = (accounts.make_account(tmp_path, name) for name in ("worker-cpu", "worker-gpu"))
    assert cpu is not None
    assert gpu is not None
    for who in (cpu, gpu):
        accounts.share_evidence(tmp_path, who)
    assert Path("/etc/passwd").stat() == before
    assert (picture.stat().st_gid, picture.stat().st_mode & 0o777) == (cpu.gid, 0o660)
    # what this process, root, adds later is shared, too
    settings = FlowSettings(home=tmp_path)
    assert quicklook_store.store_file(settings, "shore/deep/two.jpg", b"x") is not None
    for path in ("shore", "shore/deep", "shore/deep/two.jpg"):
        found = (tmp_path / "evidence" / path).stat()
        assert found.st_gid == cpu.gid
        assert found.st_mode & 0o070 == (0o060 if path.endswith(".jpg") else 0o070)
        assert found.st_mode & 0o007 == 0


def _log_of(home: Path, name: str, *, until: str, times: int = 1) -> str:
    deadline = time.monotonic() + 120
    file = home / "logs" / f"{name}.log"
    while (said := file.read_text()).count(until) < times and time.monotonic() < deadline:
        time.sleep(0.05)
    return said


def test_a_service_that_ends_by_itself_is_started_again(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Prefect's worker does after an outage of its server."""
    monkeypatch.setattr("segwatch.flows.services.supervisor.keeper", _hasty_keeper(tmp_path))
    script = "import os, sys, time; print('pid', os.getpid(), flush=True); time.sleep(600)"
    service = supervisor.start("one", [sys.executable, "-c", script], {})
    first = int(_log_of(tmp_path, "one", until="\n").split()[1])
    assert supervisor.restarts() == []
    time.sleep(0.3)
    os.kill(first, signal.SIGKILL)
    log = _log_of(tmp_path, "one", until="pid", times=2)
    assert "the service ended unexpectedly" in log
    assert "signal 9" in log
    assert supervisor.find("one") == service
    assert supervisor.ended() == []
    (restart,) = supervisor.restarts()
    assert (restart.name, restart.restarts, restart.how) == ("one", 1, "signal 9")
    second = int(log.split()[-1])
    assert _lives(second)
    supervisor.stop("one")
    assert not _lives(second)
    assert supervisor.ended() == []


def test_a_service_dies_with_its_keeper_and_is_known_to_have_ended(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    script = "import os, time; print('pid', os.getpid(), flush=True); time.sleep(600)"
    service = supervisor.start("one", [sys.executable, "-c", script], {})
    child = int(_log_of(tmp_path, "one", until="\n").split()[1])
    os.kill(service.pid, signal.SIGKILL)
    deadline = time.monotonic() + 120
    while (_lives(child) or _lives(service.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _lives(child)
    assert supervisor.ended() == ["one"]


def test_workers_are_stopped_before_the_server_that_they_poll(supervisor: Supervisor) -> None:
    for name in ("prefect", "web", "worker-cpu"):
        supervisor.start(name, SLEEPER, {})
    assert supervisor.stop_all() == ["worker-cpu", "prefect", "web"]


def test_after_stopping_no_service_counts_as_ended_by_itself(supervisor: Supervisor) -> None:
    service = supervisor.start("one", SLEEPER, {})
    os.killpg(service.pid, signal.SIGKILL)
    os.waitpid(service.pid, 0)
    assert supervisor.ended() == ["one"]
    assert supervisor.stop_all() == []
    assert supervisor.ended() == []


def _hasty_keeper(folder: Path) -> ModuleType:
    """The keeper, which takes a service that ran for 0.2 s for one that can be started."""
    file = folder / "keeper.py"
    code = Path(keeper.__file__).read_text()
    assert "FIRST_SECONDS = 10.0" in code
    file.write_text(code.replace("FIRST_SECONDS = 10.0", "FIRST_SECONDS = 0.2"))
    made = ModuleType("keeper")
    made.__file__ = str(file)
    return made
