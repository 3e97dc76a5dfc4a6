"""Start, watch and stop local background services, remembered in one JSON file each.

A service is identified by pid *and* the pid's start time, so a recycled pid is never taken for ours.
Starting twice, stopping twice, and starting after a kill are all fine. A service whose command or environment is
another than before is started anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from segwatch.db.embedded import ports
from segwatch.flows.errors import PortLost, ServiceError
from segwatch.flows.services.accounts import Account

_STOP_SECONDS = 15.0
#: What services say of a port that they do not get.
_IN_USE = re.compile(
    "address already in use|is already in use|already running on port|port \\d+ is taken", re.IGNORECASE
)
_LISTEN = "0A"
"""The state in /proc/net/tcp."""


@dataclass(frozen=True, slots=True)
class Service:
    """One running process."""

    name: str
    pid: int
    started: int
    """Start time of the process in clock ticks since boot."""
    command: str = ""
    """Digest of its command and of the environment that it was given."""


class Supervisor:
    """Background services of one home folder."""

    def __init__(self, home: Path) -> None:
        self._home = home.absolute()
        self._folder = self._home / "services"
        self._logs = self._home / "logs"
        self._log_starts: dict[str, int] = {}

    def port(self, name: str) -> int:
        """The port of a service: chosen once and kept, so that URLs stay valid.

        Should another program have taken it while the service was down, another port is chosen.
        """
        remembered = self.remembered_port(name)
        if remembered is not None and (self.find(name) is not None or ports.is_free(remembered)):
            return remembered
        return self._choose_port(name, remembered)

    def remembered_port(self, name: str) -> int | None:
        """The port that was chosen for a service; chooses none."""
        try:
            return int((self._folder / f"{name}.port").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def change_port(self, name: str) -> int:
        """Another port for a service, whose own one was lost to another program."""
        return self._choose_port(name, self.remembered_port(name))

    def _choose_port(self, name: str, lost: int | None) -> int:
        port = ports.choose(self._home, name, lost=() if lost is None else (lost,))
        _write(self._folder / f"{name}.port", str(port))
        return port

    def find(self, name: str) -> Service | None:
        """The running service of that name."""
        try:
            service = Service(**json.loads((self._folder / f"{name}.json").read_text()))
        except (FileNotFoundError, json.JSONDecodeError, TypeError):
            return None
        return service if _start_ticks(service.pid) == service.started else None

    def running(self) -> list[Service]:
        """All running services, by name."""
        names = sorted(file.stem for file in self._folder.glob("*.json")) if self._folder.exists() else []
        return [service for name in names if (service := self.find(name)) is not None]

    def start(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        *,
        inherited: Mapping[str, str] | None = None,
        account: Account | None = None,
    ) -> Service:
        """Start a service unless it runs already, as it is asked for; its output goes to ``logs/<name>.log``.

        Parameters
        ----------
        name
            Of the service.
        argv
            Its command, which everybody on the machine may read.
        env
            What it is told; another ``env`` starts it anew.
        inherited
            What it gets beside ``env``; None for all that this process has.
        account
            Who it runs as; None for this process's user.
        """
        asked = [list(argv), sorted(env.items()), None if account is None else account.uid]
        command = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
        found = self.find(name)
        if found is not None and found.command == command:
            return found
        if found is not None:
            self.stop(name)
        with self._log(name) as log:
            self._log_starts[name] = log.tell()
            # a shell's background jobs ignore SIGINT, and Prefect's CLI stops its children with it
            process = subprocess.Popen(
                ["env", "--default-signal=INT", *argv],
                env={**(os.environ if inherited is None else inherited), **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=0o077 if account is None else account.umask,
                user=None if account is None else account.uid,
                group=None if account is None else account.gid,
                extra_groups=None if account is None else list(account.groups),
            )
        service = Service(name, process.pid, _start_ticks(process.pid) or 0, command)
        _write(self._folder / f"{name}.json", json.dumps(asdict(service)))
        return service

    def _log(self, name: str) -> BinaryIO:
        """The log of a service, which only this user can read, open for appending."""
        _make_private(self._logs)
        file = (self._logs / f"{name}.log").open("ab")
        os.fchmod(file.fileno(), 0o600)
        return file

    def wait(self, name: str, url: str, seconds: float = 90.0) -> None:
        """Wait until the service answers ``url`` with success.

        Raises
        ------
        PortLost
            Another program listens at the port of ``url``.
        ServiceError
            The process ended or did not answer in time; the end of its log is in the message.
        """
        import httpx

        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            service = self.find(name)
            if service is None:
                raise self._ended(name, url)
            try:
                if httpx.get(url, timeout=2.0).is_success:
                    self._check_answers(service, url)
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.2)
        raise ServiceError(
            f"service {name} did not answer at {url} within {seconds:.0f} s; {self._tail(name)}"
        )

    def _ended(self, name: str, url: str) -> ServiceError:
        """Why a service ended while starting."""
        log = self._logs / f"{name}.log"
        said = log.read_bytes()[self._log_starts.get(name, 0) :].decode(errors="replace")
        if _IN_USE.search(said) or not ports.is_free(urlsplit(url).port or 0):
            return PortLost(
                f"service {name} could not listen at {url}: another program does; try again, it takes another"
            )
        return ServiceError(f"service {name} ended while starting; {self._tail(name)}")

    def _check_answers(self, service: Service, url: str) -> None:
        """Two that start at the same time may choose the same port; the second must not take the first for itself."""
        if not _listens(service.pid, urlsplit(url).port or 0):
            self.stop(service.name)
            raise PortLost(f"another program answers at {url} in the place of service {service.name}")

    def stop(self, name: str) -> bool:
        """Stop a service and everything it started; False when it was not running."""
        service = self.find(name)
        if service is not None:
            _stop_group(service)
        (self._folder / f"{name}.json").unlink(missing_ok=True)
        return service is not None

    def stop_all(self) -> list[str]:
        """Stop everything; names of what was running."""
        return [service.name for service in self.running() if self.stop(service.name)]

    def _tail(self, name: str) -> str:
        log = self._logs / f"{name}.log"
        if not log.exists():
            return f"there is no {log}"
        lines = log.read_text(errors="replace").splitlines()[-8:]
        return f"the end of {log}:\n" + "\n".join(lines)


def _write(file: Path, text: str) -> None:
    """The whole text or the old one, whatever is killed when."""
    _make_private(file.parent)
    new = file.with_name(f"{file.name}.new")
    new.write_text(text)
    new.replace(file)


def _make_private(folder: Path) -> None:
    """Make a folder that only this user can enter."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)


def _stop_group(service: Service) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(service.pid, sign)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline:
            _reap(service.pid)
            if not _group_alive(service.pid):
                return
            time.sleep(0.05)


def _reap(pid: int) -> None:
    """Collect the exit status when the process is our own child, so that it does not stay a zombie."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _listens(group: int, port: int) -> bool:
    """Whether a process of the group accepts connections at the port, by /proc."""
    sockets = list(_listening(port))
    owner = _user_of(group)
    if owner not in {None, os.geteuid()}:
        # the files of another user's process are not shown to all; but nobody else has the account of a service
        return any(uid == owner for _, uid in sockets)
    inodes = {f"socket:[{inode}]" for inode, _ in sockets}
    return any(
        _link(file) in inodes
        for folder in Path("/proc").glob("[0-9]*/fd")
        if _group_of(int(folder.parent.name)) == group
        for file in _files(folder)
    )


def _user_of(pid: int) -> int | None:
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except FileNotFoundError:
        return None


def _listening(port: int) -> Iterator[tuple[str, int]]:
    """Inodes and users of sockets that accept connections at the port."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        lines = Path(table).read_text().splitlines()[1:] if Path(table).exists() else []
        for fields in (line.split() for line in lines):
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9], int(fields[7])


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _files(folder: Path) -> list[Path]:
    """Open files of a process that is there and ours."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return []


def _link(file: Path) -> str:
    try:
        return os.readlink(file)
    except OSError:  # closed meanwhile
        return ""


def _start_ticks(pid: int) -> int | None:
    """Start time of a living, non-zombie process (field 22 of /proc/PID/stat)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rsplit(")", 1)[1].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])
