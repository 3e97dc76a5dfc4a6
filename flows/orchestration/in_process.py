"""Observe a watch in this process, without a Prefect server or worker."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Engine

from segwatch.db import ledger, outbox, watches
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.errors import FlowError
from segwatch.flows.failures.outages import require_sources
from segwatch.flows.inference import watch_models
from segwatch.flows.inference.drain import drain
from segwatch.flows.orchestration.heartbeats import register_run
from segwatch.flows.pipeline.discovery import discover_watch, require_active
from segwatch.flows.pipeline.steps import Report, Steps
from segwatch.flows.report.publish import publish

_log = logging.getLogger(__name__)


def run_in_process(
    engine: Engine,
    settings: FlowSettings,
    watch: str,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    progress: Callable[[str], None] = _log.info,
) -> Report:
    """Discover, segment, track and deliver one watch in this process; return the counts by step.

    Parameters
    ----------
    start, end
        Narrow the watch's own period.
    progress
        Receives one line for each step and scene.

    Raises
    ------
    WatchPaused
        The watch is paused.
    FlowError
        A step failed, or work is left that could be done now.
    """
    version = watch_models.read_version(
        engine, settings, watch
    )  # an invalid setting is reported before any work begins
    require_active(engine, watch)
    steps = Steps()

    def discover() -> dict[str, Any]:
        progress(f"{watch}: searching the catalog")
        found = discover_watch(engine, watch, model_version=version, start=start, end=end)
        progress(f"{watch}: {found.scenes} scene(s), {found.queued} new; loading the model")
        return asdict(found)

    def report() -> dict[str, Any]:
        _, where = publish(engine, settings, watch)
        progress(f"{watch}: briefing {where}")
        return {"report": where}

    with engine.connect() as conn:
        ends = watches.load_current(conn, watch).watch.end is not None
    with register_run(engine, settings, "run", watch=watch):
        steps.do("discover", discover)
        steps.do("segment", lambda: asdict(drain(engine, settings, watch=watch, progress=progress)))
        steps.do("sources", lambda: require_sources(engine, watch))
        steps.track_and_deliver(engine, settings)
        if ends:
            steps.do("situation", report)
        steps.do("left", lambda: _report_left(engine, settings, watch))
    return steps.end()


def _report_left(engine: Engine, settings: FlowSettings, watch: str) -> dict[str, Any]:
    """Work that is left for later, and until when it waits.

    Raises
    ------
    FlowError
        Work is left that could be done now.
    """
    with engine.connect() as conn:
        version = watch_models.find_version(conn, settings, watch)
        left = ledger.read_open_work(conn, model_version=version, watch=watch)
        waiting = outbox.describe_waiting(conn)
    if left.free:
        raise FlowError(f"{watch} is not done: {left}. Run it again: segwatch run {watch}")
    return {"pending": ([str(left)] if left.held or left.later else []) + waiting}
