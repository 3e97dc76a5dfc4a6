"""Runs that begin while the database is away wait for it, say so, and give up in the end."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner, Result

from segwatch.flows.cli.app import app
from segwatch.flows.deliver import deliver
from segwatch.flows.track import track
from tests.conftest import Database


@pytest.fixture(autouse=True)
def _settings(database: Database, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())


@contextmanager
def away(database: Database, seconds: float) -> Iterator[None]:
    """A database that takes no connections for so long."""
    _set_open(database, "false")
    back = threading.Timer(seconds, _set_open, (database, "true"))
    back.start()
    try:
        yield
    finally:
        back.join()


def _set_open(database: Database, is_open: str) -> None:
    with psycopg.connect(database.cluster.info().superuser_url("postgres"), autocommit=True) as conn:
        change = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        conn.execute(change.format(sql.Identifier(database.name), sql.SQL(is_open)))


def run(watch: str) -> Result:
    return CliRunner().invoke(app, ["run", watch])


def test_a_command_that_begins_during_an_outage_waits_and_says_so(database: Database) -> None:
    run("lakes")  # imports what the command needs, so that it meets the outage
    with away(database, 1.5):
        done = run("lakes")
    assert "the database is away, waiting for it for up to 300 s" in " ".join(done.output.split())
    assert "no watch named 'lakes'" in done.output, "it went on once the database was back"


@pytest.mark.parametrize(
    ("words", "then"),
    [
        (["event", "list"], "(none)"),
        (["event", "poll", "http://127.0.0.1:9/feed.xml"], "127.0.0.1"),
        (["respond", "--playbook", "flood", "--event", "usgs/1"], "is not in the ledger"),
    ],
)
def test_commands_about_events_wait_too(database: Database, words: list[str], then: str) -> None:
    CliRunner().invoke(app, words)  # imports what the command needs, so that it meets the outage
    with away(database, 3.0):
        done = CliRunner().invoke(app, words)
    assert "the database is away, waiting for it for up to 300 s" in " ".join(done.output.split())
    assert then in " ".join(done.output.split()), "it went on once the database was back"


@pytest.mark.parametrize("flow", [deliver, track])
def test_a_flow_that_begins_during_an_outage_waits(
    database: Database, flow: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with away(database, 1.0):
        assert isinstance(flow.fn(), dict)
    assert caplog.text.count("the database is away, waiting for it") == 1


def test_the_wait_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGWATCH_DATABASE_WAIT_SECONDS", "0.5")
    with away(database, 2.0), pytest.raises(OperationalError):
        deliver.fn()


@pytest.mark.parametrize("exists", [True, False])
def test_an_embedded_cluster_that_was_stopped_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool
) -> None:
    """One that was never set up is not: nobody starts it."""
    monkeypatch.delenv("SEGWATCH_DATABASE_URL")
    monkeypatch.setenv("SEGWATCH_HOME", str(tmp_path))
    monkeypatch.setenv("SEGWATCH_DATABASE_WAIT_SECONDS", "0.3")
    if exists:
        state = {"data_dir": str(tmp_path / "postgres" / "data"), "port": 5432}
        (tmp_path / "postgres.json").write_text(json.dumps(state))
    done = run("lakes")
    assert (done.exit_code, "segwatch db up" in done.output) == (1, True)
    assert ("waiting for it for up to" in done.output) is exists


def test_a_password_that_is_wrong_is_not_waited_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, _, rest = database.url().rpartition("@")
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", f"{user.rpartition(':')[0]}:hunter2@{rest}")
    begun = time.monotonic()
    done = run("lakes")
    assert (done.exit_code, "authentication failed" in done.output) == (1, True)
    assert time.monotonic() - begun < 60
