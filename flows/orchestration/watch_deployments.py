"""Each watch's own deployment on a Prefect server, ``observe/watch-NAME``, with the schedule of the watch.

Prefect computes the runs of all schedules of a deployment together, so a schedule that it cannot compute leaves the
whole deployment without runs. Therefore each watch has a deployment of its own. ``observe/observe`` serves for runs
that users start, and as the template: its settings in ``prefect.yaml`` (code, pool, job variables, limits) apply to
every watch.

Earlier versions kept the schedules of all watches on ``observe/observe``, with the watch's name as slug. Such schedules
are moved; those that were switched off stay off.
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
#: Avoids a conflict with ``observe/observe`` for a watch named "observe".
PREFIX = "watch-"
_PAGE = 200
#: Fields that each watch's deployment copies from the shared one.
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


def make_deployment_name(watch: str) -> str:
    """Make the full name of a watch's own deployment."""
    return f"observe/{PREFIX}{watch}"


def is_deployed(client: SyncPrefectClient) -> bool:
    """Tell whether the server has the deployment from which those of watches are made."""
    try:
        client.read_deployment_by_name(SHARED)
    except ObjectNotFound:
        return False
    return True


class WatchDeployments:
    """The deployments of watches on one server.

    Raises
    ------
    FlowError
        The shared deployment does not exist.
    """

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client
        try:
            self._shared = client.read_deployment_by_name(SHARED)
        except ObjectNotFound as error:
            raise FlowError(
                f"deployment {SHARED} is not on the server yet; run: segwatch deploy (it schedules all stored watches)"
            ) from error
        schedules = client.read_deployment_schedules(self._shared.id)
        self._old = {
            one.slug: one
            for one in schedules
            if one.slug is not None and one.parameters == {"watch": one.slug}
        }

    def put(self, watch: str, cron: str | None) -> None:
        """Set the schedule of a watch (cron in UTC, or none); an inactive schedule stays inactive."""
        found = self._find(watch)
        own = _find_schedule(watch, found)
        if cron is None:
            if found is not None and own is not None and own.id is not None:
                self._client.delete_deployment_schedule(found.id, own.id)
            self._drop_old(watch)
            return
        wanted = CronSchedule(cron=cron, timezone="UTC")
        deployment = self._put_deployment(watch, found)
        if own is None:
            self._create_schedule(deployment, watch, wanted)
        elif own.id is not None and own.schedule != wanted:
            self._client.update_deployment_schedule(deployment.id, own.id, schedule=wanted)
        self._drop_old(watch)

    def set_paused(self, watch: str, *, paused: bool) -> None:
        """Pause the deployment of a watch, or end its pause; schedules that an operator switched off stay off.

        Prefect starts no run of a paused deployment, and deletes the runs that it had planned.
        """
        found = self._find(watch)
        if found is None or found.paused == paused:
            return
        if paused:
            self._client.pause_deployment(found.id)
        else:
            self._client.resume_deployment(found.id)

    def isolate(self, watch: str) -> None:
        """Move the schedule of a watch from the shared deployment to its own, unchanged."""
        old = self._old.get(watch)
        if old is None:
            return
        found = self._find(watch)
        if _find_schedule(watch, found) is None:
            self._create_schedule(self._put_deployment(watch, found), watch, old.schedule)
        self._drop_old(watch)

    def list_unmoved(self) -> list[str]:
        """List the watches whose schedules are still on the shared deployment."""
        return sorted(self._old)

    def drop(self, watch: str) -> None:
        """Delete the deployment of a watch that no longer exists, and its schedule on the shared one."""
        self._drop_old(watch)
        found = self._find(watch)
        if found is not None:
            self._client.delete_deployment(found.id)

    def drop_idle(self, watch: str) -> None:
        """Delete the deployment of a watch that is over, unless an operator gave it a schedule."""
        found = self._find(watch)
        if found is not None and not found.schedules:
            self._client.delete_deployment(found.id)

    def list_watches(self) -> list[str]:
        """List the watches that have a deployment of their own."""
        return sorted(one.name.removeprefix(PREFIX) for one in self._iterate())

    def _iterate(self) -> Iterator[DeploymentResponse]:
        like = DeploymentFilter(name=DeploymentFilterName(like_=PREFIX))
        offset = 0
        while page := self._client.read_deployments(deployment_filter=like, limit=_PAGE, offset=offset):
            for one in page:
                if one.flow_id == self._shared.flow_id and one.name.startswith(PREFIX):
                    yield one
            offset += len(page)

    def _find(self, watch: str) -> DeploymentResponse | None:
        try:
            return self._client.read_deployment_by_name(make_deployment_name(watch))
        except ObjectNotFound:
            return None

    def _put_deployment(self, watch: str, found: DeploymentResponse | None) -> DeploymentResponse:
        """Create or update the watch's deployment; keeps its schedules and whether it is paused."""
        wanted = self._make_fields(watch)
        if found is None:
            # pausing the shared deployment had paused this watch's schedule, too
            paused = self._shared.paused if watch in self._old else None
            self._client.create_deployment(
                flow_id=self._shared.flow_id, name=f"{PREFIX}{watch}", paused=paused, **wanted
            )
            return self._client.read_deployment_by_name(make_deployment_name(watch))
        now = {name: getattr(found, name) for name in (*_COMMON, "parameters", "concurrency_options")}
        if now | {"concurrency_limit": _read_limit(found)} != wanted:
            self._client.update_deployment(found.id, DeploymentUpdate(**wanted))
        return found

    def _make_fields(self, watch: str) -> dict[str, Any]:
        common = {name: getattr(self._shared, name) for name in _COMMON}
        return common | {
            "parameters": self._shared.parameters | {"watch": watch},
            "concurrency_limit": _read_limit(self._shared),
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
        """Delete the old schedule; called last, so that the watch always has a schedule."""
        old = self._old.pop(watch, None)
        if old is not None and old.id is not None:
            self._client.delete_deployment_schedule(self._shared.id, old.id)


def _find_schedule(watch: str, deployment: DeploymentResponse | None) -> DeploymentSchedule | None:
    """Find the watch's own schedule; an operator may have added others."""
    schedules = () if deployment is None else deployment.schedules
    return next((one for one in schedules if one.slug == watch), None)


def _read_limit(deployment: DeploymentResponse) -> int | None:
    limit = deployment.global_concurrency_limit
    return None if limit is None else limit.limit
