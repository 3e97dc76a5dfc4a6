"""What a pool's template lets a run decide."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prefect.workers.process import ProcessJobConfiguration, ProcessVariables, ProcessWorker

from segwatch.flows.orchestration import deploy
from segwatch.flows.orchestration.work_pools import find_unsafe_settings


def job(**entries: Any) -> dict[str, Any]:
    return {"job_configuration": entries, "variables": {"type": "object", "properties": {}}}


def test_the_shipped_pools_let_a_run_decide_nothing() -> None:
    files = sorted((deploy.find_deployments_folder() / "work_pools").glob("*.json"))
    assert {file.stem for file in files} == {"cpu", "gpu"}
    for file in files:
        pool = json.loads(file.read_text(encoding="utf-8"))
        template = pool["base_job_template"]
        assert find_unsafe_settings(pool["type"], template) == []
        assert "{{" not in json.dumps(template)
        assert template["variables"]["additionalProperties"] is False


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
