"""``segwatch db`` and ``segwatch stop`` from any state, each twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url
from typer.testing import CliRunner, Result

from segwatch.db.embedded.cluster import Cluster
from segwatch.flows.cli import app
from tests.conftest import Database
from tests.support.paths import make_home


@pytest.fixture
def home() -> Iterator[Path]:
    """A home folder that the server's account can enter."""
    made = make_home("cli")
    yield made
    Cluster(made).destroy()
    shutil.rmtree(made, ignore_errors=True)


def segwatch(home: Path, *arguments: str, stdin: str = "", **more: str) -> Result:
    """Run a command in this process, without a terminal."""
    return CliRunner(env={"SEGWATCH_HOME": str(home)} | more).invoke(app, list(arguments), input=stdin)


def psql(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run ``segwatch db psql``, which becomes psql."""
    arguments = ("db", "psql", *arguments)
    return subprocess.run(
        [sys.executable, "-P", "-m", "segwatch.flows.cli", *arguments],
        env=os.environ | {"SEGWATCH_HOME": str(home)} | more,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_from_nothing_through_a_kill_to_nothing(home: Path) -> None:
    for _ in range(2):
        assert "nothing was running" in segwatch(home, "stop").stdout
    assert segwatch(home, "db", "status").exit_code == 3
    for _ in range(2):
        up = segwatch(home, "db", "up")
        assert up.exit_code == 0, up.output
    before = json.loads(segwatch(home, "db", "status", "--json").stdout)
    assert before["running"] is True
    os.kill(before["pid"], signal.SIGKILL)
    assert segwatch(home, "db", "up").exit_code == 0
    asked = psql(home, "-Atc", "SELECT count(*) FROM watch.objects_now")
    assert asked.stdout.strip() == "0", asked.stderr
    assert "postgres" in segwatch(home, "stop").stdout
    assert "nothing was running" in segwatch(home, "stop").stdout
    for _ in range(2):
        assert segwatch(home, "db", "destroy", "--yes").exit_code == 0
    assert segwatch(home, "db", "status").exit_code == 3


def test_nothing_is_deleted_without_a_yes(home: Path) -> None:
    assert segwatch(home, "db", "up").exit_code == 0
    for command in (("db", "destroy"), ("clean",)):
        for given in ("", "y\n"):
            done = segwatch(home, *command, stdin=given)
            assert done.exit_code == 2, done.output
            assert "nothing was deleted" in done.stderr
            assert "--yes" in done.stderr
    assert segwatch(home, "db", "status").exit_code == 0
    socket_folder = json.loads(segwatch(home, "db", "status", "--json").stdout)["socket_dir"]
    assert Path(socket_folder).is_dir()
    segwatch(home, "stop")
    assert not Path(socket_folder).exists(), "a stopped cluster leaves nothing in /tmp"
    assert segwatch(home, "clean", "--yes").exit_code == 0
    assert not any(home.glob("postgres*"))


def test_psql_and_status_are_about_the_server_that_is_named(home: Path, database: Database) -> None:
    url = make_url(database.url())
    assert url.password
    named = {"SEGWATCH_DATABASE_URL": url.render_as_string(hide_password=False)}
    asked = psql(home, "--", "-Atc", "SELECT current_user, current_database()", **named)
    assert asked.stdout.strip() == f"segwatch_worker|{database.name}", asked.stderr
    # a command of psql's shell sees what everybody on the machine sees
    seen = psql(home, "--", "-c", r"\! tr '\0' ' ' < /proc/$PPID/cmdline", **named)
    assert database.name in seen.stdout
    assert url.password not in seen.stdout
    told = segwatch(home, "db", "status", "--json", **named)
    state = json.loads(told.stdout)
    assert (told.exit_code, state["running"], state["schema"]) == (0, True, "up to date")
    assert database.name in state["database"]
    assert url.password not in told.stdout + told.stderr
    away = {"SEGWATCH_DATABASE_URL": "postgresql://someone:hunter2@127.0.0.1:1/x"}
    state_of_none, asked = segwatch(home, "db", "status", **away), psql(home, "--", "-c", "SELECT 1", **away)
    assert state_of_none.exit_code != 0
    assert asked.returncode != 0
    for said in (state_of_none.output, asked.stdout + asked.stderr):
        assert "segwatch db up" not in said, "that is no cluster of ours"
        assert "hunter2" not in said
        assert "refused" in said


def test_mistakes_get_one_clear_message(home: Path) -> None:
    for arguments, word in (
        (("run", "nothing"), "db up"),
        (("apply", "does-not-exist.yaml"), "does-not-exist.yaml"),
        (("model", "parity", "does-not-exist"), "does-not-exist"),
    ):
        done = segwatch(home, *arguments)
        assert isinstance(done.exception, SystemExit), (arguments, done.exception)
        assert done.exit_code != 0, arguments
        assert word in done.stderr


def test_wrong_settings_are_named(home: Path) -> None:
    assert segwatch(home, "db", "up").exit_code == 0
    for name, value, words in (
        ("SEGWATCH_MODEL_PATH", "/no/such/model", ("/no/such/model", "no such folder")),
        ("SEGWATCH_SEGMENTER", "nowhere:x", ("SEGWATCH_SEGMENTER=nowhere:x: No module", "module:factory")),
        ("SEGWATCH_TILE_BATCH", "0", ("SEGWATCH_TILE_BATCH", "0")),
    ):
        done = segwatch(home, "run", "anything", **{name: value})
        assert isinstance(done.exception, SystemExit), done.exception
        assert done.exit_code == 1, done.output
        for word in words:
            assert word in " ".join(done.stderr.split())
