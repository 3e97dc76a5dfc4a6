"""Deploy segwatch to a Prefect server: work pools, deployments, and one deployment per watch with its schedule.

Deploying is idempotent and keeps what an operator set on the server: existing work pools (except job templates that let
a run execute commands), the schedules of existing deployments (of a watch's own schedule, whether it is active), and
whether a watch's deployment is paused.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import httpx
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.objects import DeploymentSchedule, WorkPool
from prefect.exceptions import ObjectAlreadyExists
from sqlalchemy import Engine

from segwatch.db import watch_actions, watches
from segwatch.db.errors import DbError
from segwatch.flows.config import cadence
from segwatch.flows.errors import ConfigError, FlowError
from segwatch.flows.orchestration import automations, work_pools
from segwatch.flows.orchestration.watch_deployments import WatchDeployments, is_deployed
from segwatch.geo.types.watch import Watch

_log = logging.getLogger(__name__)

#: Time limit of `prefect deploy`, which takes some seconds.
_MAX_DEPLOY_SECONDS = 600.0


def find_deployments_folder() -> Path:
    """Find the folder with ``prefect.yaml`` and the work pools: that of the checkout, or that in the package."""
    folder = Path(str(resources.files("segwatch.flows"))).resolve().parent / "deployments"
    shipped = Path(str(resources.files("segwatch.flows"))) / "deployments"
    for candidate in (folder, shipped):
        if (candidate / "prefect.yaml").exists():
            return candidate
    raise ConfigError(f"prefect.yaml is neither in {folder} nor in {shipped}; give --folder")


@contextmanager
def explain_unreachable_server() -> Iterator[None]:
    """Turn connection errors in a block that uses the Prefect server into an error that says what to do.

    Raises
    ------
    FlowError
        The server of PREFECT_API_URL does not respond.
    """
    try:
        yield
    except httpx.TransportError as error:
        where = os.environ.get("PREFECT_API_URL", "not set")
        raise FlowError(
            f"PREFECT_API_URL={where} does not answer: {error}; start the server with: prefect server start, or "
            "correct the address, e.g. http://HOST:4200/api"
        ) from error


def deploy_flows(
    folder: Path, pools: work_pools.PoolKind | None = None, images: work_pools.ImageSource | None = None
) -> None:
    """Create missing work pools and create or update the deployments of ``folder`` on the server of PREFECT_API_URL.

    Parameters
    ----------
    pools
        Kind of the pools; None = processes, where a pool does not exist yet.
    images
        Where containers get their images from, in existing pools, too; None = as built on this machine, in new ones.

    Raises
    ------
    ConfigError
        The folder has no work pools of this kind.
    FlowError
        The server does not respond or refuses them, or has a pool of another kind.
    """
    wanted = work_pools.read_pools(
        folder, pools or work_pools.PoolKind.PROCESS, images or work_pools.ImageSource()
    )
    with explain_unreachable_server(), get_client(sync_client=True) as client:
        for pool in wanted:
            _put_pool(client, pool, pools, images)
        with _keep_schedules(client, folder):
            _apply(folder)


def put_automations(notify: str | None = None) -> None:
    """Create missing automations for failed, stuck and silent runs on the server of PREFECT_API_URL.

    See :func:`segwatch.flows.orchestration.automations.put_automations`.
    """
    with explain_unreachable_server(), get_client(sync_client=True) as client:
        automations.put_automations(client, notify)


def _put_pool(
    client: SyncPrefectClient,
    wanted: WorkPoolCreate,
    kind: work_pools.PoolKind | None,
    images: work_pools.ImageSource | None,
) -> None:
    """Create a missing work pool; replace the job template of an existing one if it is unsafe, or else its images."""
    try:
        client.create_work_pool(wanted)
    except ObjectAlreadyExists:
        found = client.read_work_pool(wanted.name)
    else:
        return
    if kind and found.type != kind:
        raise FlowError(
            f"work pool {wanted.name} is of type {found.type}; to have {kind} in its place, stop its workers, run: "
            f"prefect work-pool delete {wanted.name}, and deploy again"
        )
    unsafe = work_pools.find_unsafe_settings(found.type, found.base_job_template)
    if unsafe:
        _close_pool(client, found, wanted, unsafe)
        return
    template = (
        work_pools.replace_images(found.base_job_template, images) if images else found.base_job_template
    )
    if template == found.base_job_template:
        _log.info("work pool %s exists and is left unchanged", wanted.name)
    else:
        client.update_work_pool(wanted.name, WorkPoolUpdate(base_job_template=template))


def _close_pool(
    client: SyncPrefectClient, found: WorkPool, wanted: WorkPoolCreate, unsafe: Sequence[str]
) -> None:
    """Replace an unsafe job template of a pool of the same type, and warn."""
    if found.type == wanted.type:
        _log.warning(
            "work pool %s: its job template let a run set %s and is replaced; put values for all runs into the "
            "environment of its workers",
            wanted.name,
            ", ".join(unsafe),
        )
        client.update_work_pool(wanted.name, WorkPoolUpdate(base_job_template=wanted.base_job_template))
    else:
        _log.warning(
            "work pool %s is of type %s and is left unchanged, although its job template lets a run set %s; see "
            "docs/how-to/control-plane.md",
            wanted.name,
            found.type,
            ", ".join(unsafe),
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
            f"prefect deploy did not end within {_MAX_DEPLOY_SECONDS:.0f} s; make sure that the server responds, and "
            "run: segwatch deploy"
        ) from error
    if done.returncode:
        raise FlowError(f"prefect deploy failed:\n{done.stdout}{done.stderr}")


@contextmanager
def _keep_schedules(client: SyncPrefectClient, folder: Path) -> Iterator[None]:
    """Restore the schedules of existing deployments after the block, because ``prefect deploy`` replaces them."""
    file = yaml.safe_load((folder / "prefect.yaml").read_text(encoding="utf-8"))
    names = DeploymentFilterName(any_=[one["name"] for one in file["deployments"]])
    existing = client.read_deployments(deployment_filter=DeploymentFilter(name=names))
    before = {one.id: _to_creatable(client.read_deployment_schedules(one.id)) for one in existing}
    try:
        yield
    finally:
        for deployment_id, kept in before.items():
            now = client.read_deployment_schedules(deployment_id)
            if _to_creatable(now) == kept:
                continue
            for one in now:
                if one.id is not None:
                    client.delete_deployment_schedule(deployment_id, one.id)
            if kept:
                client.create_deployment_schedules(deployment_id, kept)


def _to_creatable(schedules: Sequence[DeploymentSchedule]) -> list[DeploymentScheduleCreate]:
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


def schedule_all_watches(engine: Engine) -> None:
    """Schedule every watch of the ledger, and delete the deployments of watches that it does not contain.

    Raises
    ------
    FlowError
        The server does not respond, or some watches could not be scheduled; these keep their previous schedules.
    """
    found: list[Watch] = []
    failed: list[str] = []
    with engine.connect() as conn:
        names = watches.list_names(conn)
        for name in names:
            try:
                found.append(watches.load_current(conn, name).watch)
            except DbError as error:
                failed.append(f"{name}: {error}")
    _schedule(found, failed, set(names), read_paused(engine))


def read_paused(engine: Engine) -> frozenset[str]:
    """Read the names of the watches that are paused."""
    with engine.connect() as conn:
        return frozenset(one.watch for one in watch_actions.list_pauses(conn))


def schedule_watches(
    chosen: Sequence[Watch], *, paused: Collection[str] = (), resumed: Collection[str] = ()
) -> None:
    """Schedule these watches, each on a deployment of its own; other watches are left unchanged.

    Repeating it changes nothing. A schedule that was switched off stays off. A watch that is over has no schedule. A
    server without deployments is left as it is if none of the watches has a schedule.

    Parameters
    ----------
    paused
        Watches whose deployments are paused: Prefect starts no run of them, and deletes those that it had planned.
    resumed
        Watches whose deployments are not paused any more.

    Raises
    ------
    FlowError
        The server does not respond, or some watches could not be scheduled; these keep their previous schedules.
    """
    _schedule(chosen, [], None, paused, resumed)


def is_over(watch: Watch) -> bool:
    """Whether the watch has ended, including the time in which its last scenes may still be published."""
    return cadence.is_over(watch.end, datetime.now(UTC))


def _schedule(
    chosen: Sequence[Watch],
    failed: list[str],
    known: set[str] | None,
    paused: Collection[str],
    resumed: Collection[str] = (),
) -> None:
    with explain_unreachable_server(), get_client(sync_client=True) as client:
        if known is None and not any(_needs_schedule(one) for one in chosen) and not is_deployed(client):
            return
        server = WatchDeployments(client)
        for watch in chosen:
            try:
                _put(server, watch)
                if watch.name in paused:
                    server.set_paused(watch.name, paused=True)
                elif watch.name in resumed:
                    server.set_paused(watch.name, paused=False)
            except (ValueError, TypeError, ArithmeticError, httpx.HTTPStatusError) as error:
                failed.append(f"{watch.name}: schedule {watch.schedule!r}: {error}")
        if known is not None:
            _drop_others(server, known, chosen)
    if failed:
        raise FlowError("some watches could not be scheduled (all others are): " + "; ".join(failed))


def _drop_others(server: WatchDeployments, known: set[str], chosen: Sequence[Watch]) -> None:
    """Delete the deployments of watches that the ledger does not contain, and idle ones of watches that are over."""
    for name in server.list_unmoved():
        if name in known:  # its definition cannot be read; isolated, its schedule cannot block others
            server.isolate(name)
        else:
            server.drop(name)
    for name in server.list_watches():
        if name not in known:
            server.drop(name)
    for watch in filter(is_over, chosen):
        server.drop_idle(watch.name)


def _needs_schedule(watch: Watch) -> bool:
    return watch.schedule is not None and not is_over(watch)


def _put(server: WatchDeployments, watch: Watch) -> None:
    if watch.schedule is None or is_over(watch):
        server.put(watch.name, None)
        return
    try:
        cron = cadence.check_cron(watch.schedule)
    except ValueError:
        server.isolate(watch.name)
        raise
    server.put(watch.name, cron)
