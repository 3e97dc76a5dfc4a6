"""The local stack: every service that the main job needs, on loopback ports.

``segwatch.db.embedded.cluster`` runs PostgreSQL + PostGIS; the supervisor runs all other services.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from segwatch.db import roles
from segwatch.db.embedded import logins
from segwatch.db.embedded.cluster import Cluster
from segwatch.db.migrate import upgrade
from segwatch.flows.config.settings import load_settings
from segwatch.flows.errors import PortLost
from segwatch.flows.runtime.progress import Say, step
from segwatch.flows.services import accounts, environment, inherited
from segwatch.flows.services.secrets import read_prefect_secret, read_webhook_secret
from segwatch.flows.services.supervisor import Supervisor

_PORT_TRIES = 5
#: Secret settings that the flows of each pool need: for searching and reading, and on the cpu pool also for delivery.
NEEDS = {
    "cpu": frozenset({"SEGWATCH_CREDENTIALS", "SEGWATCH_SERVICES", "SEGWATCH_WEBHOOK_SECRET"}),
    "gpu": frozenset({"SEGWATCH_CREDENTIALS"}),
}
#: Files and folders of a home, with a description of each.
_STATE = {
    "postgres": "database: every watch, scene, polygon, alert and verdict, and Prefect's runs",
    "evidence": "quicklooks and briefings",
    "received.jsonl": "messages that the demo's webhook receiver received",
    "prefect": "files of the Prefect server and its workers",
    "logs": "logs of the services",
    "services": "ports and process ids of the services",
    "accounts": "files of services that run as users of their own",
    "webhook.secret": "secret that webhooks are signed with",
    "prefect.secret": "password of the Prefect server",
    "postgres.json": "port of the database",
    "analyst.pgpass": "password file of the analyst",
    "postgres.passwords": "passwords of the database roles",
    "postgres.lock": "lock that is held while the database starts",
}
#: How long Prefect keeps what the ledger does not need: runs with their logs and artifacts 30 days after their end,
#: events 7 days, which is its own default.
PREFECT_RETENTION = {
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": "2592000",
}


@dataclass(frozen=True, slots=True)
class Urls:
    """Base URLs of the services of one home."""

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
        self._warned: set[str] = set()
        self._probed: dict[str, str | None] = {}
        self._reads: dict[str, list[Path]] = {}

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Let only one process at a time start the services of a home; a second one waits."""
        folder = self.home / "services"
        # services started by root have users of their own, who have to enter the home
        self.home.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
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
        """Return the base URLs; chooses the ports on the first call."""
        return Urls(
            **{one.name: f"http://127.0.0.1:{self.supervisor.port(one.name)}" for one in fields(Urls)}
        )

    def environment(self, *, sends: bool = True) -> dict[str, str]:
        """Make the environment in which segwatch uses this home; see ``environment.make_variables``."""
        urls = self.urls()
        used = {
            "stac": urls.stac,
            "imagery": urls.imagery,
            "receiver": urls.receiver,
            "prefect": urls.prefect,
        }
        return environment.make_variables(self.home, used, os.environ, sends=sends)

    def up_database(self) -> None:
        """Start PostGIS and bring its schema up to date."""
        before = self.cluster.status().port
        with step(self._say, "PostgreSQL + PostGIS"):
            info = self.cluster.up()
            upgrade(info.url_for("segwatch_owner"))
        if before is not None and before != info.port:
            self._say(
                f"PostgreSQL: another program uses port {before}, so it now listens on port {info.port}"
            )

    def up_catalog(self, imagery: Path, stac: Path) -> None:
        """Start the demo's STAC API and the server of its imagery."""
        root = str(imagery.absolute())
        self._reads["imagery"] = [imagery.absolute()]
        where = self._up(
            "imagery",
            "imagery server",
            "/healthz",
            lambda port: _module("services.imagery", port, "--root", root),
            {},
        )
        self.cluster.ensure_service_database("stac", owner=logins.SUPERUSER)
        info = self.cluster.info()
        with step(self._say, "catalog of the demo"):
            # done here with the superuser, because the service's own role may only read
            from segwatch.flows.services import stac_api

            stac_api.prepare(info.superuser_url("stac"), logins.STAC, stac.absolute(), where)
        database = {"SEGWATCH_STAC_DATABASE_URL": info.service_url("stac")}
        self._up("stac", "STAC API", "/_mgmt/ping", lambda port: _module("services.stac_api", port), database)

    def up_receiver(self) -> None:
        """Start the demo's webhook receiver."""
        file = self.home / "received.jsonl"
        file.touch(mode=0o600)
        if (who := self._account("receiver")) is not None:
            who.take(file)
        else:
            file.chmod(0o600)
        self._up(
            "receiver",
            "webhook receiver",
            "/healthz",
            lambda port: _module("services.receiver", port, "--file", str(file)),
            {"SEGWATCH_WEBHOOK_SECRET": read_webhook_secret(self.home)},
        )

    def up_prefect(self) -> None:
        """Start a Prefect server with its UI, on PostgreSQL."""
        self.cluster.ensure_service_database("prefect")
        database = (
            self.cluster.info().service_url("prefect").replace("postgresql://", "postgresql+asyncpg://")
        )

        def settings(port: int) -> dict[str, str]:
            url = f"http://127.0.0.1:{port}"
            return environment.make_variables(self.home, {"prefect": url}, os.environ, sends=False) | {
                "PREFECT_SERVER_DATABASE_CONNECTION_URL": database,
                "PREFECT_SERVER_API_AUTH_STRING": read_prefect_secret(self.home),
                # only its own UI may call the server from a browser, by either name of this machine
                "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"{url},http://localhost:{port}",
                "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(self._prefect_home("prefect") / "ui"),
                "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
                **{name: os.environ.get(name, value) for name, value in PREFECT_RETENTION.items()},
                "PREFECT_HOME": str(self._prefect_home("prefect")),
            }

        self._up(
            "prefect",
            "Prefect server and UI",
            "/api/health",
            lambda port: _module("orchestration.prefect_server", port),
            settings,
        )

    def up_workers(self) -> None:
        """Start a process worker for each work pool, with the secrets that its flows need."""
        database = {"SEGWATCH_DATABASE_URL": self.cluster.info().url_for(roles.WORKER)}
        for pool, needs in NEEDS.items():
            name = f"worker-{pool}"
            self._say(f"worker of the {pool} pool")
            argv = [sys.executable, "-P", "-m", "prefect", "worker", "start"]
            argv += ["--pool", pool, "--name", f"{pool}-1", "--type", "process"]
            # each segment run loads the model, so only one at a time
            argv += ["--limit", "1"] if pool == "gpu" else []
            env = self.environment(sends="SEGWATCH_WEBHOOK_SECRET" in needs) | database
            env |= {"PREFECT_HOME": str(self._prefect_home(name))}
            self._share_evidence(name)
            self._start(name, argv, env, inherited.select_for_worker(os.environ, needs))

    def up_web(self) -> None:
        """Start the web server."""
        argv = [sys.executable, "-P", "-m", "segwatch.flows.web", "--port"]
        env = {
            "SEGWATCH_ANALYST_URL": self.cluster.info().url_for(roles.ANALYST),
            "SEGWATCH_IMAGERY_HOSTS": self.environment(sends=False)["SEGWATCH_IMAGERY_HOSTS"],
            "SEGWATCH_PREFECT_UI_URL": self.urls().prefect,
        }
        self._up("web", "map", "/healthz", lambda port: [*argv, str(port)], env)

    def down(self) -> list[str]:
        """Stop everything; return the names of the services that were running."""
        stopped = self.supervisor.stop_all()
        if self.cluster.down():
            stopped.append("postgres")
        return stopped

    def state(self) -> list[tuple[Path, str]]:
        """List the existing files and folders of this home, with descriptions."""
        database = Path(self.cluster.status().data_dir).parent
        every = [(self.home / name, what) for name, what in _STATE.items()]
        if database != self.home / "postgres":
            every.append((database, _STATE["postgres"]))
        return [(path, what) for path, what in every if path.exists()]

    def remove(self) -> None:
        """Stop everything and delete the state of this home, but no other files in its folder."""
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
        env: Mapping[str, str] | Callable[[int], dict[str, str]],
    ) -> str:
        """Start a service, wait until ``path`` responds, and return the base URL.

        Whether the port is free is decided by the service's own attempt to listen. If another program was faster, the
        service gets another port, so that two homes can start at the same moment.

        Raises
        ------
        ServiceError
            The service did not start.
        """
        before = self.supervisor.remembered_port(name)
        lost = 0
        while True:
            port = self.supervisor.port(name)
            if before not in {None, port}:
                self._say(f"{what}: another program uses port {before}, so it moves to port {port}")
            url = f"http://127.0.0.1:{port}"
            try:
                with step(self._say, f"{what} {url}"):
                    variables = env(port) if callable(env) else env
                    self._start(name, command(port), variables, inherited.select_for_server(os.environ))
                    self.supervisor.wait(name, f"{url}{path}")
            except PortLost:
                lost += 1
                if lost == _PORT_TRIES:
                    raise
                before = port
                self.supervisor.change_port(name)
            else:
                return url

    def _start(self, name: str, argv: list[str], env: Mapping[str, str], given: Mapping[str, str]) -> None:
        """Start a service with the least rights and the smallest environment that it needs."""
        who = self._account(name)
        if who is not None:
            env = {**env, **who.environment()}
        self.supervisor.start(name, argv, env, inherited=given, account=who)

    def _account(self, name: str) -> accounts.ServiceAccount | None:
        """Return the account of a service; None = the user of this process."""
        who = accounts.make_account(self.home, name)
        if who is None or (reason := self._find_obstacle(name, who)) is None:
            return who
        barring = " ".join(shlex.quote(str(one)) for one in accounts.list_barring_folders(self.home))
        if barring:
            warning = (
                f"all services ({', '.join(accounts.SERVICES)}) run as root, because users of their own cannot enter "
                f"{barring}. To change that: chmod o+x {barring}"
            )
        else:
            warning = f"{name} runs as root, because a user of its own ({who.uid}) cannot run it: {reason}"
        if warning not in self._warned:
            self._warned.add(warning)
            self._say(warning)
        return None

    def _find_obstacle(self, name: str, who: accounts.ServiceAccount) -> str | None:
        """Say why a service cannot have a user of its own here; probed once per service."""
        if name not in self._probed:
            reads, writes = self._list_needed(name)
            given = inherited.select_for_server(os.environ)
            self._probed[name] = accounts.find_obstacle(who, given, reads=reads, writes=writes)
        return self._probed[name]

    def _list_needed(self, name: str) -> tuple[list[Path], list[Path]]:
        """List files and folders that a service reads, and folders that it writes to, besides its own."""
        if name not in accounts.WORKERS:
            return self._reads.get(name, []), []
        settings = load_settings()
        models = [Path(one) for one in (settings.model_path, settings.shadow_model_path) if one]
        reads = [one for one in (*models, settings.playbooks) if one is not None and one.exists()]
        evidence = Path(settings.evidence) if settings.evidence else None
        writes = [one for one in (evidence,) if one is not None and one.is_dir()]
        return reads, writes

    def _prefect_home(self, name: str) -> Path:
        """Return Prefect's folder for a service: a separate one if the service has a user of its own."""
        who = self._account(name)
        return self.home / "prefect" if who is None else who.folder / "prefect"

    def _share_evidence(self, name: str) -> None:
        if (who := self._account(name)) is not None:
            accounts.share_evidence(self.home, who)


def _module(name: str, port: int, *arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", f"segwatch.flows.{name}", "--port", str(port), *arguments]
