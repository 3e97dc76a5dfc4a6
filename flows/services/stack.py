"""The local stack: every service the main job needs, with real parts, on loopback ports.

PostgreSQL + PostGIS is started by ``segwatch.db.cluster``; the rest are processes of the supervisor.
"""

from __future__ import annotations

import fcntl
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from segwatch.db.cluster import Cluster
from segwatch.db.migrate import upgrade
from segwatch.flows.errors import PortLost
from segwatch.flows.services import environment
from segwatch.flows.services.progress import Say, step
from segwatch.flows.services.secrets import prefect_secret
from segwatch.flows.services.supervisor import Supervisor

_PORT_TRIES = 5
#: What lies in a home folder.
_STATE = {
    "postgres": "the database: every watch, scene, polygon, alert and verdict, and Prefect's runs",
    "evidence": "pictures of observations, and situation reports",
    "received.jsonl": "messages that the demo's webhook receiver got",
    "prefect": "files of the Prefect server and its workers",
    "logs": "logs of the services",
    "services": "their ports and process ids",
    "webhook.secret": "secret that webhooks are signed with",
    "prefect.secret": "password of the Prefect server",
    "postgres.json": "port of the database",
    "postgres.passwords": "passwords of its roles",
    "postgres.lock": "lock of its start",
}


@dataclass(frozen=True, slots=True)
class Urls:
    """Where the services of one home listen."""

    stac: str
    imagery: str
    receiver: str
    prefect: str
    web: str


class Stack:
    """All services of one home folder."""

    def __init__(self, home: Path, *, say: Say) -> None:
        self.home = home.absolute()
        self.cluster = Cluster(self.home)
        self.supervisor = Supervisor(self.home)
        self._say = say

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """One process at a time brings up the services of a home; a second one waits."""
        folder = self.home / "services"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "up.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with step(
                    self._say, f"another process is starting the services of {self.home}; waiting for it"
                ):
                    fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def urls(self) -> Urls:
        """Base URLs; choosing the ports on the first call."""
        return Urls(
            **{one.name: f"http://127.0.0.1:{self.supervisor.port(one.name)}" for one in fields(Urls)}
        )

    def environment(self) -> dict[str, str]:
        """Environment of every segwatch process of this home."""
        urls = self.urls()
        used = {
            "stac": urls.stac,
            "imagery": urls.imagery,
            "receiver": urls.receiver,
            "prefect": urls.prefect,
        }
        return environment.variables(self.home, used)

    def up_database(self) -> None:
        """PostGIS with the current schema."""
        before = self.cluster.status().port
        with step(self._say, "PostgreSQL + PostGIS"):
            info = self.cluster.up()
            upgrade(info.url_for("segwatch_owner"))
        if before is not None and before != info.port:
            self._say(f"PostgreSQL: another program has port {before}, it listens at {info.port} from now on")

    def up_catalog(self, imagery: Path, stac: Path) -> None:
        """The demo's STAC API and the imagery behind it."""
        root = str(imagery.absolute())
        where = self._up(
            "imagery", "imagery server", "/healthz", lambda port: _module("imagery", port, "--root", root)
        )
        self.cluster.ensure_database("stac", owner="segwatch_owner")
        items = ("--items", str(stac.absolute()), "--imagery-url", where)
        database = {"SEGWATCH_STAC_DATABASE_URL": self.cluster.info().superuser_url("stac")}
        self._up("stac", "STAC API", "/_mgmt/ping", lambda port: _module("stac_api", port, *items), database)

    def up_receiver(self) -> None:
        """The demo's webhook receiver."""
        file = str(self.home / "received.jsonl")
        self._up(
            "receiver", "webhook receiver", "/healthz", lambda port: _module("receiver", port, "--file", file)
        )

    def up_prefect(self) -> None:
        """A Prefect server on PostgreSQL, with its UI."""
        info = self.cluster.info()
        self.cluster.ensure_database("prefect", owner="segwatch_owner")
        database = info.url_for("segwatch_owner", database="prefect").replace("+psycopg", "+asyncpg")
        argv = [
            sys.executable,
            "-P",
            "-m",
            "prefect",
            "server",
            "start",
            "--ui",
            "--host",
            "127.0.0.1",
            "--port",
        ]
        env = {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": database,
            "PREFECT_SERVER_API_AUTH_STRING": prefect_secret(self.home),
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(self.home / "prefect" / "ui"),
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        }
        self._up("prefect", "Prefect server and UI", "/api/health", lambda port: [*argv, str(port)], env)

    def up_workers(self) -> None:
        """One process worker for each work pool."""
        for pool in ("cpu", "gpu"):
            self._say(f"worker of the {pool} pool")
            argv = [sys.executable, "-P", "-m", "prefect", "worker", "start"]
            argv += ["--pool", pool, "--name", f"{pool}-1", "--type", "process"]
            # each segment run loads the model: one at a time on one GPU
            argv += ["--limit", "1"] if pool == "gpu" else []
            self.supervisor.start(f"worker-{pool}", argv, self.environment())

    def up_web(self) -> None:
        """The map and the OGC API."""
        argv = [sys.executable, "-P", "-m", "segwatch.flows.web", "--port"]
        env = {
            "SEGWATCH_ANALYST_URL": self.cluster.info().url_for("segwatch_analyst"),
            "SEGWATCH_IMAGERY_HOSTS": self.environment()["SEGWATCH_IMAGERY_HOSTS"],
        }
        self._up("web", "map", "/healthz", lambda port: [*argv, str(port)], env)

    def down(self) -> list[str]:
        """Stop everything; names of what was running."""
        stopped = self.supervisor.stop_all()
        if self.cluster.down():
            stopped.append("postgres")
        return stopped

    def state(self) -> list[tuple[Path, str]]:
        """What segwatch keeps of this home, with what it is; only what is there."""
        database = Path(self.cluster.status().data_dir).parent
        every = [(self.home / name, what) for name, what in _STATE.items()]
        if database != self.home / "postgres":
            every.append((database, _STATE["postgres"]))
        return [(path, what) for path, what in every if path.exists()]

    def remove(self) -> None:
        """Stop everything and delete the state of this home, and nothing else that lies in its folder."""
        self.down()
        found = self.state()
        self.cluster.destroy()
        for path, _ in found:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        if self.home.is_dir() and not any(self.home.iterdir()):
            self.home.rmdir()

    def _up(
        self,
        name: str,
        what: str,
        path: str,
        command: Callable[[int], list[str]],
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Start a service and wait until ``path`` answers; its base URL.

        The service's own attempt to listen decides whether it has the port. Where another program was quicker, it gets
        the next one: so two homes may start at the same moment.

        Raises
        ------
        ServiceError
            It did not start.
        """
        before = self.supervisor.remembered_port(name)
        lost = 0
        while True:
            port = self.supervisor.port(name)
            if before not in {None, port}:
                self._say(f"{what}: another program has port {before}, so it moves to {port}")
            url = f"http://127.0.0.1:{port}"
            try:
                with step(self._say, f"{what} {url}"):
                    self.supervisor.start(
                        name, command(port), self._environment_of(name, url) | dict(env or {})
                    )
                    self.supervisor.wait(name, f"{url}{path}")
            except PortLost:
                lost += 1
                if lost == _PORT_TRIES:
                    raise
                before = port
                self.supervisor.change_port(name)
            else:
                return url

    def _environment_of(self, name: str, url: str) -> dict[str, str]:
        """What one service gets to know: as little as it needs, so that it need not be restarted when others move."""
        if name != "prefect":
            return environment.variables(self.home, {})
        port = url.rsplit(":", 1)[1]
        # pages that may call the server from a browser: its own UI, by either name of this machine
        origins = f"{url},http://localhost:{port}"
        return environment.variables(self.home, {"prefect": url}) | {
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": origins
        }


def _module(name: str, port: int, *arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", f"segwatch.flows.services.{name}", "--port", str(port), *arguments]
