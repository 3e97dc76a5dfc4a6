"""Process the same scenes twice, under faults and undisturbed, and compare what the two ledgers know.

The disturbed ledger comes first, so that a trial that may last only so long compares the scenes that it came to.
"""

from __future__ import annotations

import math
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

import httpx
import psycopg
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from segwatch.db import messages as messages_of_ledger
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
#: Scenes that a fault may find waiting: it is to meet work, not a standstill.
_MAX_BACKLOG = 20
_CATCH_UP_SECONDS = 60.0
#: Without any progress for so long, work is lost; a busy machine takes long, but goes on.
_STALL_SECONDS = 300.0
_SAY_SECONDS = 20.0
_DISK_SECONDS = 0.5
_COPY_SECONDS = 1.5

_LEFT = text("""
    SELECT (SELECT count(*) FROM segwatch.observation WHERE state = 'observed') AS observed,
           (SELECT count(*) FROM segwatch.observation WHERE state IN ('skipped', 'failed')) AS lost,
           (SELECT count(*) FROM segwatch.delivery WHERE state = 'pending') AS pending""")
_ALERTS = text("""
    SELECT a.change_id, a.rule, a.id FROM segwatch.alert a JOIN segwatch.held_change c ON c.id = a.change_id
    WHERE c.retracted_at IS NULL AND c.status = 'confirmed' ORDER BY 1, 2""")
_MESSAGES = text("SELECT idempotency_key, state FROM segwatch.delivery ORDER BY 1")


@dataclass(frozen=True)
class Outcome:
    """What a trial showed."""

    scenes: int
    """Scenes that both ledgers observed; fewer than asked for if time ran out."""
    faults: dict[str, int]
    """Number of faults by kind; ``copy_in_copy``: connections cut while they were in COPY."""
    differences: dict[str, int]
    """Rows that the disturbed ledger has otherwise, by what they say; empty = none."""
    alerts: int
    """Alerts on confirmed changes that hold."""
    messages: int
    """Messages that the ledger sent."""
    not_received: int
    """Messages that the ledger holds as delivered and the receiver lacks."""
    not_sent_by_ledger: int
    alerted_twice: int
    """Alerts that the receiver got under two keys."""
    not_alerted: int
    """Alerts on confirmed changes of which the receiver got nothing."""
    prefect_runs: int
    """Runs that the Prefect server knows at the end; 0 without one."""
    seconds: float

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs, every message arrived, and none came twice or from nowhere."""
        wrong = (self.not_received, self.not_sent_by_ledger, self.alerted_twice, self.not_alerted)
        return not self.differences and not any(wrong)


def run_trial(
    *, scenes: int, faults: int, seed: int, workers: int = 2, watches: int = 1, prefect: bool = False,
    minutes: float = math.inf, say: Callable[[str], None] = lambda _: None,
) -> Outcome:  # fmt: skip
    """Run both, and compare.

    Parameters
    ----------
    watches
        Number of watches that the scenes belong to.
    prefect
        Whether one worker reports to a Prefect server, which is restarted, too.
    minutes
        No fault comes, and no further scene appears, after half of this time; the rest of it is left for the
        undisturbed ledger.

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
        disturbed = _Run(home / "disturbed", world, say, random.Random(seed))  # noqa: S311
        with disturbed.working(workers, prefect=prefect):
            disturbed.disturb(faults, scenes, until=begun + 30 * minutes)
            disturbed.settle()
            runs = disturbed.count_prefect_runs()
            known, alerts = [read_knowledge(disturbed.engine)], [disturbed.read_alerts()]
            messages = disturbed.read_messages()
        wrong = _compare_messages(messages, taken) + _compare_alerts(alerts[0], taken)
        undisturbed = _Run(home / "undisturbed", world, say, random.Random(seed))  # noqa: S311
        with undisturbed.working(workers, prefect=False):
            undisturbed.settle()
            known.append(read_knowledge(undisturbed.engine))
            alerts.append(undisturbed.read_alerts())
    return Outcome(
        world.catalog.visible, dict(disturbed.injected), _compare(known, alerts), len(alerts[0]), len(messages),
        *wrong, runs, round(time.monotonic() - begun, 1),
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


def _compare_alerts(alerts: list[tuple[Any, ...]], taken: Taken) -> tuple[int, int]:
    """Count alerts that the receiver got under two keys, and those that hold and that it never got."""
    got = Counter(
        one["data"]["alert_id"] for one in taken.messages if one["type"] == messages_of_ledger.ALERT
    )
    return sum(count > 1 for count in got.values()), sum(
        str(identity) not in got for _, _, identity in alerts
    )


@dataclass
class _Run:
    """One ledger with its workers."""

    folder: Path
    world: World
    say: Callable[[str], None]
    chance: random.Random
    injected: Counter[str] = field(default_factory=Counter)
    _begun: float = field(default_factory=time.monotonic)
    _told: float = field(default_factory=time.monotonic)
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

    def disturb(self, faults: int, scenes: int, until: float) -> None:
        """Inject faults in turn until a monotonic time, while the scenes appear in the catalog bit by bit."""
        kinds = [one for one in _WEIGHTS if one != "prefect" or self._prefect]
        plan = self.chance.choices(kinds, [_WEIGHTS[one] for one in kinds], k=faults)
        # every kind comes, however few faults there are
        plan[: len(kinds)] = kinds[:faults]
        self.chance.shuffle(plan)
        for number, kind in enumerate(plan):
            if time.monotonic() > until:
                self.say(f"out of time after {number} of {faults} faults")
                break
            self.world.catalog.visible = scenes * (number + 1) // faults
            self._catch_up()
            getattr(self, f"_fault_{kind}")()
            self.injected[kind] += 1
            self._tell(f"{number + 1} of {faults} faults, {dict(self.injected)}")
            time.sleep(self.chance.uniform(0.05, 0.4))
        self.world.catalog_breaker.heal()
        self.world.imagery_breaker.heal()

    def settle(self) -> None:
        """Wait until every visible scene is observed and every message sent."""
        before, since = None, time.monotonic()
        while time.monotonic() < since + _STALL_SECONDS:
            left = self._count()
            if left.lost:
                raise AssertionError(f"{left.lost} scene(s) failed or were skipped")
            if left.observed == self.world.catalog.visible and not left.pending:
                self.say(f"{self.folder.name}: {self._describe()}, {len(self.read_alerts())} alerts")
                return
            if left != before:
                before, since = left, time.monotonic()
            self._tell("settling")
            time.sleep(0.3)
        logs = "\n".join(log.read_text()[-1500:] for log in sorted(self.folder.glob("worker-*.log")))
        raise TimeoutError(f"nothing went on for {_STALL_SECONDS:.0f} s: {left}\n{logs}")

    def read_alerts(self) -> list[tuple[Any, ...]]:
        """Read change, rule and id of the alerts on confirmed changes that hold."""
        with self.engine.connect() as conn:
            return [tuple(row) for row in conn.execute(_ALERTS)]

    def read_messages(self) -> dict[str, str]:
        """Read the state of each message by its key."""
        with self.engine.connect() as conn:
            return dict(row._tuple() for row in conn.execute(_MESSAGES))

    def count_prefect_runs(self) -> int:
        """Count the runs that the Prefect server knows; 0 without one."""
        if not self._prefect:
            return 0
        self._await_prefect()
        url = f"http://127.0.0.1:{self._api_port}/api/flow_runs/count"
        return int(httpx.post(url, json={}, timeout=60).raise_for_status().json())

    def _tell(self, what: str) -> None:
        """Say how far it is, every now and then."""
        if time.monotonic() > self._told + _SAY_SECONDS:
            self._told = time.monotonic()
            self.say(f"{self.folder.name}: {what}; {self._describe()}")

    def _describe(self) -> str:
        seconds = time.monotonic() - self._begun
        return f"{self._count().observed} of {self.world.catalog.visible} scenes in {seconds:.0f} s"

    def _count(self) -> Any:
        with self.engine.connect() as conn:
            return conn.execute(_LEFT).one()

    def _catch_up(self) -> None:
        """Wait, for a while, until few scenes are left."""
        deadline = time.monotonic() + _CATCH_UP_SECONDS
        while time.monotonic() < deadline:
            if self.world.catalog.visible - self._count().observed <= _MAX_BACKLOG:
                return
            self._tell("catching up")
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
        home = self.folder / "server"
        # Prefect makes its own folder, and none above it
        home.mkdir(exist_ok=True)
        environment = self._prefect_environment(home)
        self._supervisor.start("prefect", [*argv, "--port", str(self._api_port)], environment)

    def _await_prefect(self) -> None:
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
        """Stop the server once it answers, and start it again; it comes back while other faults go on."""
        self._await_prefect()
        self._supervisor.stop("prefect")
        self._start_prefect()


def _end(one: subprocess.Popen[bytes]) -> None:
    """Kill a worker with everything it started."""
    with suppress(ProcessLookupError):
        os.killpg(one.pid, signal.SIGKILL)
    one.wait()
