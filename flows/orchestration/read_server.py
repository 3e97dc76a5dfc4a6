"""Read the facts about deployments, work pools and workers from a Prefect server. Changes nothing there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import StateType, WorkPool
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_API_URL, temporary_settings

from segwatch.db.errors import describe_error
from segwatch.flows.orchestration.api_exposure import probe_api
from segwatch.flows.orchestration.server_facts import (
    DeploymentFacts,
    LastRun,
    PoolFacts,
    PrefectFacts,
    WorkerFacts,
)
from segwatch.flows.orchestration.work_pools import find_unsafe_settings

_PAGE = 200
#: Scheduled deployments beyond this number are not read one by one.
MAX_DEPLOYMENTS = 500
_HEALTH_SECONDS = 10.0
_AUTOMATIC = FlowRunFilterTags(all_=["auto-scheduled"])
_WAITING = (StateType.SCHEDULED,)
_BEGUN = tuple(one for one in StateType if one not in (StateType.SCHEDULED, StateType.PENDING))
_BAD = (StateType.FAILED, StateType.CRASHED)


def read_server(url: str, now: datetime) -> PrefectFacts:
    """Read a server's facts; a server that does not answer yields facts with ``error`` set.

    Parameters
    ----------
    url
        Address of the API, such as ``http://HOST:4200/api``.
    now
        Moment by which runs count as late.
    """
    try:
        if httpx.get(f"{url.rstrip('/')}/health", timeout=_HEALTH_SECONDS).is_server_error:
            return PrefectFacts(url, "its health check reports an error", failing=True)
        with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
            return _read(client, url, now)
    except (httpx.HTTPError, httpx.InvalidURL, PrefectException, ValueError) as error:
        failing = isinstance(error, httpx.HTTPStatusError) and error.response.is_server_error
        return PrefectFacts(url, describe_error(error), failing=failing)


def _read(client: SyncPrefectClient, url: str, now: datetime) -> PrefectFacts:
    every = list(_iterate_deployments(client))
    flows: dict[UUID, str] = {}
    named = []
    for one in every:
        if one.flow_id not in flows:
            flows[one.flow_id] = client.read_flow(one.flow_id).name
        named.append((f"{flows[one.flow_id]}/{one.name}", one))
    scheduled = [(name, one) for name, one in named if one.schedules][:MAX_DEPLOYMENTS]
    used = {one.work_pool_name for _, one in named} - {None}
    pools = [one for one in client.read_work_pools(limit=_PAGE) if one.name in used]
    return PrefectFacts(
        url,
        names=frozenset(name for name, _ in named),
        scheduled=tuple(_read_deployment(client, name, one, now) for name, one in scheduled),
        pools=tuple(_read_pool(client, one) for one in pools),
        exposure=probe_api(url),
    )


def _read_pool(client: SyncPrefectClient, one: WorkPool) -> PoolFacts:
    unsafe = find_unsafe_settings(one.type, one.base_job_template)
    return PoolFacts(one.name, one.is_paused, _read_workers(client, one.name), tuple(unsafe))


def _iterate_deployments(client: SyncPrefectClient) -> Iterator[DeploymentResponse]:
    offset = 0
    while page := client.read_deployments(limit=_PAGE, offset=offset):
        yield from page
        offset += len(page)


def _read_deployment(
    client: SyncPrefectClient, name: str, one: DeploymentResponse, now: datetime
) -> DeploymentFacts:
    ascending, descending = FlowRunSort.EXPECTED_START_TIME_ASC, FlowRunSort.EXPECTED_START_TIME_DESC
    late = _read_runs(client, one.id, _WAITING, ascending, before_=now, limit=_PAGE)
    coming = _read_runs(client, one.id, _WAITING, ascending, after_=now)
    begun = _read_runs(client, one.id, _BEGUN, descending, before_=now + timedelta(days=1))
    changes = [when for each in one.schedules if (when := each.updated or each.created) is not None]
    return DeploymentFacts(
        name=name,
        pool=one.work_pool_name,
        on=not one.paused and any(each.active for each in one.schedules),
        changed_at=max(changes, default=now),
        next_at=coming[0].expected_start_time if coming else None,
        late=len(late),
        late_since=late[0].expected_start_time if late else None,
        last=_to_last_run(begun[0]) if begun else None,
    )


def _read_runs(
    client: SyncPrefectClient,
    deployment_id: UUID,
    states: tuple[StateType, ...],
    sort: FlowRunSort,
    *,
    limit: int = 1,
    **when: datetime,
) -> list[Any]:
    """Read runs that schedules of a deployment started."""
    wanted = FlowRunFilter(
        tags=_AUTOMATIC,
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states))),
        expected_start_time=FlowRunFilterExpectedStartTime.model_validate(when),
    )
    return list(client.read_flow_runs(flow_run_filter=wanted, sort=sort, limit=limit))


def _to_last_run(run: Any) -> LastRun:
    state = run.state
    message = " ".join(str(state.message or "").split())[:300]
    return LastRun(run.expected_start_time, state.name, state.type in _BAD, message)


def _read_workers(client: SyncPrefectClient, pool: str) -> tuple[WorkerFacts, ...]:
    found = client.read_workers_for_work_pool(pool, limit=_PAGE)
    return tuple(
        WorkerFacts(one.name, one.last_heartbeat_time, one.heartbeat_interval_seconds or 30.0)
        for one in found
    )
