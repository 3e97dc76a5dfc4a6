"""``segwatch cost``: what watches have cost, by month and at a price."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from segwatch.db import usage
from segwatch.db.usage import AttemptOutcome
from segwatch.flows.cli.app import app
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent


@pytest.fixture(autouse=True)
def _commands_use_the_ledger_of_this_test(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())


def segwatch(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def ledger(ledgers: Any, engine: Engine) -> Ledger:
    """Half an hour and 2 GB for an observed scene, as much again for one that failed."""
    made: Ledger = ledgers()
    made.arrive([SceneContent(())], [0])
    ids = [row["id"] for row in made.rows("SELECT id FROM segwatch.observation")]
    with engine.begin() as conn:
        for outcome in (AttemptOutcome.OBSERVED, AttemptOutcome.TILES):
            usage.record_attempt(conn, ids[0], outcome, compute_seconds=1800.0, bytes_read=2e9)
    return made


def test_failed_attempts_cost_too(ledger: Ledger) -> None:
    shown = segwatch("cost", "lakes", "--per-hour", "2.5", "--per-gb", "0.1", "--json")
    (row,) = json.loads(shown.stdout)
    assert (row["watch"], row["attempts"], row["observed"]) == ("lakes", 2, 1)
    assert (row["compute_seconds"], row["bytes_read"]) == (3600, 4e9)
    assert row["money"] == 2.9
    assert row["area_km2"] > 0


def test_a_month_without_work_and_one_that_is_none(ledger: Ledger) -> None:
    assert json.loads(segwatch("cost", "--month", "1999-01", "--json").stdout) == []
    wrong = segwatch("cost", "--month", "May")
    assert wrong.exit_code != 0
    assert "--month 2024-05" in wrong.stderr


def test_an_unknown_watch_is_named(ledger: Ledger) -> None:
    assert "no watch" in segwatch("cost", "nothing").stderr
