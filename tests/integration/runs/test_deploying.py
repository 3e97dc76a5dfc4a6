"""What `segwatch deploy` and `segwatch apply` put on a Prefect server, and what they leave alone there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolUpdate
from prefect.client.schemas.schedules import IntervalSchedule
from shapely.geometry import box
from sqlalchemy import Engine
from typer.testing import CliRunner

from segwatch.db import watches
from segwatch.flows import deploy
from segwatch.flows.cli.app import app
from segwatch.flows.errors import FlowError
from segwatch.geo.sources import profiles
from segwatch.geo.types import Instruction, Watch
from tests.integration.runs.conftest import Server

OBSERVE = "observe/observe"
LAKES = Watch(
    "lakes",
    Instruction("the water", ("water",)),
    box(10.0, 45.0, 10.01, 45.01),
    profiles.load("rgb-cog"),
    "https://stac.example.org",
    datetime(2024, 1, 1, tzinfo=UTC),
    schedule="0 6 * * *",
)


@pytest.fixture(autouse=True)
def _no_schedules(server: Server) -> Iterator[None]:
    yield
    with get_client(sync_client=True) as client:
        observe = client.read_deployment_by_name(OBSERVE)
        for one in client.read_deployment_schedules(observe.id):
            assert one.id is not None
            client.delete_deployment_schedule(observe.id, one.id)


def crons(server: Server) -> dict[str, tuple[str, bool]]:
    """Watch -> its schedule, and whether it is switched on."""
    return {
        name: (getattr(one.schedule, "cron", ""), one.active)
        for name, one in server.schedules(OBSERVE).items()
    }


def test_what_is_to_be_sent_does_not_wait_for_an_operator(server: Server) -> None:
    on = {name for name, active in server.shipped.items() if active == [True]}
    assert on == {"track", "deliver"}


def test_deploying_again_keeps_what_an_operator_set(server: Server) -> None:
    shore = replace(LAKES, name="shore")
    deploy.schedule([LAKES, shore])
    hourly = DeploymentScheduleCreate(
        schedule=IntervalSchedule(interval=timedelta(hours=1)), active=True, parameters={"watch": "lakes"}
    )
    with get_client(sync_client=True) as client:
        ids = {one.name: one.id for one in client.read_deployments()}
        template = client.read_work_pool("gpu").base_job_template
        mine = json.loads(json.dumps(template).replace("Environment Variables", "Variables"))
        client.create_deployment_schedules(ids["observe"], [hourly])
        client.update_work_pool("gpu", WorkPoolUpdate(concurrency_limit=1, base_job_template=mine))
        switches = (
            ("respond", "*/5 * * * *", True),
            ("deliver", "*/5 * * * *", False),
            ("observe", "shore", False),
        )
        for name, key, active in switches:
            schedule_id = server.schedules(f"{name}/{name}")[key].id
            assert schedule_id is not None
            client.update_deployment_schedule(ids[name], schedule_id, active=active)
        deploy.deploy(deploy.deployments_folder())
        deploy.schedule([LAKES, shore])
        assert crons(server) == {"lakes": ("0 6 * * *", True), "shore": ("0 6 * * *", False), "?": ("", True)}
        assert [one.active for one in server.schedules("respond/respond").values()] == [True]
        assert [one.active for one in server.schedules("deliver/deliver").values()] == [False]
        assert client.read_work_pool("gpu").concurrency_limit == 1
        assert client.read_work_pool("gpu").base_job_template == mine
    deploy.schedule([replace(shore, schedule="30 7 * * *")])
    assert crons(server)["shore"] == ("30 7 * * *", False), "a new time does not switch it on"


def test_a_watch_that_cannot_be_scheduled_does_not_stop_the_others(
    server: Server, engine: Engine, database: Any
) -> None:
    unreadable, wrong = replace(LAKES, name="a-unreadable"), replace(LAKES, name="b-wrong", schedule="hourly")
    deploy.schedule([unreadable, replace(LAKES, name="unknown")])
    with engine.begin() as conn:
        for watch in (unreadable, wrong, LAKES):
            watches.apply(conn, watch)
    with psycopg.connect(database.superuser_url, autocommit=True) as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute("UPDATE segwatch.watch SET definition = '{}' WHERE name = 'a-unreadable'")
    with pytest.raises(FlowError) as caught:
        deploy.schedule_all(engine)
    assert "a-unreadable: " in str(caught.value)
    assert "b-wrong: schedule 'hourly'" in str(caught.value)
    assert crons(server) == {"a-unreadable": ("0 6 * * *", True), "lakes": ("0 6 * * *", True)}


def test_a_watch_that_is_over_has_no_schedule(server: Server, engine: Engine) -> None:
    now = datetime.now(UTC)
    late, over = replace(LAKES, name="late"), replace(LAKES, name="over")
    deploy.schedule([late, over])
    ended = replace(late, end=now - timedelta(days=6)), replace(over, end=now - timedelta(days=8))
    with engine.begin() as conn:
        for watch in ended:
            watches.apply(conn, watch)
    deploy.schedule_all(engine)
    assert set(crons(server)) == {"late"}, "what is published late is still found"


def test_applying_a_watch_does_not_depend_on_the_others(
    server: Server, worker: Engine, tmp_path: Path
) -> None:
    with worker.begin() as conn:
        watches.apply(conn, replace(LAKES, name="b-wrong", schedule="hourly"))
    deploy.schedule([LAKES])
    document = {
        "version": 1, "name": "shore", "instruction": "segment the water", "start": "2024-01-01T00:00:00Z",
        "area": {"bbox": [10.0, 45.0, 10.01, 45.01]}, "schedule": "0 5 * * *",
        "source": {"profile": "rgb-cog", "catalog": "https://stac.example.org"},
    }  # fmt: skip
    file = tmp_path / "shore.yaml"
    file.write_text(json.dumps(document))
    done = CliRunner().invoke(app, ["apply", str(file)])
    assert done.exit_code == 0, done.output
    assert set(crons(server)) == {"lakes", "shore"}
    file.write_text(json.dumps(document | {"name": "dune", "schedule": "hourly"}))
    assert CliRunner().invoke(app, ["apply", str(file)]).exit_code == 1
    with worker.connect() as conn:
        assert watches.names(conn) == ["b-wrong", "shore"], "a wrong schedule is not stored"
