"""`segwatch doctor` on a real ledger and Prefect server: what is silent is told, and what is well is not."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolUpdate
from prefect.client.schemas.schedules import CronSchedule
from prefect.workers.process import ProcessWorker
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from segwatch.db import watches
from segwatch.flows.cli.app import app
from segwatch.flows.config import variables
from segwatch.flows.errors import ConfigError
from segwatch.flows.orchestration import deploy
from segwatch.flows.pipeline.discovery import discover_watch
from segwatch.geo.errors import GeoError
from segwatch.geo.types.tracking import ChangeKind
from segwatch.geo.types.watch import AlertRule
from tests.integration.runs.conftest import Server
from tests.integration.runs.test_scheduling import LAKES, NOTHING
from tests.integration.runs.test_workers import working
from tests.support.serving import serving

DAILY = replace(LAKES, schedule="0 6 * * *")


@pytest.fixture
def nowhere() -> Iterator[str]:
    """Address of a catalog that does not answer."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{closed.getsockname()[1]}/"


def doctor() -> tuple[int, list[dict[str, str]]]:
    """Exit status and findings."""
    done = CliRunner().invoke(app, ["doctor", "--json"])
    said = json.loads(done.stdout)
    assert said["wrong"] == sum(one["level"] == "wrong" for one in said["findings"])
    return done.exit_code, said["findings"]


def wrong() -> list[str]:
    return [f"{one['about']}: {one['says']} | {one['fix']}" for one in doctor()[1] if one["level"] == "wrong"]


def test_what_is_well_and_what_is_not(server: Server, worker: Engine) -> None:
    with serving(NOTHING) as catalog, working(server, "cpu"):
        lakes = replace(DAILY, catalog=f"{catalog}/")
        with worker.begin() as conn:
            watches.apply(conn, lakes)
        assert any("watch lakes: its schedule '0 6 * * *' is not on the server" in one for one in wrong())
        deploy.schedule_watches([lakes])
        discover_watch(worker, "lakes", model_version="m@1")
        _until(lambda: not any("pool cpu" in one for one in wrong()))
        found = {one["about"]: one for one in doctor()[1] if one["level"] == "ok"}
        assert {"ledger", "prefect", "catalogs", "outbox", "workers"} <= set(found)
        assert not [one for one in wrong() if one.startswith(("ledger", "prefect", "catalogs", "outbox"))]
        # no worker of it is started here; that of an earlier test counts as polling until its heartbeats are old
        _until(lambda: any("no worker polls the pool gpu" in one and "--pool gpu" in one for one in wrong()))
        assert doctor()[0] == 1


def test_who_may_decide_what_the_workers_run_is_told(server: Server, worker: Engine) -> None:
    """This server has no password, takes pages of any site and any name, as `prefect server start` alone does."""
    with get_client(sync_client=True) as client, working(server, "cpu"):
        closed = client.read_work_pool("cpu").base_job_template
        opened = ProcessWorker.get_default_base_job_template()
        client.update_work_pool("cpu", WorkPoolUpdate(base_job_template=opened))
        try:
            found = [one for one in wrong() if one.startswith("access")]
        finally:
            client.update_work_pool("cpu", WorkPoolUpdate(base_job_template=closed))
        after = [one for one in wrong() if one.startswith("access")]
    for part in (
        "answers without credentials",
        "lets web pages of any site call it",
        "DNS rebinding",
        "pool cpu: its job template lets a run set command, env, working_dir",
    ):
        assert any(part in one for one in found), part
    assert any("runs as root" in one for one in found) is (os.geteuid() == 0)
    assert not any("pool cpu" in one for one in after)


def test_a_schedule_that_the_server_cannot_compute_is_named(
    server: Server, worker: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segwatch.flows.doctor.checks.MAX_SCHEDULER_DELAY", timedelta(0))
    with worker.begin() as conn:
        watches.apply(conn, DAILY)
    deploy.schedule_watches([DAILY, replace(DAILY, name="broken")])
    with get_client(sync_client=True) as client:
        broken = client.read_deployment_by_name("observe/watch-broken")
        never = CronSchedule(cron="0 0 31 2 *", timezone="UTC")
        for one in client.read_deployment_schedules(broken.id):
            assert one.id is not None
            client.delete_deployment_schedule(broken.id, one.id)
        made = DeploymentScheduleCreate(schedule=never, active=True, slug="broken")
        client.create_deployment_schedules(broken.id, [made])
    _until(lambda: not any("watch-lakes: the server schedules no run" in one for one in wrong()))
    assert any("observe/watch-broken: the server schedules no run for it" in one for one in wrong())


def test_a_catalog_that_is_silent_is_told_until_it_answers(worker: Engine, nowhere: str) -> None:
    silent = replace(DAILY, name="silent", catalog=nowhere)
    with worker.begin() as conn:
        watches.apply(conn, silent)
    with pytest.raises(GeoError):
        discover_watch(worker, "silent", model_version="m@1")
    (told,) = [one for one in wrong() if one.startswith("catalogs")]
    assert "watch silent: no catalog search has succeeded yet; 1 failure(s) in a row" in told
    assert "127.0.0.1" in told
    with pytest.raises(ConfigError, match="exchange the two"):
        start, end = datetime(2025, 2, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
        discover_watch(worker, "silent", model_version="m@1", start=start, end=end)
    assert "1 failure(s)" in next(one for one in wrong() if one.startswith("catalogs")), "it was not asked"
    with serving(NOTHING) as catalog:
        with worker.begin() as conn:
            watches.apply(conn, replace(silent, catalog=f"{catalog}/"))
        discover_watch(worker, "silent", model_version="m@1")
    assert not [one for one in wrong() if one.startswith("catalogs")]


def test_a_look_that_did_not_happen_is_told(worker: Engine, database: Any) -> None:
    with worker.begin() as conn:
        watches.apply(conn, DAILY)
    with psycopg.connect(database.superuser_url, autocommit=True) as superuser:
        superuser.execute("UPDATE segwatch.watch_head SET applied_at = now() - interval '3 days'")
    (told,) = [one for one in wrong() if one.startswith("catalogs")]
    assert "watch lakes: the catalog search due at" in told
    assert "did not happen; never searched" in told


def test_channels_that_rest_are_told_without_their_secrets(worker: Engine) -> None:
    insert = "INSERT INTO segwatch.channel (name, failures, resting_until, last_error) VALUES (:name, 5, :until, 'no')"
    channel = "https://hook.example.org/hunter2"
    with worker.begin() as conn:
        watches.apply(
            conn, replace(DAILY, rules=(AlertRule("any", (ChangeKind.GREW,), channels=(channel,)),))
        )
        until = datetime.now(UTC) + timedelta(hours=1)
        conn.execute(text(insert), {"name": channel, "until": until})
    (told,) = [one for one in wrong() if one.startswith("outbox")]
    assert "channel hook.example.org: circuit open" in told
    assert "hunter2" not in told


def test_without_a_ledger_and_a_server_it_still_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variables, "_reported", set())
    monkeypatch.setenv("SEGWATCH_HOME", str(tmp_path))
    monkeypatch.setenv("SEGWATCH_DATABSE_URL", "postgresql://u:hunter2@h/d")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "\tledger\t" in done.stdout
    assert "segwatch db up" in done.stdout
    assert "http://127.0.0.1:9/api does not answer" in done.stdout
    assert "did you mean SEGWATCH_DATABASE_URL?" in done.stdout
    assert "hunter2" not in done.output
    assert CliRunner().invoke(app, ["status"]).exit_code == 1
    monkeypatch.delenv("PREFECT_API_URL")
    short = CliRunner().invoke(app, ["status", "--json"])
    assert json.loads(short.stdout) == {"services": [], "findings": []}


def _until(holds: Any) -> None:
    end = time.monotonic() + 400
    while not holds():
        assert time.monotonic() < end, wrong()
        time.sleep(1)
