"""The local stack: every service the main job needs, with real parts, on loopback ports.

PostgreSQL + PostGIS is started by ``segwatch.db.cluster``; the rest are processes of the supervisor.
"""

from __future__ import annotations

import secrets
import sys
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from segwatch.db.cluster import Cluster
from segwatch.db.migrate import upgrade
from segwatch.flows.services.supervisor import Supervisor

Say = Callable[[str], None]

#: Preferred ports; another one is taken, and remembered, when these are in use.
_PORTS = {"stac": 18081, "imagery": 18082, "receiver": 18083, "prefect": 14200, "web": 18080}


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

    def urls(self) -> Urls:
        """Base URLs; choosing the ports on the first call."""
        return Urls(**{n: f"http://127.0.0.1:{self.supervisor.port(n, p)}" for n, p in _PORTS.items()})

    def environment(self) -> dict[str, str]:
        """Environment of every segwatch process of this home."""
        urls = self.urls()
        return {
            "SEGWATCH_HOME": str(self.home),
            "SEGWATCH_STAC_URL": urls.stac,
            "SEGWATCH_RECEIVER_URL": urls.receiver,
            "SEGWATCH_WEBHOOK_SECRET": self._webhook_secret(),
            "PREFECT_HOME": str(self.home / "prefect"),
            "PREFECT_API_URL": f"{urls.prefect}/api",
            "PREFECT_LOGGING_EXTRA_LOGGERS": "segwatch",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "DO_NOT_TRACK": "1",
        }

    def up_database(self) -> None:
        """PostGIS with the current schema."""
        self._say("PostgreSQL + PostGIS")
        info = self.cluster.up()
        upgrade(info.url_for("segwatch_owner"))

    def up_catalog(self, imagery: Path, stac: Path) -> None:
        """The demo's STAC API and the imagery behind it."""
        urls = self.urls()
        self._say(f"imagery server {urls.imagery}")
        self._module("imagery", "--port", _port(urls.imagery), "--root", str(imagery.absolute()))
        self.cluster.ensure_database("stac", owner="segwatch_owner")
        self._say(f"STAC API {urls.stac}")
        stac_arguments = ["--items", str(stac.absolute()), "--imagery-url", urls.imagery]
        database = {"SEGWATCH_STAC_DATABASE_URL": self.cluster.info().superuser_url("stac")}
        self._module("stac_api", "--port", _port(urls.stac), *stac_arguments, name="stac", env=database)
        self.supervisor.wait("imagery", f"{urls.imagery}/healthz")
        self.supervisor.wait("stac", f"{urls.stac}/_mgmt/ping")

    def up_receiver(self) -> None:
        """The demo's webhook receiver."""
        url = self.urls().receiver
        self._say(f"webhook receiver {url}")
        self._module("receiver", "--port", _port(url), "--file", str(self.home / "received.jsonl"))
        self.supervisor.wait("receiver", f"{url}/healthz")

    def up_prefect(self) -> None:
        """A Prefect server on PostgreSQL."""
        url = self.urls().prefect
        self._say(f"Prefect server {url}")
        info = self.cluster.info()
        self.cluster.ensure_database("prefect", owner="segwatch_owner")
        database = info.url_for("segwatch_owner", database="prefect").replace("+psycopg", "+asyncpg")
        argv = [sys.executable, "-P", "-m", "prefect", "server", "start", "--no-ui"]
        argv += ["--host", "127.0.0.1", "--port", _port(url)]
        env = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": database}
        self.supervisor.start("prefect", argv, self.environment() | env)
        self.supervisor.wait("prefect", f"{url}/api/health")

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
        url = self.urls().web
        self._say(f"map {url}")
        argv = [sys.executable, "-P", "-m", "segwatch.flows.web", "--port", _port(url)]
        env = {"SEGWATCH_ANALYST_URL": self.cluster.info().url_for("segwatch_analyst")}
        self.supervisor.start("web", argv, self.environment() | env)
        self.supervisor.wait("web", f"{url}/healthz")

    def down(self) -> list[str]:
        """Stop everything; names of what was running."""
        stopped = self.supervisor.stop_all()
        if self.cluster.down():
            stopped.append("postgres")
        return stopped

    def _module(
        self, module: str, *arguments: str, name: str | None = None, env: dict[str, str] | None = None
    ) -> None:
        argv = [sys.executable, "-P", "-m", f"segwatch.flows.services.{module}", *arguments]
        self.supervisor.start(name or module, argv, self.environment() | (env or {}))

    def _webhook_secret(self) -> str:
        """A random Standard Webhooks secret, made once, readable by this user only."""
        file = self.home / "webhook.secret"
        if not file.exists():
            self.home.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o600)
            file.write_text("whsec_" + b64encode(secrets.token_bytes(24)).decode())
        return file.read_text().strip()


def _port(url: str) -> str:
    return url.rsplit(":", 1)[1]
