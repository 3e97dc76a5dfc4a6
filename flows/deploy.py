"""Put segwatch on a Prefect server: work pools, deployments, and one schedule per watch. Idempotent."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound

from segwatch.flows.errors import ConfigError, FlowError
from segwatch.geo.types import Watch

_log = logging.getLogger(__name__)

_OBSERVE = "observe/observe"


def deployments_folder() -> Path:
    """The folder with ``prefect.yaml`` and the work pools: of the checkout, or shipped in the package."""
    folder = Path(str(resources.files("segwatch.flows"))).resolve().parent / "deployments"
    shipped = Path(str(resources.files("segwatch.flows"))) / "deployments"
    for candidate in (folder, shipped):
        if (candidate / "prefect.yaml").exists():
            return candidate
    raise ConfigError(f"prefect.yaml is neither in {folder} nor in {shipped}; give --folder")


def deploy(folder: Path) -> None:
    """Create or update the work pools and deployments of ``folder`` on the server of PREFECT_API_URL."""
    with get_client(sync_client=True) as client:
        for file in sorted((folder / "work_pools").glob("*.json")):
            client.create_work_pool(WorkPoolCreate(**json.loads(file.read_text())), overwrite=True)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=folder,
        env=os.environ.copy(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise FlowError(f"prefect deploy failed:\n{done.stdout}{done.stderr}")


def schedule(watches: list[Watch]) -> None:
    """Give each watch with a cron expression its schedule on the observe deployment, and drop stale ones.

    The schedule's slug is the watch's name, so applying twice leaves one schedule.
    """
    with get_client(sync_client=True) as client:
        try:
            deployment = client.read_deployment_by_name(_OBSERVE)
        except ObjectNotFound as error:
            raise FlowError(
                f"deployment {_OBSERVE} is not on the server; run `segwatch deploy` first"
            ) from error
        _sync(client, deployment.id, {watch.name: watch.schedule for watch in watches if watch.schedule})


def _sync(client: SyncPrefectClient, deployment_id: Any, wanted: dict[str, str]) -> None:
    existing = {one.slug: one for one in client.read_deployment_schedules(deployment_id)}
    for slug, one in existing.items():
        if one.id is not None and (slug is None or wanted.get(slug) != getattr(one.schedule, "cron", None)):
            client.delete_deployment_schedule(deployment_id, one.id)
    new = [
        DeploymentScheduleCreate(
            schedule=CronSchedule(cron=cron, timezone="UTC"),
            parameters={"watch": name},
            slug=name,
            active=True,
        )
        for name, cron in sorted(wanted.items())
        if name not in existing or getattr(existing[name].schedule, "cron", None) != cron
    ]
    if new:
        client.create_deployment_schedules(deployment_id, new)
