"""observe: the main job for one watch: discover, segment on the gpu pool, track, deliver.

:func:`run_in_process` does the same without a Prefect server or worker.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.deployments import run_deployment
from sqlalchemy import Engine

from segwatch.db import ledger, watches
from segwatch.flows import situation
from segwatch.flows.assemble import worker_engine
from segwatch.flows.deliver import deliver_outbox
from segwatch.flows.discover import discover_watch
from segwatch.flows.errors import FlowError
from segwatch.flows.segment import drain
from segwatch.flows.segmenters import version_of
from segwatch.flows.settings import FlowSettings, load_settings
from segwatch.flows.track import track_ready

_log = logging.getLogger(__name__)

SEGMENT_DEPLOYMENT = "segment/segment"
_SEGMENT_TIMEOUT_SECONDS = 6 * 3600

Report = dict[str, dict[str, Any]]


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
    progress(f"{watch}: searching the catalog")
    found = discover_watch(engine, watch, model_version=version_of(settings), start=start, end=end)
    progress(f"{watch}: {found.scenes} scene(s), {found.queued} new; loading the model")
    drained = drain(engine, settings, watch=watch, progress=progress)
    report = {"discover": asdict(found), "segment": asdict(drained)} | _finish(engine, settings)
    if ends(engine, watch):
        _, where = situation.publish(engine, settings, watch)
        progress(f"{watch}: situation report {where}")
    return report


def ends(engine: Engine, watch: str) -> bool:
    """Whether the watch is for a while, as disaster runs are: each of its runs writes a situation report."""
    with engine.connect() as conn:
        return watches.current(conn, watch).watch.end is not None


def _finish(engine: Engine, settings: FlowSettings) -> Report:
    return {"track": asdict(track_ready(engine)), "deliver": asdict(deliver_outbox(engine, settings))}


@flow(name="observe", log_prints=False)
def observe(watch: str, start: datetime | None = None, end: datetime | None = None) -> Report:
    """Look for new scenes of a watch and carry them through to delivered alerts.

    Segmentation is a run of its own on the gpu pool; when it is lost, what is pending stays in the
    ledger and the next run of any watch finds it.
    """
    settings = load_settings()
    with worker_engine(settings) as engine:
        found = discover_watch(engine, watch, model_version=version_of(settings), start=start, end=end)
        report: Report = {"discover": asdict(found), "segment": _segment_on_gpu_pool(engine, watch, settings)}
        report |= _finish(engine, settings)
        if ends(engine, watch):
            seen, where = situation.publish(engine, settings, watch)
            create_markdown_artifact(
                situation.as_markdown(seen, where),
                key=f"situation-{watch}",
                description=f"Situation of {watch}",
            )
        return report


def _segment_on_gpu_pool(engine: Engine, watch: str, settings: FlowSettings) -> dict[str, Any]:
    before = _untouched(engine, watch, settings)
    run = run_deployment(
        SEGMENT_DEPLOYMENT,
        parameters={"watch": watch},
        job_variables={"env": settings.same_model()},
        timeout=_SEGMENT_TIMEOUT_SECONDS,
        poll_interval=1,
    )
    state: State[Any] | None = getattr(run, "state", None)
    if state is None or not state.is_completed():
        name = state.name if state else "unknown"
        message = state.message if state else ""
        raise FlowError(
            f"the segment run {getattr(run, 'name', '?')} ended as {name}: {message}; what is pending stays queued"
        )
    if left := before & _untouched(engine, watch, settings):
        raise FlowError(
            f"the segment run {getattr(run, 'name', '?')} completed and took up none of {len(left)} scene(s) of "
            f"{watch}: the gpu pool's worker looks at another ledger or has another model; compare "
            "SEGWATCH_DATABASE_URL and SEGWATCH_MODEL_PATH there and here. What is pending stays queued"
        )
    return {"run": str(getattr(run, "id", "")), "state": state.name}


def _untouched(engine: Engine, watch: str, settings: FlowSettings) -> frozenset[UUID]:
    with engine.connect() as conn:
        return ledger.untouched(conn, model_version=version_of(settings), watch=watch)
