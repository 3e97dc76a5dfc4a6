"""Process the same scenes twice, undisturbed and under faults, and compare what the two ledgers know."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from segwatch.db import watches
from segwatch.db.embedded.cluster import Cluster
from segwatch.db.embedded.ports import find_free_port
from segwatch.db.migrate import upgrade
from segwatch.flows.services.supervisor import Supervisor
from tests.chaos.world import World, serving_world
from tests.support.colour_segmenter import Well
from tests.support.knowledge import read_knowledge
from tests.support.paths import ROOT, make_home
from tests.support.receiving import Taken, receiving

#: Share of each kind of fault. PostgreSQL and Prefect take seconds to come back.
_WEIGHTS = {"kill": 5, "copy": 5, "catalog": 4, "imagery": 4, "disk": 4, "postgres": 1, "prefect": 1}
_MAX_BACKLOG = 30
_SETTLE_SECONDS = 900.0
_DISK_SECONDS = 0.5
_COPY_SECONDS = 1.5

_LEFT = text("""
    SELECT (SELECT count(*) FROM segwatch.observation WHERE state = 'observed') AS observed,
           (SELECT count(*) FROM segwatch.observation WHERE state IN ('skipped', 'failed')) AS lost,
           (SELECT count(*) FROM segwatch.delivery WHERE state = 'pending') AS pending""")
_ALERTS = text("""
    SELECT a.change_id, a.rule FROM segwatch.alert a JOIN segwatch.held_change c ON c.id = a.change_id
    WHERE c.retracted_at IS NULL AND c.status = 'confirmed' ORDER BY 1, 2""")
_MESSAGES = text("SELECT idempotency_key, state FROM segwatch.delivery ORDER BY 1")


@dataclass(frozen=True)
class Outcome:
    """What a trial showed."""

    scenes: int
    faults: dict[str, int]
    """Number of faults by kind; ``copy_in_copy``: connections cut while they were in COPY."""
    differences: dict[str, int]
    """Rows that the disturbed ledger has otherwise, by what they say; empty = none."""
    alerts: int
    """Alerts on confirmed changes that hold."""
    messages: int
    """Messages that the ledger sent."""
    not_received: int
    not_sent_by_ledger: int
    seconds: float

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs, every message arrived, and none came from nowhere."""
        return not (self.differences or self.not_received or self.not_sent_by_ledger)


def run_trial(
    *, scenes: int, faults: int, seed: int, workers: int = 2, watches: int = 1, prefect: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:  # fmt: skip
    """Run both, and compare.

    Parameters
    ----------
    watches
        Number of watches that the scenes belong to.
    prefect
        Whether one worker reports to a Prefect server, which is restarted, too.

    Raises
    ------
    TimeoutError
        Work was left after all faults had ended.
    """
    begun = time.monotonic()
    with ExitStack() as stack:
        home = make_home("chaos")
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        taken = stack.enter_context(receiving(failing=0.2))
        world = stack.enter_context(serving_world(scenes, watches, f"{taken.url}/alerts", seed))
        known, alerts = [], []
        for disturbed in (False, True):
            folder = home / ("disturbed" if disturbed else "undisturbed")
            run = _Run(folder, world, say, random.Random(seed))  # noqa: S311
            taken.ids.clear()
            world.catalog.visible = 0 if disturbed else scenes
            with run.working(workers, prefect=prefect and disturbed):
                if disturbed:
                    run.disturb(faults, scenes)
                run.settle(scenes)
                known.append(read_knowledge(run.engine))
                with run.engine.connect() as conn:
                    alerts.append([tuple(row) for row in conn.execute(_ALERTS)])
                    messages = dict(row._tuple() for row in conn.execute(_MESSAGES))
            say(f"{folder.name}: {scenes} scenes, {len(alerts[-1])} alerts, {time.monotonic() - begun:.0f} s")
    return Outcome(
        scenes, dict(run.injected), _compare(known, alerts), len(alerts[0]), len(messages),
        *_compare_messages(messages, taken), round(time.monotonic() - begun, 1),
    )  # fmt: skip


def _compare(known: list[dict[str, list[dict[str, Any]]]], alerts: list[list[Any]]) -> dict[str, int]:
    """Count the rows in which the two ledgers differ, by what they say."""
    first, second = ({**one, "alerts": raised} for one, raised in zip(known, alerts, strict=True))
    found = {}
    for name in first:
        rows = [Counter(map(repr, one[name])) for one in (first, second)]
        found[name] = sum(((rows[0] - rows[1]) + (rows[1] - rows[0])).values())
    return {name: count for name, count in found.items() if count}


def _compare_messages(messages: dict[str, str], taken: Taken) -> tuple[int, int]:
    """Count delivered messages that the receiver lacks, and those it has that the ledger never sent."""
    received = {one.removesuffix("/alerts") for one in taken.ids}
    delivered = {key for key, state in messages.items() if state == "delivered"}
    return len(delivered - received), len(received - set(messages))


@dataclass
class _Run:
    """One ledger with its workers."""

    folder: Path
    world: World
    say: Callable[[str], None]
    chance: random.Random
    injected: Counter[str] = field(default_factory=Counter)
    _workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @contextmanager
    def working(self, workers: int, *, prefect: bool) -> Iterator[None]:
        """Run the database and so many workers while the block runs."""
        self.folder.mkdir(mode=0o755)
        self._cluster = Cluster(self.folder, durable=False)
        self._supervisor = Supervisor(self.folder)
        self._prefect = prefect
        self._api_port = find_free_port()
        try:
            info = self._cluster.up()
            upgrade(info.url_for("segwatch_owner"))
            self._url = info.url_for("segwatch_worker")
            self.engine: Engine = create_engine(self._url, poolclass=NullPool)
            with self.engine.begin() as conn:
                for watch in self.world.watches:
                    watches.apply(conn, watch)
            if prefect:
                self._start_prefect()
            self._workers = [self._start(number) for number in range(workers)]
            yield
        finally:
            for one in self._workers:
                _end(one)
            self._supervisor.stop_all()
            self._cluster.destroy()

    def disturb(self, faults: int, scenes: int) -> None:
        """Inject faults one after another, while the scenes appear in the catalog bit by bit."""
        kinds = [one for one in _WEIGHTS if one != "prefect" or self._prefect]
        plan = self.chance.choices(kinds, [_WEIGHTS[one] for one in kinds], k=faults)
        # every kind comes, however few faults there are
        plan[: len(kinds)] = kinds[:faults]
        self.chance.shuffle(plan)
        for number, kind in enumerate(plan):
            self.world.catalog.visible = scenes * (number + 1) // faults
            self._catch_up()
            getattr(self, f"_fault_{kind}")()
            self.injected[kind] += 1
            if (number + 1) % 20 == 0:
                self.say(f"{number + 1} of {faults} faults, {self._count().observed} of {scenes} scenes")
            time.sleep(self.chance.uniform(0.05, 0.4))
        self.world.catalog_breaker.heal()
        self.world.imagery_breaker.heal()

    def settle(self, scenes: int) -> None:
        """Wait until every scene is observed and every message sent."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < deadline:
            left = self._count()
            if left.lost:
                raise AssertionError(f"{left.lost} scene(s) failed or were skipped")
            if left.observed == scenes and not left.pending:
                return
            time.sleep(0.3)
        logs = "\n".join(log.read_text()[-1500:] for log in sorted(self.folder.glob("worker-*.log")))
        raise TimeoutError(f"left after {_SETTLE_SECONDS:.0f} s: {left}\n{logs}")

    def _count(self) -> Any:
        with self.engine.connect() as conn:
            return conn.execute(_LEFT).one()

    def _catch_up(self) -> None:
        """Wait, for a while, until few scenes are left: a fault is to meet work, not a standstill."""
        for _ in range(100):
            if self.world.catalog.visible - self._count().observed <= _MAX_BACKLOG:
                return
            time.sleep(0.2)

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        home = self.folder / f"home-{number}"
        home.mkdir(exist_ok=True)
        env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SEGWATCH_", "PREFECT_"))
        }
        env |= {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "SEGWATCH_DATABASE_URL": self._url,
            "SEGWATCH_HOME": str(home),
            "SEGWATCH_SEGMENTER": f"{Well.__module__}:{Well.__name__}",
            "SEGWATCH_ALLOWED_ADDRESSES": '["127.0.0.0/8"]',
            "SEGWATCH_IMAGERY_HOSTS": '["127.0.0.1:*"]',
            "SEGWATCH_LEASE_SECONDS": "3",
            "SEGWATCH_LINGER_SECONDS": "0",
            "SEGWATCH_RETRY_SECONDS": "0.2",
            "SEGWATCH_DELIVERY_RETRY_SECONDS": "0.2",
            # a fault may hit the same scene more often than any real one would
            "SEGWATCH_MAX_ATTEMPTS": "50",
            "SEGWATCH_DATABASE_WAIT_SECONDS": "30",
        }
        if self._prefect and number == 0:
            env |= self._prefect_environment(home)
        names = [watch.name for watch in self.world.watches]
        # each begins with another watch
        names = names[number % len(names) :] + names[: number % len(names)]
        argv = [sys.executable, "-P", "-m", "tests.chaos.worker", *names]
        with (self.folder / f"worker-{number}.log").open("ab") as log:
            return subprocess.Popen(argv, env=env, cwd=home, stdout=log, stderr=log, start_new_session=True)

    def _prefect_environment(self, home: Path) -> dict[str, str]:
        return {
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_API_URL": f"http://127.0.0.1:{self._api_port}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }

    def _start_prefect(self) -> None:
        argv = [sys.executable, "-P", "-m", "prefect", "server", "start", "--no-ui", "--host", "127.0.0.1"]
        environment = self._prefect_environment(self.folder / "server")
        self._supervisor.start("prefect", [*argv, "--port", str(self._api_port)], environment)
        self._supervisor.wait("prefect", f"http://127.0.0.1:{self._api_port}/api/health")

    def _fault_kill(self) -> None:
        number = self.chance.randrange(len(self._workers))
        _end(self._workers[number])
        self._workers[number] = self._start(number)

    def _fault_copy(self) -> None:
        """Cut the connections that are in COPY; those of all workers where none comes to it in time."""
        cut = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'segwatch_worker'"
        )
        with psycopg.connect(self._cluster.info().superuser_url("postgres"), autocommit=True) as conn:
            deadline = time.monotonic() + _COPY_SECONDS
            while time.monotonic() < deadline:
                row = conn.execute(cut + " AND state = 'active' AND query LIKE 'COPY %'").fetchone()
                if row is not None and row[0]:
                    self.injected["copy_in_copy"] += 1
                    return
            conn.execute(cut)

    def _fault_catalog(self) -> None:
        self.world.catalog_breaker.fail_next(self.chance.choice(("error", "cut")), self.chance.randint(1, 6))

    def _fault_imagery(self) -> None:
        self.world.imagery_breaker.fail_next(self.chance.choice(("error", "cut")), self.chance.randint(1, 6))

    def _fault_disk(self) -> None:
        """Let every write of a worker to a file fail for a while, as on a full disk."""
        one = self.chance.choice(self._workers)
        everything = resource.RLIM_INFINITY
        with suppress(ProcessLookupError):
            resource.prlimit(one.pid, resource.RLIMIT_FSIZE, (0, everything))
            time.sleep(_DISK_SECONDS)
            resource.prlimit(one.pid, resource.RLIMIT_FSIZE, (everything, everything))

    def _fault_postgres(self) -> None:
        """Stop the server as a crash does, and start it again."""
        pid = self._cluster.status().pid
        if pid is not None:
            os.kill(pid, signal.SIGQUIT)
            while self._cluster.status().running:
                time.sleep(0.05)
        self._cluster.up()
        with suppress(DBAPIError):
            self._count()

    def _fault_prefect(self) -> None:
        self._supervisor.stop("prefect")
        self._start_prefect()


def _end(one: subprocess.Popen[bytes]) -> None:
    """Kill a worker with everything it started."""
    with suppress(ProcessLookupError):
        os.killpg(one.pid, signal.SIGKILL)
    one.wait()
