"""What a pool's template lets a run decide."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import kubernetes_validate
import pytest
from docker.types import HostConfig
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.workers.process import ProcessJobConfiguration, ProcessVariables, ProcessWorker
from prefect_docker.worker import DockerWorkerJobConfiguration
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

from segwatch.flows.errors import ConfigError
from segwatch.flows.orchestration import deploy
from segwatch.flows.orchestration.work_pools import (
    ImageSource,
    PoolKind,
    find_unsafe_settings,
    read_pools,
    replace_images,
)

#: The newest release of Kubernetes that the validator knows.
LATEST = kubernetes_validate.latest_version()
#: Never asked: the templates name no block of the server.
NOBODY = PrefectClient("http://127.0.0.1:9/api")


def job(**entries: Any) -> dict[str, Any]:
    return {"job_configuration": entries, "variables": {"type": "object", "properties": {}}}


@pytest.mark.parametrize("kind", PoolKind)
def test_the_shipped_pools_let_a_run_decide_nothing(kind: PoolKind) -> None:
    pools = read_pools(deploy.find_deployments_folder(), kind, ImageSource())
    assert [pool.name for pool in pools] == ["cpu", "gpu"]
    for pool in pools:
        template = pool.base_job_template
        assert pool.type == kind
        assert find_unsafe_settings(pool.type, template) == []
        assert "{{" not in json.dumps(template)
        assert template["variables"]["additionalProperties"] is False


def test_a_folder_without_such_pools_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no work pools; give another --folder or --pools"):
        read_pools(tmp_path, PoolKind.DOCKER, ImageSource())


def test_images_of_segwatch_get_another_place_and_tag_and_all_else_stays() -> None:
    template = {
        "job": [{"image": "worker-cpu", "cpu": 2}, {"image": "localhost:5000/old/worker-gpu@sha256:00"}],
        "image": {"name": "worker-cpu"},
        "side": {"image": "docker.io/library/redis:7"},
    }
    assert replace_images(template, ImageSource("registry.example.org:5000/watch/", "1.2")) == {
        "job": [
            {"image": "registry.example.org:5000/watch/worker-cpu:1.2", "cpu": 2},
            {"image": "registry.example.org:5000/watch/worker-gpu:1.2"},
        ],
        "image": {"name": "worker-cpu"},
        "side": {"image": "docker.io/library/redis:7"},
    }


def test_what_prefect_makes_of_the_kubernetes_template_is_a_job_of_kubernetes() -> None:
    """Whatever a run brings along, the image, the command and the secrets of its job are those of the template."""
    brought = {"image": "evil", "command": "sh", "env": {"A": "1"}, "job_manifest": {}, "namespace": "other"}
    for pool in read_pools(
        deploy.find_deployments_folder(), PoolKind.KUBERNETES, ImageSource("r.example", "1")
    ):
        job = asyncio.run(
            KubernetesWorkerJobConfiguration.from_template_and_values(
                pool.base_job_template, brought, client=NOBODY
            )
        )
        run = FlowRun(name="Odd_Name", flow_id=uuid4())
        job.prepare_for_flow_run(run)
        kubernetes_validate.validate(job.job_manifest, LATEST, strict=True)
        (container,) = job.job_manifest["spec"]["template"]["spec"]["containers"]
        assert job.namespace == "segwatch"
        assert container["image"] == f"r.example/worker-{pool.name}:1"
        assert container["args"] == ["prefect", "flow-run", "execute"]
        assert container["envFrom"] == [{"secretRef": {"name": f"segwatch-worker-{pool.name}"}}]
        assert {"name": "A", "value": "1"} not in container["env"]
        assert job.job_manifest["spec"]["backoffLimit"] == 0, "Prefect's server decides what runs again"


def test_what_prefect_makes_of_the_docker_template() -> None:
    brought = {
        "image": "evil",
        "command": "sh",
        "env": {"A": "1"},
        "privileged": True,
        "volumes": ["/:/host"],
    }
    for pool in read_pools(deploy.find_deployments_folder(), PoolKind.DOCKER, ImageSource("r.example", "1")):
        job = asyncio.run(
            DockerWorkerJobConfiguration.from_template_and_values(
                pool.base_job_template, brought, client=NOBODY
            )
        )
        assert job.image == f"r.example/worker-{pool.name}:1"
        assert job.volumes == [f"/etc/segwatch/worker-{pool.name}.env:/run/secrets/segwatch.env:ro"]
        assert (job.privileged, job.command, job.env) == (False, None, {})
        made = HostConfig(version="1.45", **_to_host_options(job.container_create_kwargs or {}))
        assert made["ReadonlyRootfs"] is True
        assert made["CapDrop"] == ["ALL"]


def _to_host_options(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name != "user"}


def test_prefects_own_template_lets_it_decide_all() -> None:
    template = ProcessWorker.get_default_base_job_template()
    assert find_unsafe_settings("process", template) == ["command", "env", "working_dir"]
    assert ProcessVariables.model_fields.keys() >= {"command", "env", "working_dir"}
    assert ProcessJobConfiguration.model_fields.keys() >= {"command", "env", "working_dir"}


@pytest.mark.parametrize(
    ("kind", "template", "expected"),
    [
        ("process", job(command="{{ command }}"), ["command"]),
        ("process", job(command="sh -c {{ labels }}"), ["command"]),
        ("process", job(env={"A": "1"}), ["env"]),
        ("process", job(env={}), ["env"]),
        ("process", job(env="{{env}}", working_dir="{{ place }}"), ["env", "working_dir"]),
        ("process", job(unheard_of=["{{ x }}"]), ["unheard_of"]),
        ("process", job(command="python -m prefect.engine", working_dir="/srv"), []),
        ("process", job(labels="{{ labels }}", name="{{ name }}", stream_output=True), []),
        ("process", {}, []),
        ("docker", job(image="{{ image }}", auto_remove="{{ auto_remove }}"), ["image"]),
        (
            "kubernetes",
            job(job_manifest={"spec": {"env": "{{ env }}"}}, namespace="{{ n }}"),
            ["job_manifest"],
        ),
    ],
)
def test_what_is_open_is_named(kind: str, template: dict[str, Any], expected: list[str]) -> None:
    assert find_unsafe_settings(kind, template) == expected
