"""What a service gets of the shell that started it: of secrets only those that it needs."""

from __future__ import annotations

import pytest

from segwatch.flows.config.settings import SECRET_VARIABLES, FlowSettings
from segwatch.flows.services import inherited
from segwatch.flows.services.stack import NEEDS

SHELL = {
    "PATH": "/usr/bin",
    "HOME": "/root",
    "LC_ALL": "C",
    "SEGWATCH_TILE_BATCH": "2",
    "SEGWATCH_SEGMENTER": "own:Segmenter",
    "CUDA_VISIBLE_DEVICES": "0",
    "HOOK": "https://hooks.example.org/T0/B0",
    "AWS_SECRET_ACCESS_KEY": "x",
    "HF_TOKEN": "x",
    "PREFECT_API_KEY": "x",
    "PREFECT_API_AUTH_STRING": "u:p",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql://u:p@h/d",
    "PREFECT_PROFILE": "cloud",
    "PGPASSWORD": "x",
    "PGPASSFILE": "/root/.pgpass",
    "DATABASE_URL": "postgresql://u:p@h/d",
    "MY_DATABASE_URL": "postgresql://u:p@h/d",
    "SSH_AUTH_SOCK": "/tmp/agent",
    "GITHUB_TOKEN": "x",
    "SEGWATCH_EVIDENCE": "s3://KEY:SECRET@bucket/evidence",
    "segwatch_review_token": "x",
    **dict.fromkeys(SECRET_VARIABLES, "x"),
    "SEGWATCH_STAC_DATABASE_URL": "postgresql://u:p@h/d",
}


def test_every_secret_of_the_settings_is_known() -> None:
    secret = {name for name, field in FlowSettings.model_fields.items() if "Secret" in str(field.annotation)}
    assert {f"SEGWATCH_{name.upper()}" for name in secret} == SECRET_VARIABLES
    assert "SEGWATCH_WEBHOOK_SECRET" in SECRET_VARIABLES


def test_a_server_gets_none() -> None:
    got = inherited.select_for_server(SHELL)
    assert set(got) == {"PATH", "HOME", "LC_ALL", "SEGWATCH_TILE_BATCH", "SEGWATCH_SEGMENTER"}


@pytest.mark.parametrize("pool", ["cpu", "gpu"])
def test_a_worker_gets_what_its_flows_need(pool: str) -> None:
    got = set(inherited.select_for_worker(SHELL, NEEDS[pool]))
    assert got & SECRET_VARIABLES == NEEDS[pool]
    assert {"CUDA_VISIBLE_DEVICES", "HOOK", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "SEGWATCH_EVIDENCE"} <= got
    others = {
        name
        for name in SHELL
        if name.startswith(("PG", "PREFECT", "SSH", "GITHUB")) or "DATABASE_URL" in name
    }
    assert not got & (others | {"segwatch_review_token"})


def test_only_the_pool_that_delivers_signs_messages() -> None:
    assert "SEGWATCH_WEBHOOK_SECRET" in NEEDS["cpu"]
    assert NEEDS["gpu"] == {"SEGWATCH_CREDENTIALS"}
    assert not any("DATABASE" in name for needs in NEEDS.values() for name in needs)
