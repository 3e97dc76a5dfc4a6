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
from prefect.client.schemas.objects import State
from prefect.deployments import run_deployment
from sqlalchemy import Engine

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
    return {"discover": asdict(found), "segment": asdict(drained)} | _finish(engine, settings)


def _finish(engine: Engine, settings: FlowSettings) -> Report:
    return {"track": asdict(track_ready(engine)), "deliver": asdict(deliver_outbox(engine, settings))}


@flow(name="observe", log_prints=False)
def observe(watch: str, start: datetime | None = None, end: datetime | None = None) -> Report:
    """Look for new scenes of a watch and carry them through to delivered alerts.

    Segmentation is a run of its own on the gpu pool; when it is lost, what is pending stays in the
    ledger and the next run of any watch finds it.
    """
    settings = load_settings()
    engine = worker_engine(settings)
    try:
        found = discover_watch(engine, watch, model_version=version_of(settings), start=start, end=end)
        report: Report = {"discover": asdict(found), "segment": _segment_on_gpu_pool(watch, settings)}
        return report | _finish(engine, settings)
    finally:
        engine.dispose()


def _segment_on_gpu_pool(watch: str, settings: FlowSettings) -> dict[str, Any]:
    # observations are queued for one model version, so the run that answers them must load the same
    same = {"SEGWATCH_SEGMENTER": settings.segmenter, "SEGWATCH_MODEL_PATH": settings.model_path}
    run = run_deployment(
        SEGMENT_DEPLOYMENT,
        parameters={"watch": watch},
        job_variables={"env": {name: value for name, value in same.items() if value is not None}},
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
    return {"run": str(getattr(run, "id", "")), "state": state.name}
