"""observe: the main job for one watch: discover, segment on the gpu pool, track, deliver.

:func:`run_in_process` does the same without a Prefect server or worker.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed
from sqlalchemy import Engine

from segwatch.db import ledger, outbox, runs, watches
from segwatch.flows.alerting.courier import deliver_outbox
from segwatch.flows.config.settings import FlowSettings, load_settings
from segwatch.flows.discover import discover_watch
from segwatch.flows.errors import FlowError
from segwatch.flows.failures.outages import require_sources
from segwatch.flows.inference.segmenters import version_of
from segwatch.flows.orchestration import deploy
from segwatch.flows.orchestration.gpu_pool import segment_on_pool
from segwatch.flows.orchestration.heartbeats import registered
from segwatch.flows.orchestration.lost_runs import end_lost
from segwatch.flows.report.publish import publish
from segwatch.flows.report.summary import render_markdown
from segwatch.flows.runtime import stopping
from segwatch.flows.runtime.assemble import worker_engine
from segwatch.flows.segment import drain
from segwatch.flows.track import track_ready
from segwatch.geo.types.watch import Watch

_log = logging.getLogger(__name__)

Report = dict[str, dict[str, Any]]


class _Steps:
    """One step after the other, whatever became of the one before: alerts do not wait for a catalog or a GPU."""

    def __init__(self) -> None:
        self.report: Report = {}
        self._failed: list[tuple[str, Exception]] = []

    def do(self, name: str, step: Callable[[], dict[str, Any]]) -> None:
        """Do it, unless the process is to stop; what goes wrong is raised at the end."""
        if stopping.requested.is_set():
            return
        try:
            if found := step():
                self.report[name] = found
        except Exception as error:
            _log.warning("%s failed, the other steps go on: %s", name, error)
            self._failed.append((name, error))

    def went_wrong(self, name: str) -> bool:
        """Whether a step was done and failed."""
        return any(one == name for one, _ in self._failed)

    def finish(self, engine: Engine, settings: FlowSettings) -> None:
        """Publish what is answered and send what is to be sent, of every watch."""
        self.do("track", lambda: asdict(track_ready(engine)))
        self.do("deliver", lambda: asdict(deliver_outbox(engine, settings)))

    def ended(self) -> Report:
        """Counts by step.

        Raises
        ------
        Exception
            What went wrong in a step; a FlowError with all of it where that was more than one.
        """
        if len(self._failed) == 1:
            raise self._failed[0][1]
        if self._failed:
            told = "; ".join(f"{name}: {error}" for name, error in self._failed)
            raise FlowError(told) from self._failed[0][1]
        return self.report


def run_in_process(
    engine: Engine,
    settings: FlowSettings,
    watch: str,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    progress: Callable[[str], None] = _log.info,
) -> Report:
    """The whole job for one watch in this process; counts by step."""
    version = version_of(settings)  # a wrong setting is told before anything is begun
    steps = _Steps()

    def discover() -> dict[str, Any]:
        progress(f"{watch}: searching the catalog")
        found = discover_watch(engine, watch, model_version=version, start=start, end=end)
        progress(f"{watch}: {found.scenes} scene(s), {found.queued} new; loading the model")
        return asdict(found)

    def report() -> dict[str, Any]:
        _, where = publish(engine, settings, watch)
        progress(f"{watch}: situation report {where}")
        return {"report": where}

    with engine.connect() as conn:
        ends = watches.current(conn, watch).watch.end is not None
    with registered(engine, settings, "run", watch=watch):
        steps.do("discover", discover)
        steps.do("segment", lambda: asdict(drain(engine, settings, watch=watch, progress=progress)))
        steps.do("sources", lambda: require_sources(engine, watch))
        steps.finish(engine, settings)
        if ends:
            steps.do("situation", report)
        steps.do("left", lambda: _left(engine, settings, watch))
    return steps.ended()


def _left(engine: Engine, settings: FlowSettings, watch: str) -> dict[str, Any]:
    """What is still to be done of a watch, and until when it waits.

    Raises
    ------
    FlowError
        It could be done now, and nobody does it.
    """
    with engine.connect() as conn:
        left = ledger.open_work(conn, model_version=version_of(settings), watch=watch)
        waiting = outbox.waiting(conn)
    if left.free:
        raise FlowError(f"{watch} is not done: {left}. Run it again: segwatch run {watch}")
    return {"pending": ([str(left)] if left.held or left.later else []) + waiting}


@flow(name="observe", log_prints=False)
def observe(watch: str, start: datetime | None = None, end: datetime | None = None) -> Report | State[Report]:
    """Look for new scenes of a watch and carry them through to delivered alerts.

    Segmentation is a run of its own on the gpu pool; when it is lost, another one takes its place, and what is pending
    stays in the ledger. A run of the whole watch beside one that is at work does nothing but take over what a lost
    worker held; it ends as Skipped and says which run it leaves the watch to.
    """
    settings = load_settings()
    with worker_engine(settings) as engine:
        end_lost(engine)
        with engine.connect() as conn:
            stored = watches.current(conn, watch)
        # a period that is asked for is nobody else's
        subject = None if start is not None or end is not None else f"observe {stored.revision_id}"
        with registered(engine, settings, "observe", watch=watch, subject=subject) as holder:
            if holder is None:
                return _observe(engine, settings, stored.watch, start, end)
            done = _leave_to(engine, settings, watch, holder)
    if "segment" in done:
        return done
    said = f"did nothing: {watch} is observed by the {holder}; {done['observe']['left']}"
    return Completed(name="Skipped", message=said, data=done)


def _observe(
    engine: Engine, settings: FlowSettings, watch: Watch, start: datetime | None, end: datetime | None
) -> Report:
    def discover() -> dict[str, Any]:
        version = version_of(settings)
        return asdict(discover_watch(engine, watch.name, model_version=version, start=start, end=end))

    def report() -> dict[str, Any]:
        seen, where = publish(engine, settings, watch.name)
        create_markdown_artifact(
            render_markdown(seen, where),
            key=f"situation-{watch.name}",
            description=f"Situation of {watch.name}",
        )
        return {"report": where}

    def unschedule() -> dict[str, Any]:
        deploy.schedule([watch])
        return {"over_since": watch.end}

    steps = _Steps()
    steps.do("discover", discover)
    steps.do("segment", lambda: segment_on_pool(engine, settings, watch.name))
    steps.do("sources", lambda: require_sources(engine, watch.name))
    steps.finish(engine, settings)
    if watch.end is not None:
        steps.do("situation", report)
    if deploy.over(watch) and not steps.went_wrong("sources"):
        steps.do("schedule", unschedule)
    return steps.ended()


def _leave_to(engine: Engine, settings: FlowSettings, watch: str, holder: runs.Run) -> Report:
    """What a run does beside the one that observes the watch: nothing, unless work lies there that nobody holds."""
    with engine.connect() as conn:
        left = ledger.open_work(conn, model_version=version_of(settings), watch=watch)
    _log.warning("%s is observed by another run, the %s; left: %s", watch, holder, left)
    steps = _Steps()
    steps.report["observe"] = {
        "under_way": str(holder),
        "lease_until": holder.lease_until,
        "expired_leases": left.expired,
        "left": str(left),
    }
    if left.expired:
        # the worker that held these is gone; whoever comes by takes them over
        steps.do("segment", lambda: segment_on_pool(engine, settings, watch))
        steps.finish(engine, settings)
    return steps.ended()
