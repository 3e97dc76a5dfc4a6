"""Put segwatch on a Prefect server: work pools, deployments, and each watch's own with its schedule. Idempotent.

What an operator set on the server stays: work pools that are there (but for a template by which a run could execute
commands), the schedules of deployments that are there (of a watch's own schedule, whether it is switched on), and
whether a watch's deployment is paused.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import httpx
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.exceptions import ObjectAlreadyExists
from sqlalchemy import Engine

from segwatch.db import watches
from segwatch.db.errors import DbError
from segwatch.flows.config import cadence
from segwatch.flows.errors import ConfigError, FlowError
from segwatch.flows.orchestration import work_pools
from segwatch.flows.orchestration.watch_deployments import WatchDeployments
from segwatch.geo.types.watch import Watch

_log = logging.getLogger(__name__)

#: Seconds; it takes a few.
_MAX_DEPLOY_SECONDS = 600.0


def deployments_folder() -> Path:
    """The folder with ``prefect.yaml`` and the work pools: of the checkout, or shipped in the package."""
    folder = Path(str(resources.files("segwatch.flows"))).resolve().parent / "deployments"
    shipped = Path(str(resources.files("segwatch.flows"))) / "deployments"
    for candidate in (folder, shipped):
        if (candidate / "prefect.yaml").exists():
            return candidate
    raise ConfigError(f"prefect.yaml is neither in {folder} nor in {shipped}; give --folder")


@contextmanager
def reached() -> Iterator[None]:
    """A block that talks to the server of PREFECT_API_URL.

    Raises
    ------
    FlowError
        Nobody answers there.
    """
    try:
        yield
    except httpx.TransportError as error:
        where = os.environ.get("PREFECT_API_URL", "not set")
        raise FlowError(
            f"PREFECT_API_URL={where} does not answer: {error}; start the server with: prefect server start, or "
            "correct the address, e.g. http://HOST:4200/api"
        ) from error


def deploy(folder: Path) -> None:
    """Create or update the deployments of ``folder`` on the server of PREFECT_API_URL, and the pools that it lacks.

    Raises
    ------
    FlowError
        The server does not answer, or does not take them.
    """
    with reached(), get_client(sync_client=True) as client:
        for file in sorted((folder / "work_pools").glob("*.json")):
            _put_pool(client, WorkPoolCreate(**json.loads(file.read_text())))
        with _schedules_kept(client, folder):
            _apply(folder)


def _put_pool(client: SyncPrefectClient, wanted: WorkPoolCreate) -> None:
    """Make a pool that is not there, and close the template of one that is."""
    try:
        client.create_work_pool(wanted)
    except ObjectAlreadyExists:
        found = client.read_work_pool(wanted.name)
        opened = work_pools.settable(found.type, found.base_job_template)
        if not opened:
            _log.info("work pool %s is there and stays as it is", wanted.name)
        elif found.type == wanted.type:
            _log.warning(
                "work pool %s: its template let a run set %s, and is replaced; what it set for all runs belongs in the "
                "environment of its workers",
                wanted.name,
                ", ".join(opened),
            )
            client.update_work_pool(wanted.name, WorkPoolUpdate(base_job_template=wanted.base_job_template))
        else:
            _log.warning(
                "work pool %s is of type %s and stays as it is, though its template lets a run set %s; see "
                "docs/how-to/control-plane.md",
                wanted.name,
                found.type,
                ", ".join(opened),
            )


def _apply(folder: Path) -> None:
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "prefect", "--no-prompt", "deploy", "--all"],
            cwd=folder,
            env=os.environ.copy(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_MAX_DEPLOY_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise FlowError(
            f"prefect deploy did not end within {_MAX_DEPLOY_SECONDS:.0f} s; see that the server answers, and run: "
            "segwatch deploy"
        ) from error
    if done.returncode:
        raise FlowError(f"prefect deploy failed:\n{done.stdout}{done.stderr}")


@contextmanager
def _schedules_kept(client: SyncPrefectClient, folder: Path) -> Iterator[None]:
    """Deployments that are there have the same schedules after the block: ``prefect deploy`` replaces them."""
    file = yaml.safe_load((folder / "prefect.yaml").read_text(encoding="utf-8"))
    names = DeploymentFilterName(any_=[one["name"] for one in file["deployments"]])
    there = client.read_deployments(deployment_filter=DeploymentFilter(name=names))
    before = {one.id: _creatable(client.read_deployment_schedules(one.id)) for one in there}
    try:
        yield
    finally:
        for deployment_id, kept in before.items():
            now = client.read_deployment_schedules(deployment_id)
            if _creatable(now) == kept:
                continue
            for one in now:
                if one.id is not None:
                    client.delete_deployment_schedule(deployment_id, one.id)
            if kept:
                client.create_deployment_schedules(deployment_id, kept)


def _creatable(schedules: Sequence[DeploymentSchedule]) -> list[DeploymentScheduleCreate]:
    made = [
        DeploymentScheduleCreate(
            schedule=one.schedule,
            active=one.active,
            max_scheduled_runs=one.max_scheduled_runs,
            parameters=one.parameters,
            slug=one.slug,
        )
        for one in schedules
    ]
    return sorted(made, key=str)


def schedule_all(engine: Engine) -> None:
    """Give every watch of the ledger its schedule, and drop the deployments of those that it does not know.

    Raises
    ------
    FlowError
        The server does not answer; or, at the end, with the watches that could not be scheduled: what these had before
        stays.
    """
    found: list[Watch] = []
    failed: list[str] = []
    with engine.connect() as conn:
        names = watches.names(conn)
        for name in names:
            try:
                found.append(watches.current(conn, name).watch)
            except DbError as error:
                failed.append(f"{name}: {error}")
    _schedule(found, failed, set(names))


def schedule(chosen: Sequence[Watch]) -> None:
    """Give these watches their schedules, each on a deployment of its own; those of others are left alone.

    Doing it twice leaves one schedule. A schedule that was switched off stays off. A watch that is over has none.

    Raises
    ------
    FlowError
        The server does not answer; or, at the end, with the watches that could not be scheduled: what these had before
        stays.
    """
    _schedule(chosen, [], None)


def over(watch: Watch) -> bool:
    """Whether the watch's time has passed, and what was published late with it."""
    return cadence.over(watch.end, datetime.now(UTC))


def _schedule(chosen: Sequence[Watch], failed: list[str], known: set[str] | None) -> None:
    with reached(), get_client(sync_client=True) as client:
        server = WatchDeployments(client)
        for watch in chosen:
            try:
                _put(server, watch)
            except (ValueError, TypeError, ArithmeticError, httpx.HTTPStatusError) as error:
                failed.append(f"{watch.name}: schedule {watch.schedule!r}: {error}")
        if known is not None:
            for name in server.not_moved():
                if name in known:  # nobody can say what it should be; on its own, it stops no other
                    server.isolate(name)
                else:
                    server.drop(name)
            for name in server.watches():
                if name not in known:
                    server.drop(name)
            for watch in filter(over, chosen):
                server.drop_idle(watch.name)
    if failed:
        raise FlowError("not scheduled, the other watches are: " + "; ".join(failed))


def _put(server: WatchDeployments, watch: Watch) -> None:
    if watch.schedule is None or over(watch):
        server.put(watch.name, None)
        return
    try:
        cron = cadence.check_cron(watch.schedule)
    except ValueError:
        server.isolate(watch.name)
        raise
    server.put(watch.name, cron)
