"""The pipeline from end to end: scenes and km² per hour, and the share of each stage.

Real services and the shipped model: a STAC API, a server of imagery, PostGIS and a webhook receiver. All scenes lie in
the catalog before the run begins, as in a backfill. ``orchestration`` is all time of the run that is spent neither
searching, reading, segmenting, folding, writing nor delivering: leases, circuits, heartbeats, the registry of runs. A
run on a Prefect worker adds the start of its process once a run, not once a scene; that is not measured here.
"""

from __future__ import annotations

import logging
import os
import time

import httpx
from pypgstac.db import PgstacDB
from pypgstac.load import Loader, Methods
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from segwatch.benchmarks.alerts_latency import compute_extent, make_item, run_services
from segwatch.benchmarks.machine import read_processor_seconds
from segwatch.benchmarks.stages import ORCHESTRATION, STAGES, sampling_stages
from segwatch.flows.inference import segmenters
from segwatch.flows.orchestration.in_process import run_in_process
from segwatch.flows.services.stack import Stack
from segwatch.geo.area import compute_area_m2

_QUICK, _FULL = 3, 48
#: A scene whose figures are not counted: it loads the model and fills caches.
_WARM = 1

out = Console(width=110, highlight=False)


def run(*, quick: bool, device: str) -> dict[str, float | int]:
    """Measure throughput, the stages' shares, and the processor time of a run that finds nothing new."""
    logging.getLogger("segwatch").setLevel(logging.ERROR)
    scenes, started = _QUICK if quick else _FULL, time.perf_counter()
    with run_services(device) as (stack, engine, settings):
        segmenters.load_segmenter(settings)
        add_items(stack, 0, _WARM)
        run_in_process(engine, settings, "bench")
        add_items(stack, _WARM, _WARM + scenes)
        begun = time.perf_counter()
        with sampling_stages() as took:
            run_in_process(engine, settings, "bench")
        seconds = time.perf_counter() - begun
        idle_began = time.process_time()
        run_in_process(engine, settings, "bench")
        idle = time.process_time() - idle_began
        with engine.connect() as conn:
            query = text("SELECT count(*) FROM watch.coverage WHERE state = 'observed'")
            observed = int(conn.execute(query).scalar_one())
        alerts = len(httpx.get(f"{stack.urls().receiver}/received").json())
        services = [one.pid for one in stack.supervisor.running()]
        processor = read_processor_seconds([os.getpid(), stack.cluster.status().pid or 0, *services])
    if observed != _WARM + scenes:
        raise RuntimeError(f"{observed} of {_WARM + scenes} scenes were observed")
    per_hour = scenes / seconds * 3600
    km2 = compute_area_m2(compute_extent()) / 1e6
    sampled = sum(took.values())
    figures: dict[str, float | int] = {
        "pipeline_scenes": scenes,
        "pipeline_alerts": alerts,
        "pipeline_scenes_per_hour": round(per_hour, 1),
        "pipeline_km2_per_hour": round(per_hour * km2, 1),
        "pipeline_seconds_per_scene": round(seconds / scenes, 3),
        "pipeline_idle_run_cpu_seconds": round(idle, 3),
        "pipeline_total_cpu_seconds": processor,
        "pipeline_total_seconds": round(time.perf_counter() - started, 1),
    }
    table = Table("stage", "s per scene", "share", title=f"{scenes} scenes in {seconds:.1f} s")
    for stage in STAGES:
        share = took[stage] / sampled
        table.add_row(stage, f"{took[stage] / scenes:.3f}", f"{share:.1%}")
        figures[f"pipeline_{stage}_seconds_per_scene"] = round(took[stage] / scenes, 4)
        figures[f"pipeline_{stage}_share"] = round(share, 4)
    out.print(table)
    # a GPU makes the model's part short, and this share is what is left then
    without_model = took[ORCHESTRATION] / (sampled - took["segment"])
    figures["pipeline_orchestration_share_without_model"] = round(without_model, 4)
    out.print(f"the whole benchmark: {processor:.0f} processor seconds, services included")
    out.print(
        f"orchestration: {took[ORCHESTRATION] / sampled:.1%} of a scene's time, {without_model:.1%} without the model's"
    )
    return figures


def add_items(stack: Stack, first: int, stop: int) -> None:
    """Put the items of some scenes into the catalog."""
    with PgstacDB(dsn=stack.cluster.info().superuser_url("stac")) as database:
        items = [make_item(stack, number) for number in range(first, stop)]
        Loader(database).load_items(iter(items), Methods.upsert)
