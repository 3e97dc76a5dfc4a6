"""What an operator reads on the console: nothing masked that is ours, no empty or broken lines."""

from __future__ import annotations

import csv
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from segwatch.db.embedded.ports import find_free_port
from segwatch.flows.cli.app import app
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, cells


@pytest.fixture(autouse=True)
def _commands_use_the_ledger_of_this_test(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())


def segwatch(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_a_new_token_comes_with_how_to_send_it() -> None:
    made = segwatch("token", "create", "ada", "--all-watches")
    assert "send it as Authorization: Bearer TOKEN, or" in made.stderr
    assert made.stdout.strip().isprintable()


def test_alerts_show_the_time_by_which_they_are_ordered(ledgers: Any) -> None:
    ledger: Ledger = ledgers()
    for day in range(3):
        ledger.arrive([SceneContent((cells(1, 1, 3, 3 + 2 * one),)) for one in range(3)], [day])
    rows = list(csv.DictReader(segwatch("alert", "list", "lakes").stdout.splitlines(), delimiter="\t"))
    raised = [row["raised"] for row in rows]
    assert len(raised) >= 2
    assert raised == sorted(raised, reverse=True)


def test_errors_of_a_database_that_is_away_have_no_escaped_tabs(monkeypatch: pytest.MonkeyPatch) -> None:
    port = find_free_port()
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", f"postgresql+psycopg://a:b@127.0.0.1:{port}/c")
    done = segwatch("alert", "channels")
    assert done.exit_code == 1
    assert f"port {port} failed" in " ".join(done.stderr.split())
    assert "\\t" not in done.stderr
