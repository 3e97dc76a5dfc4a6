"""Environment variables that nothing reads are told, with the name that was probably meant."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from segwatch.flows.cli.app import app
from segwatch.flows.config import variables
from segwatch.flows.config.settings import load_settings
from tests.support.paths import ROOT


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SEGWATCH_DATABSE_URL", "SEGWATCH_DATABASE_URL"),
        ("SEGWATCH_DATABASE", "SEGWATCH_DATABASE_URL"),
        ("SEGWATCH_DB_URL", "SEGWATCH_DATABASE_URL"),
        ("SEGWATCH_MODELPATH", "SEGWATCH_MODEL_PATH"),
        ("SEGWATCH_FEED", "SEGWATCH_FEEDS"),
        ("SEGWATCH_PLAYBOOK", "SEGWATCH_PLAYBOOKS"),
        ("SEGWATCH_CREDENTIAL", "SEGWATCH_CREDENTIALS"),
        ("SEGWATCH_Debug", "SEGWATCH_DEBUG"),
        ("segwatch_databse_url", "SEGWATCH_DATABASE_URL"),
        ("SEGWATCH__HOME", "SEGWATCH_HOME"),
        ("SEGWATCHHOME", "SEGWATCH_HOME"),
        ("SEGWATH_HOME", "SEGWATCH_HOME"),
        ("SEG_WATCH_HOME", "SEGWATCH_HOME"),
        ("SEQWATCH_DATABASE_URL", "SEGWATCH_DATABASE_URL"),
        ("SEGWATCH_QQQQ", None),
    ],
)
def test_names_that_are_nearly_right_are_found(name: str, meant: str | None) -> None:
    assert [(one.name, one.meant) for one in variables.find_unread([name])] == [(name, meant)]


@pytest.mark.parametrize(
    "name",
    ["SEGWATCH_HOME", "segwatch_home", "SEGWATCH_STAC_URL", "PATH", "DATABASE_URL", "SWITCH_HOME", "SHLVL"],
)
def test_what_is_read_and_what_is_others_is_left_alone(name: str) -> None:
    assert variables.find_unread([name]) == []


def test_every_variable_that_the_source_names_is_known() -> None:
    named = set()
    for folder in ("flows", "db", "geo", "model", "benchmarks"):
        for file in (ROOT / folder).rglob("*.py"):
            if file.name != "variables.py":
                named |= set(re.findall(r"\bSEGWATCH_[A-Z0-9_]*[A-Z0-9]\b", file.read_text(encoding="utf-8")))
    assert len(named) > 10
    assert named <= variables.KNOWN


def test_every_command_tells_and_its_output_stays_machine_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variables, "_reported", set())
    monkeypatch.setenv("SEGWATCH_DATABSE_URL", "postgresql://u:hunter2@h/d")
    done = CliRunner().invoke(app, ["source", "list", "--json"])
    assert done.exit_code == 0
    assert "did you mean SEGWATCH_DATABASE_URL?" in done.stderr
    assert "hunter2" not in done.output
    assert "warning" not in done.stdout


def test_every_flow_tells_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(variables, "_reported", set())
    monkeypatch.setenv("SEGWATCH_LEASE_SECOND", "5")
    for _ in range(2):
        load_settings()
    assert [one.levelname for one in caplog.records] == ["WARNING"]
    assert "did you mean SEGWATCH_LEASE_SECONDS?" in caplog.text
