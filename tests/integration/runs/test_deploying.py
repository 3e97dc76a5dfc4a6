"""What `segwatch deploy` and `segwatch apply` put on a Prefect server, and what they leave alone there."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import psycopg
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate, WorkPoolUpdate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.workers.process import ProcessWorker
from shapely.geometry import box
from sqlalchemy import Engine
from typer.testing import CliRunner

from segwatch.db import watches
from segwatch.flows.cli.app import app
from segwatch.flows.errors import FlowError
from segwatch.flows.orchestration import deploy
from segwatch.flows.orchestration.work_pools import ImageSource, PoolKind
from segwatch.geo.sources import profiles
from segwatch.geo.types.watch import Instruction, Watch
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


def crons(server: Server) -> dict[str, tuple[str, bool]]:
    """Watch -> the schedule of its own deployment, and whether it is switched on."""
    return {
        name: (getattr(one.schedule, "cron", ""), one.active)
        for name, schedules in server.watch_schedules().items()
        for one in schedules
        if one.slug is not None
    }


def put_on_the_shared(server: Server, **schedules: tuple[str, bool]) -> None:
    """As earlier versions did: watch -> schedule and whether it is switched on, on the one deployment of all."""
    made = [
        DeploymentScheduleCreate(
            schedule=CronSchedule(cron=cron, timezone="UTC"), active=on, parameters={"watch": name}, slug=name
        )
        for name, (cron, on) in schedules.items()
    ]
    with get_client(sync_client=True) as client:
        client.create_deployment_schedules(client.read_deployment_by_name(OBSERVE).id, made)


def test_what_is_to_be_sent_does_not_wait_for_an_operator(server: Server) -> None:
    on = {name for name, active in server.shipped.items() if active == [True]}
    assert on == {"track", "deliver", "prune"}


def test_deploying_again_keeps_what_an_operator_set(server: Server) -> None:
    shore = replace(LAKES, name="shore")
    deploy.schedule_watches([LAKES, shore])
    hourly = DeploymentScheduleCreate(
        schedule=IntervalSchedule(interval=timedelta(hours=1)), active=True, parameters={"watch": "lakes"}
    )
    extra = DeploymentScheduleCreate(schedule=IntervalSchedule(interval=timedelta(hours=2)), active=True)
    with get_client(sync_client=True) as client:
        ids = {one.name: one.id for one in client.read_deployments()}
        template = client.read_work_pool("gpu").base_job_template
        mine = template | {"job_configuration": {"stream_output": False}}
        client.create_deployment_schedules(ids["observe"], [hourly])
        client.create_deployment_schedules(ids["watch-lakes"], [extra])
        client.update_work_pool("gpu", WorkPoolUpdate(concurrency_limit=1, base_job_template=mine))
        switches = (
            ("respond", "*/5 * * * *", True),
            ("deliver", "*/5 * * * *", False),
            ("watch-shore", "shore", False),
        )
        for name, key, active in switches:
            flow = "observe" if name.startswith("watch-") else name
            schedule_id = server.schedules(f"{flow}/{name}")[key].id
            assert schedule_id is not None
            client.update_deployment_schedule(ids[name], schedule_id, active=active)
        deploy.deploy_flows(deploy.find_deployments_folder())
        deploy.schedule_watches([LAKES, shore])
        assert crons(server) == {"lakes": ("0 6 * * *", True), "shore": ("0 6 * * *", False)}
        assert len(server.schedules(OBSERVE)) == 1, "the operator's own stays"
        assert len(server.watch_schedules()["lakes"]) == 2, "the operator's own stays"
        assert [one.active for one in server.schedules("respond/respond").values()] == [True]
        assert [one.active for one in server.schedules("deliver/deliver").values()] == [False]
        assert client.read_work_pool("gpu").concurrency_limit == 1
        assert client.read_work_pool("gpu").base_job_template == mine
    deploy.schedule_watches([replace(shore, schedule="30 7 * * *")])
    assert crons(server)["shore"] == ("30 7 * * *", False), "a new time does not switch it on"


def test_a_pool_of_before_is_closed(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with get_client(sync_client=True) as client:
        closed = client.read_work_pool("cpu").base_job_template
        opened = ProcessWorker.get_default_base_job_template()
        client.update_work_pool("cpu", WorkPoolUpdate(concurrency_limit=3, base_job_template=opened))
        shared = client.read_deployment_by_name(OBSERVE)
        client.update_deployment(shared.id, DeploymentUpdate(job_variables={"env": {"A": "1"}}))
        deploy.schedule_watches([LAKES])
        deploy.deploy_flows(deploy.find_deployments_folder())
        deploy.schedule_watches([LAKES])
        pool = client.read_work_pool("cpu")
        client.update_work_pool("cpu", WorkPoolUpdate(concurrency_limit=None))
        variables = client.read_deployment_by_name("observe/watch-lakes").job_variables
    assert variables == {}, "what no run may bring, no deployment keeps"
    assert pool.base_job_template == closed
    assert pool.concurrency_limit == 3, "the operator's own stays"
    assert "let a run set command, env, working_dir" in caplog.text


def test_pools_of_containers_keep_their_kind_and_take_new_images(server: Server, tmp_path: Path) -> None:
    """An upgrade changes the images alone; what an operator set in the template, and other kinds of pools, stay."""
    folder = tmp_path / "deployments"
    pools = folder / "work_pools" / "kubernetes"
    pools.mkdir(parents=True)
    shipped = deploy.find_deployments_folder() / "work_pools" / "kubernetes" / "gpu.json"
    (pools / "pods.json").write_text(json.dumps(json.loads(shipped.read_text()) | {"name": "pods"}))
    flow = {"name": "pods", "entrypoint": "segwatch.flows.segment.segment", "work_pool": {"name": "pods"}}
    (folder / "prefect.yaml").write_text(json.dumps({"name": "t", "pull": [], "deployments": [flow]}))
    with get_client(sync_client=True) as client:
        deploy.deploy_flows(folder, PoolKind.KUBERNETES, ImageSource("r.example/a", "1"))
        template = client.read_work_pool("pods").base_job_template
        assert _container(template)["image"] == "r.example/a/worker-gpu:1"
        _container(template)["resources"] = {"limits": {"memory": "99Gi"}}
        client.update_work_pool("pods", WorkPoolUpdate(base_job_template=template))

        deploy.deploy_flows(folder, PoolKind.KUBERNETES, ImageSource("r.example/b", "2"))
        again = _container(client.read_work_pool("pods").base_job_template)
        assert (again["image"], again["resources"]) == (
            "r.example/b/worker-gpu:2",
            {"limits": {"memory": "99Gi"}},
        )

        deployment = client.read_deployment_by_name("segment/pods")
        with pytest.raises(httpx.HTTPStatusError, match="422"):
            client.create_flow_run_from_deployment(deployment.id, job_variables={"image": "evil"})

        with pytest.raises(
            FlowError, match="work pool cpu is of type process; to have kubernetes in its place"
        ):
            deploy.deploy_flows(deploy.find_deployments_folder(), PoolKind.KUBERNETES)
        client.delete_deployment(deployment.id)
        client.delete_work_pool("pods")


def _container(template: dict[str, Any]) -> dict[str, Any]:
    (found,) = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["containers"]
    return cast(dict[str, Any], found)


def test_a_watch_that_cannot_be_scheduled_does_not_stop_the_others(
    server: Server, engine: Engine, database: Any
) -> None:
    unreadable, wrong = replace(LAKES, name="a-unreadable"), replace(LAKES, name="b-wrong", schedule="hourly")
    deploy.schedule_watches([unreadable, replace(LAKES, name="unknown")])
    with engine.begin() as conn:
        for watch in (unreadable, wrong, LAKES):
            watches.apply(conn, watch)
    with psycopg.connect(database.superuser_url, autocommit=True) as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute("UPDATE segwatch.watch SET definition = '{}' WHERE name = 'a-unreadable'")
    with pytest.raises(FlowError) as caught:
        deploy.schedule_all_watches(engine)
    assert "a-unreadable: " in str(caught.value)
    assert "b-wrong: schedule 'hourly'" in str(caught.value)
    assert crons(server) == {"a-unreadable": ("0 6 * * *", True), "lakes": ("0 6 * * *", True)}


def test_a_watch_that_is_over_has_no_schedule(server: Server, engine: Engine) -> None:
    now = datetime.now(UTC)
    late, over = replace(LAKES, name="late"), replace(LAKES, name="over")
    deploy.schedule_watches([late, over])
    ended = replace(late, end=now - timedelta(days=6)), replace(over, end=now - timedelta(days=8))
    with engine.begin() as conn:
        for watch in ended:
            watches.apply(conn, watch)
    deploy.schedule_all_watches(engine)
    assert set(crons(server)) == {"late"}, "what is published late is still found"
    assert set(server.watch_schedules()) == {"late"}, "disaster runs do not pile up there"


def test_applying_a_watch_does_not_depend_on_the_others(
    server: Server, worker: Engine, tmp_path: Path
) -> None:
    with worker.begin() as conn:
        watches.apply(conn, replace(LAKES, name="b-wrong", schedule="hourly"))
    deploy.schedule_watches([LAKES])
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
        assert watches.list_names(conn) == ["b-wrong", "shore"], "a wrong schedule is not stored"


def test_schedules_of_earlier_versions_move_to_their_watches_as_they_were(
    server: Server, engine: Engine
) -> None:
    never = replace(LAKES, name="never", schedule="0 0 31 2 *")
    with engine.begin() as conn:
        for watch in (
            LAKES,
            replace(LAKES, name="off"),
            replace(LAKES, name="changed", schedule="30 7 * * *"),
            never,
        ):
            watches.apply(conn, watch)
    put_on_the_shared(
        server, lakes=("0 6 * * *", True), off=("0 6 * * *", False), changed=("0 6 * * *", True),
        never=("0 0 31 2 *", True), gone=("0 6 * * *", True),
    )  # fmt: skip
    expected = {
        "lakes": ("0 6 * * *", True),
        "off": ("0 6 * * *", False),
        "changed": ("30 7 * * *", True),
        "never": ("0 0 31 2 *", True),
    }
    for _ in range(2):
        with pytest.raises(FlowError, match=r"never: schedule '0 0 31 2 \*': never fires"):
            deploy.schedule_all_watches(engine)
        assert crons(server) == expected
        assert server.schedules(OBSERVE) == {}


def test_applying_one_watch_moves_it_alone(server: Server) -> None:
    put_on_the_shared(server, lakes=("0 6 * * *", False), shore=("0 6 * * *", True))
    deploy.schedule_watches([LAKES])
    assert crons(server) == {"lakes": ("0 6 * * *", False)}
    assert set(server.schedules(OBSERVE)) == {"shore"}


def test_who_paused_the_deployment_of_all_finds_its_watches_paused(server: Server) -> None:
    put_on_the_shared(server, lakes=("0 6 * * *", True))
    with get_client(sync_client=True) as client:
        shared = client.read_deployment_by_name(OBSERVE)
        client.pause_deployment(shared.id)
        try:
            deploy.schedule_watches([LAKES, replace(LAKES, name="shore")])
        finally:
            client.resume_deployment(shared.id)
        assert client.read_deployment_by_name("observe/watch-lakes").paused
        assert not client.read_deployment_by_name("observe/watch-shore").paused


def test_a_watch_has_the_code_and_the_pool_of_the_shared_deployment(server: Server) -> None:
    odd = replace(LAKES, name="observe")
    deploy.schedule_watches([LAKES, odd])
    with get_client(sync_client=True) as client:
        shared, own = (client.read_deployment_by_name(one) for one in (OBSERVE, "observe/watch-lakes"))
        for name in (
            "entrypoint",
            "pull_steps",
            "path",
            "work_pool_name",
            "work_queue_name",
            "job_variables",
        ):
            assert getattr(own, name) == getattr(shared, name), name
        assert own.parameters == {"watch": "lakes"}
        assert client.read_deployment_by_name("observe/watch-observe").parameters == {"watch": "observe"}
        assert shared.parameters == {}
        before = own.updated
        deploy.schedule_watches([LAKES])
        assert client.read_deployment_by_name("observe/watch-lakes").updated == before, (
            "nothing to do, nothing done"
        )
        client.update_deployment(shared.id, DeploymentUpdate(tags=["ours"]))
        try:
            deploy.schedule_watches([LAKES])
            assert client.read_deployment_by_name("observe/watch-lakes").tags == ["ours"]
        finally:
            client.update_deployment(shared.id, DeploymentUpdate(tags=shared.tags))
    assert crons(server)["lakes"] == ("0 6 * * *", True)


def test_what_the_ledger_does_not_know_has_no_deployment(server: Server, engine: Engine) -> None:
    deploy.schedule_watches([LAKES, replace(LAKES, name="shore")])
    with engine.begin() as conn:
        watches.apply(conn, replace(LAKES, name="shore", schedule=None))
    deploy.schedule_all_watches(engine)
    assert server.watch_schedules() == {"shore": []}


def test_applying_before_the_first_deploy_says_what_is_stored_and_what_to_do(
    server: Server, worker: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as on a server that nobody has deployed to
    monkeypatch.setattr("segwatch.flows.orchestration.watch_deployments.SHARED", "observe/not-deployed")
    document = {
        "version": 1, "name": "shore", "instruction": "segment the water", "start": "2024-01-01T00:00:00Z",
        "area": {"bbox": [10.0, 45.0, 10.01, 45.01]},
        "source": {"profile": "rgb-cog", "catalog": "http://127.0.0.1:9"},
    }  # fmt: skip
    file = tmp_path / "shore.yaml"
    file.write_text(json.dumps(document))
    assert CliRunner().invoke(app, ["apply", str(file)]).exit_code == 0, "there is nothing to schedule"
    file.write_text(json.dumps(document | {"schedule": "0 5 * * *"}))
    done = CliRunner().invoke(app, ["apply", str(file)])
    assert done.exit_code == 1
    said = " ".join(done.stderr.split())
    assert "stored, but not scheduled on the Prefect server: shore" in said
    assert "run: segwatch deploy (it schedules all stored watches)" in said
    with worker.connect() as conn:
        assert watches.load_current(conn, "shore").watch.schedule == "0 5 * * *"


def test_a_paused_watch_has_no_runs_on_the_server(
    server: Server, engine: Engine, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever updates the deployment later, it stays paused until somebody resumes the watch."""
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())
    off = replace(LAKES, name="off")
    with engine.begin() as conn:
        for watch in (LAKES, off):
            watches.apply(conn, watch)
    deploy.schedule_watches([LAKES, off])
    with get_client(sync_client=True) as client:
        schedule_id = server.schedules("observe/watch-off")["off"].id
        assert schedule_id is not None
        client.update_deployment_schedule(
            client.read_deployment_by_name("observe/watch-off").id, schedule_id, active=False
        )

        def paused() -> dict[str, bool]:
            names = ("lakes", "off")
            return {name: client.read_deployment_by_name(f"observe/watch-{name}").paused for name in names}

        for words in (["pause", "lakes"], ["pause", "lakes"], ["pause", "off"]):
            done = CliRunner().invoke(app, ["watch", *words])
            assert done.exit_code == 0, done.output
        assert paused() == {"lakes": True, "off": True}
        ours = FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(
                any_=[client.read_deployment_by_name("observe/watch-lakes").id]
            )
        )
        assert client.read_flow_runs(flow_run_filter=ours) == [], "planned runs are deleted"
        deploy.schedule_watches([replace(LAKES, schedule="30 7 * * *")], paused=deploy.read_paused(engine))
        deploy.schedule_all_watches(engine)
        assert paused() == {"lakes": True, "off": True}
        client.resume_deployment(client.read_deployment_by_name("observe/watch-lakes").id)
        deploy.schedule_all_watches(engine)
        assert paused()["lakes"], (
            "what the ledger says holds: a command that was killed halfway is made up for"
        )
        for name in ("lakes", "lakes", "off"):
            assert CliRunner().invoke(app, ["watch", "resume", name]).exit_code == 0
        assert paused() == {"lakes": False, "off": False}
    assert {name: on for name, (_, on) in crons(server).items()} == {"lakes": True, "off": False}
