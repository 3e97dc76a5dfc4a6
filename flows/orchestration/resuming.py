"""Start a run for scenes that may be tried again and that no other run takes soon.

Such scenes waited for a source that was away, for their next attempt, or for a worker that was killed. The schedule of
their watch may be a day away. A segment run takes them all up; with ``SEGWATCH_SEGMENT_HERE`` there may be no worker
for it, so observe runs do, which segment in their own process what the gpu pool does not.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.settings import get_current_settings
from sqlalchemy import Engine

from segwatch.db import ledger, runs
from segwatch.db.errors import describe_error
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.inference import watch_models
from segwatch.flows.orchestration.gpu_pool import SEGMENT_DEPLOYMENT
from segwatch.flows.orchestration.watch_deployments import SHARED

_log = logging.getLogger(__name__)

#: Flows whose runs segment the scenes of their watch.
_FLOWS = ("observe", "run", "segment")
_OPEN_STATES = (StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.CANCELLING)
#: A run that is scheduled for later than this is not waited for.
_SOON = timedelta(minutes=5)
_PAGE = 200
#: Observe runs that one call starts.
_MAX_STARTED = 10


def resume_waiting(engine: Engine, settings: FlowSettings) -> list[str]:
    """Start one segment run of all watches if any has scenes that may be tried now and that no run takes.

    With ``SEGWATCH_SEGMENT_HERE`` an observe run of each of these watches is started instead.

    Without a Prefect server this does nothing. It never raises: the next call tries again.

    Returns
    -------
    list[str]
        Watches whose scenes are taken up; empty if no run was started.
    """
    if get_current_settings().api.url is None:
        return []
    try:
        with engine.connect() as conn:
            versions = [version for version, _ in watch_models.list_models(conn, settings)]
            free = sorted({name for one in versions for name in ledger.list_free(conn, model_version=one)})
            busy = runs.list_watches(conn, _FLOWS) if free else set()
        waiting = [name for name in free if name not in busy] if None not in busy else []
        if not waiting:
            return []
        return start_observing(waiting) if settings.segment_here else _start(waiting)
    except Exception as error:  # whatever it is, tracking goes on
        _log.warning(
            "no run could be started for waiting scenes, the next track run tries again: %s",
            describe_error(error),
        )
        return []


def _start(waiting: list[str]) -> list[str]:
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(SEGMENT_DEPLOYMENT)
        busy = set(_list_open(client, FlowRunFilterDeploymentId(any_=[deployment.id])))
        left = [name for name in waiting if name not in busy]
        if None in busy or not left:
            return []
        run = client.create_flow_run_from_deployment(deployment.id, parameters={})
    _log.info("segment run %s takes up waiting scenes of %s", run.name, ", ".join(left))
    return left


def start_observing(waiting: list[str]) -> list[str]:
    """Start an observe run of each watch that has none; at most some at once, the next track run starts others."""
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(SHARED)
        busy = set(_list_open(client, FlowRunFilterDeploymentId(any_=[deployment.id])))
        left = [name for name in waiting if name not in busy][:_MAX_STARTED]
        for name in left:
            client.create_flow_run_from_deployment(deployment.id, parameters={"watch": name})
    if left:
        _log.info("observe runs take up waiting scenes of %s", ", ".join(left))
    return left


def _list_open(client: SyncPrefectClient, deployment: FlowRunFilterDeploymentId) -> Iterator[str | None]:
    """List the watches of runs that have not ended; None = a run of all watches."""
    return (one.parameters.get("watch") for one in list_open(client, deployment, _OPEN_STATES))


def list_open(
    client: SyncPrefectClient, deployment: FlowRunFilterDeploymentId, states: Sequence[StateType]
) -> Iterator[FlowRun]:
    """List the runs of a deployment in some states, without those that are scheduled for later."""
    state = FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states)))
    found = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(deployment_id=deployment, state=state), limit=_PAGE
    )
    for one in found:
        expected = one.expected_start_time
        if (
            one.state_type is not StateType.SCHEDULED
            or expected is None
            or expected <= datetime.now(UTC) + _SOON
        ):
            yield one
