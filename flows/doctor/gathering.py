"""Gather the facts: from the environment, the ledger and the Prefect server. Reads only, and never fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
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
from sqlalchemy.exc import SQLAlchemyError

from segwatch.db import health, migrate, stuck
from segwatch.db.engine import make_engine
from segwatch.db.errors import DbError, words
from segwatch.flows.config import variables
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.doctor import access
from segwatch.flows.doctor.facts import DeploymentFacts, Facts, LastRun, PoolFacts, PrefectFacts, WorkerFacts
from segwatch.flows.errors import FlowError
from segwatch.flows.orchestration.work_pools import settable
from segwatch.flows.runtime import assemble
from segwatch.flows.services.stack import Stack
from segwatch.flows.services.supervisor import Supervisor

_PAGE = 200
#: More scheduled deployments than that are not looked at one by one.
MAX_DEPLOYMENTS = 500
_HEALTH_SECONDS = 10.0
_AUTOMATIC = FlowRunFilterTags(all_=["auto-scheduled"])
_WAITING = (StateType.SCHEDULED,)
_BEGUN = tuple(one for one in StateType if one not in (StateType.SCHEDULED, StateType.PENDING))
_BAD = (StateType.FAILED, StateType.CRASHED)


def gather(settings: FlowSettings) -> Facts:
    """The facts of this moment."""
    now = datetime.now(UTC)
    ledger, work, problem = _ledger(settings)
    return Facts(
        now=now if ledger is None else ledger.now,
        unread=tuple(variables.unread(os.environ)),
        ledger=ledger,
        ledger_error=problem,
        stuck=work,
        prefect=(prefect := _prefect(settings, now)),
        root_workers=() if prefect is None else tuple(access.root_workers(prefect.url, _services(settings))),
    )


def _services(settings: FlowSettings) -> dict[int, str]:
    return {one.pid: one.name for one in Supervisor(settings.home).running()}


def _ledger(settings: FlowSettings) -> tuple[health.LedgerHealth | None, stuck.StuckWork, str | None]:
    try:
        url = assemble.worker_url(settings)
        state = migrate.state(url)
        engine = make_engine(url)
        try:
            with engine.connect() as conn:
                found, work = health.read(conn), stuck.read(conn)
        finally:
            engine.dispose()
    except (DbError, SQLAlchemyError, OSError) as error:
        return None, stuck.StuckWork(), words(error)
    up_to_date = state in ("up to date", "not shown to this role")
    return found, work, None if up_to_date else f"the schema is {state}"


def _prefect(settings: FlowSettings, now: datetime) -> PrefectFacts | None:
    url = os.environ.get("PREFECT_API_URL") or _of_home(settings)
    if url is None:
        return None
    try:
        if httpx.get(f"{url.rstrip('/')}/health", timeout=_HEALTH_SECONDS).is_server_error:
            return PrefectFacts(url, "it answers with an error")
        with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
            return _read(client, url, now)
    except (httpx.HTTPError, httpx.InvalidURL, PrefectException, ValueError) as error:
        return PrefectFacts(url, words(error))


def _of_home(settings: FlowSettings) -> str | None:
    """The server that this home folder started, also in a shell that was not told of it."""
    stack = Stack(settings.home, say=lambda _: None)
    if stack.supervisor.find("prefect") is None:
        return None
    try:
        return f"{stack.urls().prefect}/api"
    except FlowError:
        return None


def _read(client: SyncPrefectClient, url: str, now: datetime) -> PrefectFacts:
    every = list(_deployments(client))
    flows: dict[UUID, str] = {}
    named = []
    for one in every:
        if one.flow_id not in flows:
            flows[one.flow_id] = client.read_flow(one.flow_id).name
        named.append((f"{flows[one.flow_id]}/{one.name}", one))
    scheduled = [(name, one) for name, one in named if one.schedules][:MAX_DEPLOYMENTS]
    ours = {one.work_pool_name for _, one in named} - {None}
    pools = [one for one in client.read_work_pools(limit=_PAGE) if one.name in ours]
    return PrefectFacts(
        url,
        names=frozenset(name for name, _ in named),
        scheduled=tuple(_deployment(client, name, one, now) for name, one in scheduled),
        pools=tuple(_pool(client, one) for one in pools),
        door=access.door(url),
    )


def _pool(client: SyncPrefectClient, one: WorkPool) -> PoolFacts:
    open_to_runs = settable(one.type, one.base_job_template)
    return PoolFacts(one.name, one.is_paused, _workers(client, one.name), tuple(open_to_runs))


def _deployments(client: SyncPrefectClient) -> Iterator[DeploymentResponse]:
    offset = 0
    while page := client.read_deployments(limit=_PAGE, offset=offset):
        yield from page
        offset += len(page)


def _deployment(
    client: SyncPrefectClient, name: str, one: DeploymentResponse, now: datetime
) -> DeploymentFacts:
    late = _runs(client, one.id, _WAITING, FlowRunSort.EXPECTED_START_TIME_ASC, before_=now, limit=_PAGE)
    coming = _runs(client, one.id, _WAITING, FlowRunSort.EXPECTED_START_TIME_ASC, after_=now)
    done = _runs(
        client, one.id, _BEGUN, FlowRunSort.EXPECTED_START_TIME_DESC, before_=now + timedelta(days=1)
    )
    changes = [when for each in one.schedules if (when := each.updated or each.created) is not None]
    return DeploymentFacts(
        name=name,
        pool=one.work_pool_name,
        on=not one.paused and any(each.active for each in one.schedules),
        changed_at=max(changes, default=now),
        next_at=coming[0].expected_start_time if coming else None,
        late=len(late),
        late_since=late[0].expected_start_time if late else None,
        last=_last(done[0]) if done else None,
    )


def _runs(
    client: SyncPrefectClient,
    deployment_id: UUID,
    states: tuple[StateType, ...],
    sort: FlowRunSort,
    *,
    limit: int = 1,
    **when: datetime,
) -> list[Any]:
    wanted = FlowRunFilter(
        tags=_AUTOMATIC,
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states))),
        expected_start_time=FlowRunFilterExpectedStartTime.model_validate(when),
    )
    return list(client.read_flow_runs(flow_run_filter=wanted, sort=sort, limit=limit))


def _last(run: Any) -> LastRun:
    state = run.state
    message = " ".join(str(state.message or "").split())[:300]
    return LastRun(run.expected_start_time, state.name, state.type in _BAD, message)


def _workers(client: SyncPrefectClient, pool: str) -> tuple[WorkerFacts, ...]:
    found = client.read_workers_for_work_pool(pool, limit=_PAGE)
    return tuple(
        WorkerFacts(one.name, one.last_heartbeat_time, one.heartbeat_interval_seconds or 30.0)
        for one in found
    )
