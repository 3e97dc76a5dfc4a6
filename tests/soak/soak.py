"""Everything that an installation runs, for as long as wanted: memory, leases, connections, and how late schedules are.

PostGIS, a STAC API, a server of imagery, Prefect with a worker for each pool, a webhook receiver and the map. A scene
appears before each scheduled run; the map is asked again and again.
"""

from __future__ import annotations

import os
import re
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psycopg
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from sqlalchemy import Engine, text

from segwatch.benchmarks.alerts_latency import run_services
from segwatch.benchmarks.pipeline import add_items
from segwatch.db import watches
from segwatch.flows.errors import ServiceError
from segwatch.flows.orchestration import deploy, watch_runs
from segwatch.flows.services.stack import Stack
from tests.support.colour_segmenter import ColourSegmenter
from tests.support.paths import ROOT

_T = TypeVar("_T")
_SAMPLE_SECONDS = 5.0
_SAY_SECONDS = 30.0
_START_SECONDS = 600.0
#: Time after the last scheduled run in which what runs may end.
_SETTLE_SECONDS = 300.0
#: Growth of memory from the second to the last quarter that counts as flat.
_FLAT_SHARE, _FLAT_MIB = 0.1, 20.0
#: Connections that come and go with runs.
_SPARE_CONNECTIONS = 10
_SERVICES = ("worker-cpu", "worker-gpu", "web", "prefect")
_PAGES = ("/healthz", "/", "/api/operations", "/watches")
_RESIDENT = re.compile(r"^VmRSS:\s+(\d+) kB", re.MULTILINE)

_CONNECTIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = 'segwatch'"
)
_LEFT = text("""
    SELECT (SELECT count(*) FROM segwatch.observation WHERE state = 'observed') AS observed,
           (SELECT count(*) FROM segwatch.observation WHERE state IN ('pending', 'leased', 'inferred')) AS open,
           (SELECT count(*) FROM segwatch.delivery WHERE state = 'delivered') AS delivered,
           (SELECT count(*) FROM segwatch.observation WHERE state = 'leased' AND lease_until < clock_timestamp())
           + (SELECT count(*) FROM segwatch.delivery WHERE lease_until < clock_timestamp() AND state = 'pending')
           + (SELECT count(*) FROM segwatch.run WHERE ended_at IS NULL AND lease_until < clock_timestamp())
           AS leaked""")


class Lake(ColourSegmenter):
    """Knows the lake of the benchmark's scenes."""

    colour = (35, 70, 120)


@dataclass(frozen=True)
class Memory:
    """Resident memory of a service in MiB, the median of the second and of the last quarter of the time."""

    before: float
    after: float

    @property
    def is_flat(self) -> bool:
        """Whether it did not grow by more than runs make it vary."""
        return self.after - self.before <= max(_FLAT_MIB, _FLAT_SHARE * self.before)


@dataclass(frozen=True)
class Soak:
    """What a soak showed."""

    minutes: float
    scenes: int
    """Scenes that appeared."""
    observed: int
    messages: int
    """Messages that were delivered."""
    memory: dict[str, Memory]
    """By service."""
    connections: tuple[int, int]
    """Most connections to the ledger at once in the second and in the last quarter."""
    leaked_leases: int
    """Leases of observations, messages and runs that ran out and that nobody holds."""
    runs: int
    """Scheduled runs that began."""
    runs_failed: int
    runs_never_begun: int
    """Runs that were due two minutes before the end and did not begin."""
    late_p50_seconds: float | None
    late_p95_seconds: float | None
    """From the schedule's time to the begin of the run, its process started; None = no run began."""
    failed_requests: int
    """Requests to the map that failed with 5xx or found no server."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing leaks and every scene was observed."""
        steady = all(one.is_flat for one in self.memory.values())
        before, after = self.connections
        complete = self.observed == self.scenes and not self.runs_failed and not self.failed_requests
        return steady and complete and not self.leaked_leases and after <= before + _SPARE_CONNECTIONS


@dataclass
class _Samples:
    memory: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in _SERVICES})
    connections: list[int] = field(default_factory=list)
    failed_requests: int = 0

    def take(self, stack: Stack) -> None:
        """Take a sample of everything."""
        for name in _SERVICES:
            self.memory[name].append(_read_memory(stack, name))
        with psycopg.connect(stack.cluster.info().superuser_url("postgres"), autocommit=True) as conn:
            row = conn.execute(_CONNECTIONS.encode()).fetchone()
            self.connections.append(row[0] if row is not None else 0)
        for page in _PAGES:
            try:
                self.failed_requests += httpx.get(stack.urls().web + page, timeout=60).is_server_error
            except httpx.TransportError:
                self.failed_requests += 1


def run_soak(*, minutes: float, every: int, say: Callable[[str], None]) -> Soak:
    """Run for so many minutes; the watch runs again after ``every`` minutes."""
    with run_services("cpu") as (stack, engine, _), _in_environment(stack):
        _start(stack, engine, every)
        say("everything runs")
        begun = time.monotonic()
        samples, scenes, told = _Samples(), 0, begun
        while time.monotonic() < begun + 60 * minutes:
            if time.monotonic() >= begun + 60 * every * scenes:
                add_items(stack, scenes, scenes + 1)
                scenes += 1
            samples.take(stack)
            if time.monotonic() > told + _SAY_SECONDS:
                told = time.monotonic()
                say(
                    f"{(told - begun) / 60:.1f} of {minutes:g} min: {scenes} scenes, {_describe(engine, samples)}"
                )
            time.sleep(_SAMPLE_SECONDS)
        runs = _read_runs()
        say(f"settling: {_describe(engine, samples)}")
        left = _settle(engine, scenes)
    earlier, last = _take_quarters(samples.connections)
    begun_late = sorted(late for one in runs if (late := _find_lateness(one)) is not None)
    return Soak(
        minutes=minutes,
        scenes=scenes,
        observed=left.observed,
        messages=left.delivered,
        memory={name: _compare(values) for name, values in samples.memory.items()},
        connections=(max(earlier), max(last)),
        leaked_leases=left.leaked,
        runs=len(begun_late),
        runs_failed=sum(one.state_name in {"Failed", "Crashed"} for one in runs),
        runs_never_begun=sum(_find_lateness(one) is None for one in runs),
        late_p50_seconds=round(statistics.median(begun_late), 1) if begun_late else None,
        late_p95_seconds=round(begun_late[int(0.95 * (len(begun_late) - 1))], 1) if begun_late else None,
        failed_requests=samples.failed_requests,
    )


@contextmanager
def _in_environment(stack: Stack) -> Iterator[None]:
    """Let this process use the services, and the workers the tests' segmenter."""
    before = dict(os.environ)
    os.environ.update(stack.environment())
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ["SEGWATCH_SEGMENTER"] = f"{Lake.__module__}:{Lake.__name__}"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _start(stack: Stack, engine: Engine, every: int) -> None:
    _start_service(stack, stack.up_prefect, "prefect", "/api/health")
    os.environ.update(stack.environment())
    watch_runs.reload_prefect_settings()
    deploy.deploy_flows(deploy.find_deployments_folder())
    with engine.begin() as conn:
        watch = replace(watches.load_current(conn, "bench").watch, schedule=f"*/{every} * * * *")
        watches.apply(conn, watch)
    deploy.schedule_watches([watch])
    stack.up_workers()
    _start_service(stack, stack.up_web, "web", "/healthz")


def _start_service(stack: Stack, start: Callable[[], None], name: str, path: str) -> None:
    """Start a service, and wait longer for it than an operator would: a busy machine is no failure."""
    try:
        start()
    except ServiceError:
        stack.supervisor.wait(name, f"http://127.0.0.1:{stack.supervisor.port(name)}{path}", _START_SECONDS)


def _read_memory(stack: Stack, service: str) -> float:
    """Read the resident memory of a service, without its keeper and without the runs that it started, MiB."""
    found = stack.supervisor.find(service)
    if found is None:
        raise RuntimeError(f"{service} does not run")
    children = Path(f"/proc/{found.pid}/task/{found.pid}/children").read_text(encoding="ascii").split()
    sizes: list[float] = []
    for child in children:
        status = Path(f"/proc/{child}/status").read_text(encoding="ascii")
        sizes.extend(int(one) / 1024 for one in _RESIDENT.findall(status))
    return sum(sizes)


def _read_runs() -> list[FlowRun]:
    """Read the runs that a schedule made and that were due two minutes ago."""
    runs: list[FlowRun] = []
    with get_client(sync_client=True) as client:
        while page := client.read_flow_runs(flow_run_filter=FlowRunFilter(), offset=len(runs), limit=200):
            runs.extend(page)
    now = time.time()
    return [
        one
        for one in runs
        if one.auto_scheduled
        and one.expected_start_time is not None
        and one.expected_start_time.timestamp() < now - 120
    ]


def _find_lateness(run: FlowRun) -> float | None:
    """Find the seconds from a run's time to its begin; None where it did not begin."""
    if run.start_time is None or run.expected_start_time is None:
        return None
    return max(0.0, (run.start_time - run.expected_start_time).total_seconds())


def _settle(engine: Engine, scenes: int) -> Any:
    """Wait until every scene is observed, or nothing can be waited for any more."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while time.monotonic() < deadline:
        left = _count(engine)
        if left.observed == scenes and not left.leaked:
            return left
        time.sleep(2)
    return _count(engine)


def _count(engine: Engine) -> Any:
    with engine.connect() as conn:
        return conn.execute(_LEFT).one()


def _describe(engine: Engine, samples: _Samples) -> str:
    left = _count(engine)
    sizes = ", ".join(f"{name} {values[-1]:.0f} MiB" for name, values in samples.memory.items())
    return (
        f"{left.observed} observed, {left.delivered} messages, {samples.connections[-1]} connections, {sizes}"
    )


def _take_quarters(values: list[_T]) -> tuple[list[_T], list[_T]]:
    """Take the second quarter of the values, after everything has warmed up, and the last one."""
    size = max(1, len(values) // 4)
    return values[size : 2 * size] or values, values[-size:]


def _compare(values: list[float]) -> Memory:
    before, after = _take_quarters(values)
    return Memory(round(statistics.median(before), 1), round(statistics.median(after), 1))
