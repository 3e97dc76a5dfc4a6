"""Discrete events at sizes that nobody can run here: where the design breaks first, and what it costs.

Stage costs are measured by ``segwatch-bench pipeline``; prices and imagery per watch are assumptions, listed in
:class:`Costs` and :class:`Fleet`. Each watch begins a run at its hour; a run starts a process and searches the catalog
on a CPU worker, each of its scenes is segmented on a segmenting worker, and folded, written and delivered in the
database. The full benchmark also checks the model of a backlog against several real worker
processes, which is the throughput from one worker to as many as there are cores.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any

import simpy
from rich.console import Console
from rich.table import Table

from segwatch.benchmarks.alerts_latency import run_services
from segwatch.benchmarks.pipeline import add_items

_DAY_SECONDS = 86_400.0
#: Scenes of the check, and numbers of workers that share them: one alone first, and no more than there are cores.
_CHECK_SCENES, _CHECK_WORKERS = 8, (2, 4, 8)

out = Console(width=120, highlight=False)


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of one resource, measured on two cores unless marked as assumed."""

    run_start: float = 3.7
    """Processor seconds until a process of a run has imported the product."""
    discover: float = 0.25
    """Per run."""
    segment_mpx: float = 1.6
    """Per megapixel with the shipped model on two cores of a quiet machine."""
    read_mpx: float = 0.35
    fold: float = 0.5
    """Per scene, processor of the worker and the database together."""
    write: float = 0.25
    deliver: float = 0.1
    cpu_hour: float = 0.04
    """Assumed price of a core, in dollars."""
    segmenting_hour: float = 0.08
    """Assumed price of a segmenting worker (two cores), in dollars."""
    database_hour: float = 0.10
    """Assumed price of a core of the database, in dollars."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is watched, and with how much."""

    name: str
    watches: int
    scenes_per_day: float
    """Of each watch."""
    mpx: float
    """Megapixels of each scene."""
    cpu: int
    """Cores for runs."""
    segmenting: int
    """Segmenting workers."""
    database: int
    """Cores of the database."""
    spread_hours: float
    """Schedules lie within this time; small = all begin at the same minute."""


#: A watch of 25 x 25 km at 10 m, seen every five days. A global one: 149 million km² of land in 100 x 100 km tiles.
FLEETS = (
    Fleet("1 000 watches, all at 06:00", 1_000, 0.2, 6.25, 2, 2, 2, 0.1),
    Fleet("100 000 watches, all at 06:00", 100_000, 0.2, 6.25, 8, 8, 8, 0.1),
    Fleet("100 000 watches, spread over the day", 100_000, 0.2, 6.25, 8, 8, 8, 24.0),
    Fleet("the same, with more workers", 100_000, 0.2, 6.25, 16, 8, 8, 24.0),
    Fleet("global Sentinel-2 watch in 14 900 tiles", 14_900, 0.2, 100.0, 8, 12, 8, 24.0),
)


@dataclass
class Day:
    """What one day of a fleet showed."""

    fleet: Fleet
    late_seconds: list[float] = field(default_factory=list)
    """From the schedule's time to the start of each run's work."""
    scene_seconds: list[float] = field(default_factory=list)
    """From the schedule's time to the delivered alerts of each scene."""
    busy: dict[str, float] = field(default_factory=lambda: {"cpu": 0.0, "segmenting": 0.0, "database": 0.0})
    """Seconds in use, by resource."""

    def find_utilisation(self) -> dict[str, float]:
        """Share of a day in which each resource is in use; above 1 a day's work takes more than a day."""
        sizes = {"cpu": self.fleet.cpu, "segmenting": self.fleet.segmenting, "database": self.fleet.database}
        return {name: used / (sizes[name] * _DAY_SECONDS) for name, used in self.busy.items()}

    def find_dollars(self, costs: Costs) -> float:
        """Price of the machines for one day, used or not."""
        fleet = self.fleet
        hourly = fleet.cpu * costs.cpu_hour + fleet.segmenting * costs.segmenting_hour
        return 24 * (hourly + fleet.database * costs.database_hour)


def simulate_day(fleet: Fleet, costs: Costs, seed: int = 1) -> Day:
    """Simulate the runs that are due in one day until all of them have ended."""
    chance, day, env = Random(seed), Day(fleet), simpy.Environment()  # noqa: S311
    sizes = {"cpu": fleet.cpu, "segmenting": fleet.segmenting, "database": fleet.database}
    pools = {name: simpy.Resource(env, size) for name, size in sizes.items()}

    def use(name: str, seconds: float) -> Generator[Any, Any, None]:
        with pools[name].request() as place:
            yield place
            yield env.timeout(seconds)
            day.busy[name] += seconds

    def scene(due: float) -> Generator[Any, Any, None]:
        # reading overlaps segmenting, so the longer of the two counts
        yield from use("segmenting", fleet.mpx * max(costs.segment_mpx, costs.read_mpx))
        yield from use("database", costs.fold + costs.write + costs.deliver)
        day.scene_seconds.append(env.now - due)

    def run(due: float, scenes: int) -> Generator[Any, Any, None]:
        yield env.timeout(due)
        with pools["cpu"].request() as place:
            yield place
            day.late_seconds.append(env.now - due)
            seconds = costs.run_start + costs.discover
            yield env.timeout(seconds)
            day.busy["cpu"] += seconds
        for _ in range(scenes):
            env.process(scene(due))

    for _ in range(fleet.watches):
        count = int(fleet.scenes_per_day) + (chance.random() < fleet.scenes_per_day % 1)
        env.process(run(chance.uniform(0, fleet.spread_hours * 3600), count))
    env.run()
    return day


def simulate_backlog(scenes: int, workers: int, seconds_per_scene: float, start_seconds: float) -> float:
    """Simulate workers that start and then drain scenes which all wait already; returns the seconds until the last."""
    env = simpy.Environment()
    left = [seconds_per_scene] * scenes

    def work() -> Generator[Any, Any, None]:
        yield env.timeout(start_seconds)
        while left:
            yield env.timeout(left.pop())

    for _ in range(workers):
        env.process(work())
    env.run()
    return float(env.now)


def run(*, quick: bool, device: str) -> dict[str, float | int]:
    """Simulate a day of each fleet; unless ``quick``, also check the model against several worker processes."""
    logging.getLogger("segwatch").setLevel(logging.ERROR)
    costs, figures = Costs(), dict[str, float | int]()
    table = Table("fleet", "runs late, p95", "scene done, p95", "cpu", "segmenting", "database", "$ a day")
    for number, fleet in enumerate(FLEETS):
        day = simulate_day(fleet, costs)
        used = day.find_utilisation()
        late, done = (find_p95(one) for one in (day.late_seconds, day.scene_seconds))
        table.add_row(
            fleet.name, f"{late / 60:.1f} min", f"{done / 60:.1f} min", *(f"{one:.0%}" for one in used.values()),
            f"{day.find_dollars(costs):.0f}",
        )  # fmt: skip
        figures |= {
            f"simulation_{number}_late_p95_seconds": round(late, 1),
            f"simulation_{number}_scene_p95_seconds": round(done, 1),
            f"simulation_{number}_dollars": round(day.find_dollars(costs), 2),
        } | {f"simulation_{number}_{name}_used": round(share, 4) for name, share in used.items()}
    out.print(table)
    return figures if quick else figures | _check(device)


def find_p95(values: list[float]) -> float:
    """Find the 95th percentile."""
    return sorted(values)[int(0.95 * (len(values) - 1))]


def _check(device: str) -> dict[str, float | int]:
    """Measure one process, predict several from it, and measure these."""
    start, alone = _measure(device, 1)
    figures: dict[str, float | int] = {
        "simulation_check_start_seconds": round(start, 2),
        "simulation_check_1_seconds": round(alone, 2),
        "simulation_check_1_scenes_per_hour": round(3600 * _CHECK_SCENES / alone, 1),
    }
    for workers in (one for one in _CHECK_WORKERS if one <= (os.cpu_count() or 1)):
        predicted = simulate_backlog(_CHECK_SCENES, workers, (alone - start) / _CHECK_SCENES, start)
        _, measured = _measure(device, workers)
        out.print(f"{workers} workers: predicted {predicted:.1f} s, measured {measured:.1f} s")
        figures |= {
            f"simulation_check_{workers}_predicted_seconds": round(predicted, 2),
            f"simulation_check_{workers}_seconds": round(measured, 2),
            f"simulation_check_{workers}_scenes_per_hour": round(3600 * _CHECK_SCENES / measured, 1),
            f"simulation_check_{workers}_ratio": round(measured / predicted, 3),
        }
    return figures


def _measure(device: str, workers: int) -> tuple[float, float]:
    """Seconds of a run without any scene, and of so many worker processes that share the scenes."""
    with run_services(device) as (stack, _, settings), ExitStack() as folders:
        environment = os.environ | {
            "SEGWATCH_DATABASE_URL": stack.cluster.info().url_for("segwatch_worker"),
            "SEGWATCH_DEVICE": device,
            "SEGWATCH_LINGER_SECONDS": "0",
            "SEGWATCH_ALLOWED_ADDRESSES": json.dumps(settings.allowed_addresses),
            "SEGWATCH_IMAGERY_HOSTS": json.dumps(settings.imagery_hosts),
            "SEGWATCH_WEBHOOK_SECRET": settings.webhook_secret.get_secret_value()
            if settings.webhook_secret
            else "",
            # so that a second worker finds a core of its own
            "OMP_NUM_THREADS": "1",
        }

        def work(count: int) -> float:
            begun, started = time.perf_counter(), []
            for _ in range(count):
                home = folders.enter_context(tempfile.TemporaryDirectory())
                argv = [sys.executable, "-m", "segwatch.flows.cli", "run", "bench"]
                started.append(subprocess.Popen(argv, env=environment | {"SEGWATCH_HOME": home}))
            for one in started:
                if one.wait():
                    raise RuntimeError(f"a worker ended with status {one.returncode}")
            return time.perf_counter() - begun

        add_items(stack, 0, 1)
        work(1)
        start = work(1)
        add_items(stack, 1, 1 + _CHECK_SCENES)
        return start, work(workers)
