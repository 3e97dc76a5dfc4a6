"""Start, find and stop the local background services of a home folder; each is recorded in a JSON file.

A service is identified by its pid *and* the start time of that process, so a recycled pid is never mistaken for a
service. Starting twice, stopping twice and starting after a kill are all safe. A service whose command or environment
has changed is restarted. Each service runs below a keeper (:mod:`segwatch.flows.services.keeper`), which starts it
again when it ends unexpectedly. Why this is not an existing process manager: docs/adr/0016-own-supervisor.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from segwatch.db.embedded import ports
from segwatch.flows.errors import PortLost, ServiceError
from segwatch.flows.services import keeper
from segwatch.flows.services.accounts import ServiceAccount, find_base_python
from segwatch.flows.services.processes import is_listening, read_start_ticks, stop_group

#: A service starts in 5 s; on a machine that is busy, a Prefect server that creates its tables takes minutes.
_START_SECONDS = 300.0
#: Messages of services whose port is in use.
_IN_USE = re.compile(
    "address already in use|is already in use|already running on port|port \\d+ is taken", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Service:
    """A running service."""

    name: str
    pid: int
    """Process of its keeper, which leads the service's process group."""
    started: int
    """Start time of the process in clock ticks since boot."""
    command: str = ""
    """Digest of its command and environment."""


@dataclass(frozen=True, slots=True)
class Restart:
    """The last unexpected end of a service that runs; times UTC."""

    name: str
    restarts: int
    """How often it was started again since it was started by hand."""
    ended_at: datetime
    starts_at: datetime
    """When it starts, or started, again."""
    how: str
    """Exit status or signal."""


class Supervisor:
    """Background services of one home folder."""

    def __init__(self, home: Path) -> None:
        self._home = home.absolute()
        self._folder = self._home / "services"
        self._logs = self._home / "logs"
        self._log_starts: dict[str, int] = {}

    @property
    def logs(self) -> Path:
        """Folder of the services' logs."""
        return self._logs

    def port(self, name: str) -> int:
        """Return the port of a service, chosen once and kept, so that URLs stay valid.

        A new port is chosen if another program took it while the service was down.
        """
        remembered = self.remembered_port(name)
        if remembered is not None and (self.find(name) is not None or ports.is_free(remembered)):
            return remembered
        return self._choose_port(name, remembered)

    def remembered_port(self, name: str) -> int | None:
        """Return the port that was chosen for a service, without choosing one."""
        try:
            return int((self._folder / f"{name}.port").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def change_port(self, name: str) -> int:
        """Choose another port for a service whose port another program has taken."""
        return self._choose_port(name, self.remembered_port(name))

    def _choose_port(self, name: str, lost: int | None) -> int:
        port = ports.choose_port(self._home, name, lost=() if lost is None else (lost,))
        _write_atomically(self._folder / f"{name}.port", str(port))
        return port

    def find(self, name: str) -> Service | None:
        """Find the running service of this name."""
        try:
            service = Service(**json.loads((self._folder / f"{name}.json").read_text()))
        except (FileNotFoundError, json.JSONDecodeError, TypeError):
            return None
        return service if read_start_ticks(service.pid) == service.started else None

    def running(self) -> list[Service]:
        """List the running services by name."""
        names = sorted(file.stem for file in self._folder.glob("*.json")) if self._folder.exists() else []
        return [service for name in names if (service := self.find(name)) is not None]

    def ended(self) -> list[str]:
        """List the services that were started and not stopped, and yet do not run."""
        names = sorted(file.stem for file in self._folder.glob("*.json")) if self._folder.exists() else []
        return [name for name in names if self.find(name) is None]

    def restarts(self) -> list[Restart]:
        """List the last unexpected end of each running service that its keeper started again."""
        return [found for one in self.running() if (found := self._read_restart(one.name)) is not None]

    def _read_restart(self, name: str) -> Restart | None:
        try:
            entry = json.loads((self._folder / f"{name}.restarts").read_text())
            moments = [datetime.fromisoformat(entry[field]) for field in ("ended_at", "starts_at")]
            return Restart(name, int(entry["restarts"]), moments[0], moments[1], str(entry["how"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None  # it never ended

    def start(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        *,
        inherited: Mapping[str, str] | None = None,
        account: ServiceAccount | None = None,
    ) -> Service:
        """Start a service unless it runs already with the same command; its output goes to ``logs/<name>.log``.

        Parameters
        ----------
        name
            Name of the service.
        argv
            Its command, which every user of the machine can read.
        env
            Its environment variables; a change restarts the service.
        inherited
            Further variables, whose change does not restart it; None = those of this process.
        account
            Account that it runs as; None = the user of this process.
        """
        definition = ["kept", list(argv), sorted(env.items()), None if account is None else account.uid]
        command = hashlib.sha256(json.dumps(definition).encode()).hexdigest()[:16]
        found = self.find(name)
        if found is not None and found.command == command:
            return found
        if found is not None:
            self.stop(name)
        program = Path(keeper.__file__)
        with self._log(name) as log, self._open_report(name) as report, program.open("rb") as code:
            self._log_starts[name] = log.tell()
            # background jobs of a shell ignore SIGINT, with which Prefect's CLI stops its child processes
            # the account may be unable to enter the folder of the keeper's file, which it reads from here
            keep = [find_base_python(), "-I", "-S", "-", str(report.fileno())]
            process = subprocess.Popen(
                ["env", "--default-signal=INT", *keep, *argv],
                pass_fds=(report.fileno(),),
                env={**(os.environ if inherited is None else inherited), **env},
                stdin=code,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=0o077 if account is None else account.umask,
                user=None if account is None else account.uid,
                group=None if account is None else account.gid,
                extra_groups=None if account is None else list(account.groups),
            )
        service = Service(name, process.pid, read_start_ticks(process.pid) or 0, command)
        _write_atomically(self._folder / f"{name}.json", json.dumps(asdict(service)))
        return service

    def _log(self, name: str) -> BinaryIO:
        """Open the log of a service for appending; only this user can read it."""
        _make_private(self._logs)
        file = (self._logs / f"{name}.log").open("ab")
        os.fchmod(file.fileno(), 0o600)
        return file

    def _open_report(self, name: str) -> BinaryIO:
        """Open the empty file to which the keeper writes unexpected ends, as another user perhaps."""
        _make_private(self._folder)
        return (self._folder / f"{name}.restarts").open("wb")

    def wait(self, name: str, url: str, seconds: float = _START_SECONDS) -> None:
        """Wait until the service responds at ``url`` with success.

        The time is long because a busy machine takes minutes to start a Prefect server; a service that ends is
        reported at once.

        Raises
        ------
        PortLost
            Another program listens on the port of ``url``.
        ServiceError
            The process ended or did not respond in time; the message contains the end of its log.
        """
        import httpx

        deadline = time.monotonic() + seconds
        # one client: each of them loads the certificates, which takes longer than all else that is done here
        with httpx.Client(timeout=2.0) as client:
            while time.monotonic() < deadline:
                service = self.find(name)
                if service is None:
                    raise self._explain_end(name, url)
                try:
                    if client.get(url).is_success:
                        self._require_listening(service, url)
                        return
                except httpx.HTTPError:
                    pass
                time.sleep(0.2)
        raise ServiceError(
            f"service {name} did not respond at {url} within {seconds:.0f} s, but it runs; if this machine is busy, "
            f"repeat the command later: it goes on from here; {self._read_tail(name)}"
        )

    def _explain_end(self, name: str, url: str) -> ServiceError:
        """Explain why a service ended while starting."""
        log = self._logs / f"{name}.log"
        output = log.read_bytes()[self._log_starts.get(name, 0) :].decode(errors="replace")
        if _IN_USE.search(output) or not ports.is_free(urlsplit(url).port or 0):
            return PortLost(
                f"service {name} could not listen at {url}, another program does; the next try uses another port"
            )
        return ServiceError(f"service {name} ended while starting; {self._read_tail(name)}")

    def _require_listening(self, service: Service, url: str) -> None:
        """Make sure that the service itself listens: of two that start at once, both may have chosen the same port."""
        if not is_listening(service.pid, urlsplit(url).port or 0):
            self.stop(service.name)
            raise PortLost(f"another program responds at {url} instead of service {service.name}")

    def stop(self, name: str) -> bool:
        """Stop a service and every process it started; False if it was not running."""
        service = self.find(name)
        if service is not None:
            stop_group(service.pid)
        (self._folder / f"{name}.json").unlink(missing_ok=True)
        return service is not None

    def stop_all(self) -> list[str]:
        """Stop all services, workers first; return the names of those that were running.

        A Prefect worker whose server is gone takes a minute to end.
        """
        in_order = sorted(self.running(), key=lambda one: (not one.name.startswith("worker-"), one.name))
        stopped = [service.name for service in in_order if self.stop(service.name)]
        for name in self.ended():
            self.stop(name)
        return stopped

    def _read_tail(self, name: str) -> str:
        log = self._logs / f"{name}.log"
        if not log.exists():
            return f"there is no {log}"
        lines = log.read_text(errors="replace").splitlines()[-8:]
        return f"the end of {log}:\n" + "\n".join(lines) if lines else f"{log} is empty"


def _write_atomically(file: Path, text: str) -> None:
    """Replace the content of a file atomically."""
    _make_private(file.parent)
    new = file.with_name(f"{file.name}.new")
    new.write_text(text)
    new.replace(file)


def _make_private(folder: Path) -> None:
    """Create a folder that only this user can enter."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
