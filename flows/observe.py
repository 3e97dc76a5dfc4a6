"""observe: the main job for one watch: discover, segment on the gpu pool, track, deliver.

:func:`run_in_process` does the same without a Prefect server or worker.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.states import Cancelling
from sqlalchemy import Engine

from segwatch.db import ledger, watches
from segwatch.flows import deploy, situation
from segwatch.flows.assemble import worker_engine
from segwatch.flows.deliver import deliver_outbox
from segwatch.flows.discover import discover_watch
from segwatch.flows.errors import FlowError
from segwatch.flows.outages import require_sources
from segwatch.flows.segment import drain, work_left
from segwatch.flows.segmenters import version_of
from segwatch.flows.settings import FlowSettings, load_settings
from segwatch.flows.track import track_ready
from segwatch.geo.types import Watch

_log = logging.getLogger(__name__)

SEGMENT_DEPLOYMENT = "segment/segment"
_SEGMENT_TIMEOUT_SECONDS = 6 * 3600

Report = dict[str, dict[str, Any]]


class _Steps:
    """One step after the other, whatever became of the one before: alerts do not wait for a catalog or a GPU."""

    def __init__(self) -> None:
        self.report: Report = {}
        self._failed: list[tuple[str, Exception]] = []

    def do(self, name: str, step: Callable[[], dict[str, Any]]) -> None:
        """Do it; what goes wrong is raised at the end."""
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
        _, where = situation.publish(engine, settings, watch)
        progress(f"{watch}: situation report {where}")
        return {"report": where}

    with engine.connect() as conn:
        ends = watches.current(conn, watch).watch.end is not None
    steps.do("discover", discover)
    steps.do("segment", lambda: asdict(drain(engine, settings, watch=watch, progress=progress)))
    steps.do("sources", lambda: require_sources(engine, watch))
    steps.finish(engine, settings)
    if ends:
        steps.do("situation", report)
    return steps.ended()


@flow(name="observe", log_prints=False)
def observe(watch: str, start: datetime | None = None, end: datetime | None = None) -> Report:
    """Look for new scenes of a watch and carry them through to delivered alerts.

    Segmentation is a run of its own on the gpu pool; when it is lost, what is pending stays in the
    ledger and the next run of any watch finds it. A run of the whole watch beside one that is under way does nothing.
    """
    settings = load_settings()
    with worker_engine(settings) as engine:
        with engine.connect() as conn:
            stored = watches.current(conn, watch)
        if start is not None or end is not None:
            return _observe(engine, settings, stored.watch, start, end)
        with watches.alone(engine, stored.revision_id) as alone:
            if not alone:
                _log.warning(
                    "%s: another run looks after this watch, nothing is left to do for this one", watch
                )
                return {"observe": {"under_way": "another run"}}
            return _observe(engine, settings, stored.watch, start, end)


def _observe(
    engine: Engine, settings: FlowSettings, watch: Watch, start: datetime | None, end: datetime | None
) -> Report:
    def discover() -> dict[str, Any]:
        version = version_of(settings)
        return asdict(discover_watch(engine, watch.name, model_version=version, start=start, end=end))

    def report() -> dict[str, Any]:
        seen, where = situation.publish(engine, settings, watch.name)
        create_markdown_artifact(
            situation.as_markdown(seen, where),
            key=f"situation-{watch.name}",
            description=f"Situation of {watch.name}",
        )
        return {"report": where}

    def unschedule() -> dict[str, Any]:
        deploy.schedule([watch])
        return {"over_since": watch.end}

    steps = _Steps()
    steps.do("discover", discover)
    steps.do("segment", lambda: _segment_on_gpu_pool(engine, watch.name, settings))
    steps.do("sources", lambda: require_sources(engine, watch.name))
    steps.finish(engine, settings)
    if watch.end is not None:
        steps.do("situation", report)
    if deploy.over(watch) and not steps.went_wrong("sources"):
        steps.do("schedule", unschedule)
    return steps.ended()


def _segment_on_gpu_pool(engine: Engine, watch: str, settings: FlowSettings) -> dict[str, Any]:
    if not work_left(engine, settings, watch):
        return {"run": None}
    before = _untouched(engine, watch, settings)
    run = cast(
        FlowRun,
        run_deployment(
            SEGMENT_DEPLOYMENT,
            parameters={"watch": watch},
            job_variables={"env": settings.same_model()},
            timeout=_SEGMENT_TIMEOUT_SECONDS,
            poll_interval=1,
        ),
    )
    name, state = run.name, run.state
    if state is None or not state.is_final():
        # left alone, the runs of an absent worker would pile up and all begin when it comes back
        _cancel(run.id)
        raise FlowError(
            f"the segment run {name} was {state.name if state else 'unknown'} after {_SEGMENT_TIMEOUT_SECONDS} s and "
            "was cancelled; see that a worker of the gpu pool runs. What is pending stays queued"
        )
    if not state.is_completed():
        raise FlowError(
            f"the segment run {name} ended as {state.name}: {state.message}; what is pending stays queued"
        )
    if left := before & _untouched(engine, watch, settings):
        raise FlowError(
            f"the segment run {name} completed and took up none of {len(left)} scene(s) of "
            f"{watch}: the gpu pool's worker looks at another ledger or has another model; compare "
            "SEGWATCH_DATABASE_URL and SEGWATCH_MODEL_PATH there and here. What is pending stays queued"
        )
    return {"run": str(run.id), "state": state.name}


def _cancel(run_id: UUID) -> None:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, Cancelling(message="its time was over"))


def _untouched(engine: Engine, watch: str, settings: FlowSettings) -> frozenset[UUID]:
    with engine.connect() as conn:
        return ledger.untouched(conn, model_version=version_of(settings), watch=watch)
