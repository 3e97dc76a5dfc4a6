"""Schedules fire: runs that nobody asked for are created, start and complete. These tests wait for the clock."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import CronSchedule
from shapely.geometry import box
from sqlalchemy import Engine

from segwatch.db import watches
from segwatch.flows.orchestration import deploy
from segwatch.geo.sources import profiles
from segwatch.geo.types.watch import Instruction, Watch
from tests.integration.runs.conftest import Server
from tests.integration.runs.test_workers import working
from tests.support.serving import Answer, serving

EVERY_MINUTE = CronSchedule(cron="* * * * *", timezone="UTC")
NOTHING: dict[str, Answer] = {
    "/": (200, {}, json.dumps({"type": "FeatureCollection", "features": []}).encode())
}
LAKES = Watch(
    "lakes",
    Instruction("the water", ("water",)),
    box(10.0, 45.0, 10.01, 45.01),
    profiles.load("rgb-cog"),
    "https://stac.example.org",
    datetime.now(UTC) - timedelta(days=1),
    schedule="* * * * *",
)


def test_schedules_of_a_watch_and_of_track_start_and_complete_runs_that_nobody_asked_for(
    server: Server, worker: Engine
) -> None:
    with (
        serving(NOTHING) as catalog,
        working(server, "cpu"),
        every_minute("track/track"),
        _log_of_the_scheduler(server),
        get_client(sync_client=True) as client,
    ):
        lakes = replace(LAKES, catalog=f"{catalog}/")
        with worker.begin() as conn:
            watches.apply(conn, lakes)
        deploy.schedule_watches([lakes])
        begun = datetime.now(UTC)

        def completed(deployment: str) -> list[FlowRun]:
            return [
                one for one in _automatic(client, deployment, begun) if one.state and one.state.is_completed()
            ]

        names = ("observe/watch-lakes", "track/track")
        _until(600, lambda: all(map(completed, names)))
        for one in names:
            times = {run.expected_start_time for run in _automatic(client, one, begun)}
            assert len(times) >= 2, "each at a time of its own, and the next ones minutes ahead"
        assert all(run.parameters == {"watch": "lakes"} for run in completed("observe/watch-lakes"))


def test_a_schedule_that_cannot_be_computed_stops_no_other_watch(server: Server) -> None:
    """Put on the server past all checks, as somebody could by its API."""
    never = CronSchedule(cron="0 0 31 2 *", timezone="UTC")
    deploy.schedule_watches(
        [replace(LAKES, name="a-broken", schedule="0 6 * * *"), replace(LAKES, schedule="30 7 * * *")]
    )
    with get_client(sync_client=True) as client:
        broken = client.read_deployment_by_name("observe/watch-a-broken")
        made = DeploymentScheduleCreate(schedule=never, active=True, slug="never")
        client.create_deployment_schedules(broken.id, [made])
        # what was computed before, between the two calls, says nothing
        deploy.schedule_watches([replace(LAKES, name="a-broken", schedule="30 8 * * *")])
        deploy.schedule_watches([replace(LAKES, name="later", schedule="0 9 * * *")])
        for name in ("observe/watch-lakes", "observe/watch-later"):
            _until(400, partial(_has_automatic, client, name))
        assert all(
            one.expected_start_time is None or one.expected_start_time.hour != 8
            for one in _automatic(client, "observe/watch-a-broken")
        )


def test_the_scheduler_of_the_pinned_versions_works(server: Server) -> None:
    """Its errors are in its log only: with other versions it failed each minute, and nothing else told so."""
    with _log_of_the_scheduler(server), get_client(sync_client=True) as client:
        deploy.schedule_watches(
            [replace(LAKES, schedule="0 6 29 2 *"), replace(LAKES, name="daily", schedule="0 6 * * *")]
        )
        _until(400, partial(_has_automatic, client, "observe/watch-daily"))


@contextmanager
def _log_of_the_scheduler(server: Server) -> Iterator[None]:
    """No errors of the scheduler in the server's log during the block."""
    log = server.log()
    before = log.stat().st_size
    yield
    said = log.read_bytes()[before:].decode(errors="replace")
    assert "bulk DML" not in said
    assert "Error scheduling deployment" not in said
    assert "schedule_deployments" not in said, "the service fails"


@contextmanager
def every_minute(deployment: str) -> Iterator[None]:
    """The deployment's one schedule, each minute for the length of the block."""
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name(deployment)
        (schedule,) = client.read_deployment_schedules(found.id)
        assert schedule.id is not None
        client.update_deployment_schedule(found.id, schedule.id, schedule=EVERY_MINUTE)
        try:
            yield
        finally:
            client.update_deployment_schedule(found.id, schedule.id, schedule=schedule.schedule)


def _automatic(client: SyncPrefectClient, deployment: str, since: datetime | None = None) -> list[FlowRun]:
    """Runs of a deployment that its schedule made, due since then."""
    found = client.read_deployment_by_name(deployment)
    runs = client.read_flow_runs(deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[found.id])))
    return [
        one
        for one in runs
        if one.auto_scheduled
        and (since is None or (one.expected_start_time is not None and one.expected_start_time >= since))
    ]


def _has_automatic(client: SyncPrefectClient, deployment: str) -> bool:
    return len(_automatic(client, deployment)) >= 3


def _until(seconds: float, holds: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(1)
