"""The observe flow, the main job of one watch: discover, segment on the gpu pool, track, deliver.

:func:`segwatch.flows.orchestration.in_process.run_in_process` does the same without a Prefect server or worker.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from datetime import datetime
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed
from sqlalchemy import Engine

from segwatch.db import ledger, runs, watch_actions, watches
from segwatch.flows.config.settings import FlowSettings, load_settings
from segwatch.flows.failures.outages import require_sources
from segwatch.flows.inference import watch_models
from segwatch.flows.orchestration import deploy
from segwatch.flows.orchestration.gpu_pool import segment_on_pool
from segwatch.flows.orchestration.heartbeats import register_run
from segwatch.flows.orchestration.lost_runs import end_lost_runs
from segwatch.flows.pipeline.discovery import discover_watch
from segwatch.flows.pipeline.steps import Report, Steps
from segwatch.flows.report.publish import publish
from segwatch.flows.report.summary import render_markdown
from segwatch.flows.runtime.assemble import open_run_engine
from segwatch.geo.types.watch import Watch

_log = logging.getLogger(__name__)


@flow(name="observe", log_prints=False)
def observe(watch: str, start: datetime | None = None, end: datetime | None = None) -> Report | State[Report]:
    """Look for new scenes of a watch and carry them through to delivered alerts.

    Segmentation is a separate run on the gpu pool; if that is lost, another one replaces it, and pending work stays in
    the ledger. While one run observes the whole watch, a second one only takes over what a lost worker held; it ends as
    Skipped and names the run that observes the watch. A run of a paused watch ends as Skipped, too.
    """
    settings = load_settings()
    with open_run_engine(settings) as engine:
        end_lost_runs(engine)
        with engine.connect() as conn:
            pause = watch_actions.find_pause(conn, watch)
        if pause is not None:
            return Completed(
                name="Skipped", message=f"did nothing: {pause}", data={"observe": {"paused": str(pause)}}
            )
        with engine.connect() as conn:
            stored = watches.load_current(conn, watch)
        # runs with a period of their own may run beside others
        subject = None if start is not None or end is not None else f"observe {stored.revision_id}"
        with register_run(engine, settings, "observe", watch=watch, subject=subject) as holder:
            if holder is None:
                return _observe(engine, settings, stored.watch, start, end)
            done = _take_over_expired(engine, settings, watch, holder)
    if "segment" in done:
        return done
    message = f"did nothing: {watch} is observed by the {holder}; {done['observe']['left']}"
    return Completed(name="Skipped", message=message, data=done)


def _observe(
    engine: Engine, settings: FlowSettings, watch: Watch, start: datetime | None, end: datetime | None
) -> Report:
    def discover() -> dict[str, Any]:
        version = watch_models.read_version(engine, settings, watch.name)
        return asdict(discover_watch(engine, watch.name, model_version=version, start=start, end=end))

    def report() -> dict[str, Any]:
        rendered, where = publish(engine, settings, watch.name)
        create_markdown_artifact(
            render_markdown(rendered, where),
            key=f"situation-{watch.name}",
            description=f"Situation of {watch.name}",
        )
        return {"report": where}

    def unschedule() -> dict[str, Any]:
        deploy.schedule_watches([watch])
        return {"over_since": watch.end}

    steps = Steps()
    steps.do("discover", discover)
    steps.do("segment", lambda: segment_on_pool(engine, settings, watch.name))
    steps.do("sources", lambda: require_sources(engine, watch.name))
    steps.track_and_deliver(engine, settings)
    if watch.end is not None:
        steps.do("situation", report)
    if deploy.is_over(watch) and not steps.has_failed("sources"):
        steps.do("schedule", unschedule)
    return steps.end()


def _take_over_expired(engine: Engine, settings: FlowSettings, watch: str, holder: runs.Run) -> Report:
    """Segment observations whose lease expired, beside the run that observes the watch; else do nothing."""
    with engine.connect() as conn:
        version = watch_models.find_version(conn, settings, watch)
        left = ledger.read_open_work(conn, model_version=version, watch=watch)
    _log.warning("%s is observed by another run, the %s; left: %s", watch, holder, left)
    steps = Steps()
    steps.report["observe"] = {
        "under_way": str(holder),
        "lease_until": holder.lease_until,
        "expired_leases": left.expired,
        "left": str(left),
    }
    if left.expired:
        # the worker that held these leases is gone
        steps.do("segment", lambda: segment_on_pool(engine, settings, watch))
        steps.track_and_deliver(engine, settings)
    return steps.end()
