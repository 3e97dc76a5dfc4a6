"""Each watch's own deployment on a Prefect server, ``observe/watch-NAME``: it carries the watch's schedule.

Prefect computes the runs of all schedules of a deployment together, and one that it cannot compute leaves the whole
deployment without runs. Therefore no two watches share one. ``observe/observe`` stays for runs that somebody asks for,
and as the pattern: what ``prefect.yaml`` says of it (code, pool, job variables, limits) holds for each watch's own.

Before, the schedules of all watches lay on ``observe/observe``, with the watch's name as slug. They are moved as found:
what was switched off stays off.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound

from segwatch.flows.errors import FlowError

SHARED = "observe/observe"
#: A watch may be called "observe".
PREFIX = "watch-"
_PAGE = 200
#: What each watch's deployment has in common with the shared one.
_COMMON = (
    "description",
    "enforce_parameter_schema",
    "entrypoint",
    "job_variables",
    "parameter_openapi_schema",
    "path",
    "pull_steps",
    "tags",
    "version",
    "work_pool_name",
    "work_queue_name",
)


def name_of(watch: str) -> str:
    """Full name of a watch's own deployment."""
    return f"observe/{PREFIX}{watch}"


class WatchDeployments:
    """The deployments of watches on one server.

    Raises
    ------
    FlowError
        The shared deployment is not there.
    """

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client
        try:
            self._shared = client.read_deployment_by_name(SHARED)
        except ObjectNotFound as error:
            raise FlowError(
                f"deployment {SHARED} is not on the server; run `segwatch deploy` first"
            ) from error
        schedules = client.read_deployment_schedules(self._shared.id)
        self._old = {
            one.slug: one
            for one in schedules
            if one.slug is not None and one.parameters == {"watch": one.slug}
        }

    def put(self, watch: str, cron: str | None) -> None:
        """Give a watch this schedule, UTC, or none; whether it is switched on stays as it was."""
        found = self._find(watch)
        own = _schedule_of(watch, found)
        if cron is None:
            if found is not None and own is not None and own.id is not None:
                self._client.delete_deployment_schedule(found.id, own.id)
            self._drop_old(watch)
            return
        wanted = CronSchedule(cron=cron, timezone="UTC")
        deployment = self._like_shared(watch, found)
        if own is None:
            self._create_schedule(deployment, watch, wanted)
        elif own.id is not None and own.schedule != wanted:
            self._client.update_deployment_schedule(deployment.id, own.id, schedule=wanted)
        self._drop_old(watch)

    def isolate(self, watch: str) -> None:
        """Move the schedule that a watch has on the shared deployment to its own, whatever it is."""
        old = self._old.get(watch)
        if old is None:
            return
        found = self._find(watch)
        if _schedule_of(watch, found) is None:
            self._create_schedule(self._like_shared(watch, found), watch, old.schedule)
        self._drop_old(watch)

    def not_moved(self) -> list[str]:
        """Watches whose schedules are still on the shared deployment."""
        return sorted(self._old)

    def drop(self, watch: str) -> None:
        """A watch that is gone: its deployment goes, and what it had on the shared one."""
        self._drop_old(watch)
        found = self._find(watch)
        if found is not None:
            self._client.delete_deployment(found.id)

    def drop_idle(self, watch: str) -> None:
        """A watch that is over: its deployment goes, unless somebody gave it a schedule."""
        found = self._find(watch)
        if found is not None and not found.schedules:
            self._client.delete_deployment(found.id)

    def watches(self) -> list[str]:
        """Watches that have a deployment of their own here."""
        return sorted(one.name.removeprefix(PREFIX) for one in self._every())

    def _every(self) -> Iterator[DeploymentResponse]:
        like = DeploymentFilter(name=DeploymentFilterName(like_=PREFIX))
        offset = 0
        while page := self._client.read_deployments(deployment_filter=like, limit=_PAGE, offset=offset):
            for one in page:
                if one.flow_id == self._shared.flow_id and one.name.startswith(PREFIX):
                    yield one
            offset += len(page)

    def _find(self, watch: str) -> DeploymentResponse | None:
        try:
            return self._client.read_deployment_by_name(name_of(watch))
        except ObjectNotFound:
            return None

    def _like_shared(self, watch: str, found: DeploymentResponse | None) -> DeploymentResponse:
        """The watch's deployment, made or brought up to date; its schedules and whether it is paused stay."""
        wanted = self._wanted(watch)
        if found is None:
            # who paused the shared deployment had paused this watch's schedule, too
            paused = self._shared.paused if watch in self._old else None
            self._client.create_deployment(
                flow_id=self._shared.flow_id, name=f"{PREFIX}{watch}", paused=paused, **wanted
            )
            return self._client.read_deployment_by_name(name_of(watch))
        now = {name: getattr(found, name) for name in (*_COMMON, "parameters", "concurrency_options")}
        if now | {"concurrency_limit": _limit(found)} != wanted:
            self._client.update_deployment(found.id, DeploymentUpdate(**wanted))
        return found

    def _wanted(self, watch: str) -> dict[str, Any]:
        common = {name: getattr(self._shared, name) for name in _COMMON}
        return common | {
            "parameters": self._shared.parameters | {"watch": watch},
            "concurrency_limit": _limit(self._shared),
            "concurrency_options": self._shared.concurrency_options,
        }

    def _create_schedule(self, deployment: DeploymentResponse, watch: str, schedule: Any) -> None:
        old = self._old.get(watch)
        made = DeploymentScheduleCreate(
            schedule=schedule,
            slug=watch,
            active=True if old is None else old.active,
            max_scheduled_runs=None if old is None else old.max_scheduled_runs,
        )
        self._client.create_deployment_schedules(deployment.id, [made])

    def _drop_old(self, watch: str) -> None:
        """Last, so that a watch is at no time without its schedule."""
        old = self._old.pop(watch, None)
        if old is not None and old.id is not None:
            self._client.delete_deployment_schedule(self._shared.id, old.id)


def _schedule_of(watch: str, deployment: DeploymentResponse | None) -> DeploymentSchedule | None:
    """The one that is ours; an operator may have added others."""
    schedules = () if deployment is None else deployment.schedules
    return next((one for one in schedules if one.slug == watch), None)


def _limit(deployment: DeploymentResponse) -> int | None:
    limit = deployment.global_concurrency_limit
    return None if limit is None else limit.limit
