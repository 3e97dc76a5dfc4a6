"""The command line finds the services of its home, and what is set in the environment comes before them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from segwatch.db.embedded.cluster import Cluster
from segwatch.flows.cli.app import app
from segwatch.flows.runtime.progress import step
from segwatch.flows.services import environment, secrets
from segwatch.flows.services.shells import Shell, write_variable
from segwatch.flows.services.stack import Stack
from segwatch.flows.services.supervisor import Supervisor

_SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]
_OWN_SERVER = {"PREFECT_API_URL": "http://prefect.example.org/api"}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home folder in which a catalog, a receiver and a Prefect server run."""
    home = tmp_path / ".segwatch"
    supervisor = Supervisor(home)
    for name in ("stac", "receiver", "prefect"):
        supervisor.port(name)
        supervisor.start(name, _SLEEPER, {})
    yield home
    supervisor.stop_all()


def test_what_runs_is_found(home: Path) -> None:
    found = environment.find_missing(home, {})
    supervisor = Supervisor(home)
    assert found["SEGWATCH_STAC_URL"] == f"http://127.0.0.1:{supervisor.remembered_port('stac')}"
    assert found["PREFECT_API_URL"] == f"http://127.0.0.1:{supervisor.remembered_port('prefect')}/api"
    assert found["PREFECT_API_AUTH_STRING"] == secrets.read_prefect_secret(home)
    supervisor.stop("stac")
    assert "SEGWATCH_STAC_URL" not in environment.find_missing(home, {}), (
        "a catalog that is down is not promised"
    )
    supervisor.stop_all()
    assert environment.find_missing(home, {}) == {}


def test_what_is_set_comes_first(home: Path) -> None:
    given = {"SEGWATCH_STAC_URL": "https://stac.example.org"}
    assert "SEGWATCH_STAC_URL" not in environment.find_missing(home, given)
    assert "SEGWATCH_RECEIVER_URL" in environment.find_missing(home, given)
    assert (
        environment.find_missing(home, {"SEGWATCH_DATABASE_URL": "postgresql://db.example.org/segwatch"})
        == {}
    )


@pytest.mark.parametrize("given", [_OWN_SERVER, {"PREFECT_API_KEY": "key"}, {"PREFECT_PROFILE": "cloud"}])
def test_no_server_gets_the_credentials_of_another(home: Path, given: dict[str, str]) -> None:
    found = environment.find_missing(home, given)
    assert not [name for name in found if name.startswith("PREFECT_")]
    assert "SEGWATCH_STAC_URL" in found


def test_a_home_of_another_user_says_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    somebody_else = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: somebody_else)
    assert environment.find_missing(home, {}) == {}


def test_what_the_operator_allows_stays_allowed(home: Path) -> None:
    own = '["127.0.0.1:9912"]'
    given = {"SEGWATCH_ALLOWED_ADDRESSES": own, "PREFECT_WORKER_QUERY_SECONDS": "7"}
    receiver = f"127.0.0.1:{Supervisor(home).remembered_port('receiver')}"
    found = environment.find_missing(home, given)
    assert json.loads(found["SEGWATCH_ALLOWED_ADDRESSES"]) == ["127.0.0.1:9912", receiver]
    assert (
        environment.find_missing(home, given | found)["SEGWATCH_ALLOWED_ADDRESSES"]
        == (found["SEGWATCH_ALLOWED_ADDRESSES"])
    )
    assert environment.find_running(home, given)["PREFECT_WORKER_QUERY_SECONDS"] == "7"
    broken = {"SEGWATCH_ALLOWED_ADDRESSES": "127.0.0.1:9912"}
    assert environment.find_missing(home, broken) | broken == environment.find_missing(home, broken), (
        "commands say what is wrong with it"
    )


def test_workers_and_commands_get_what_the_operator_allows(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGWATCH_HOME", str(home))
    monkeypatch.setenv("SEGWATCH_ALLOWED_ADDRESSES", '["127.0.0.1:9912"]')
    stack = Stack(home, say=lambda _: None)
    receiver = stack.urls().receiver.removeprefix("http://")
    allowed = ["127.0.0.1:9912", receiver]
    assert json.loads(stack.environment()["SEGWATCH_ALLOWED_ADDRESSES"]) == allowed
    printed = CliRunner().invoke(app, ["env"]).stdout
    (line,) = [one for one in printed.splitlines() if "SEGWATCH_ALLOWED_ADDRESSES" in one]
    assert json.loads(shlex.split(line)[1].partition("=")[2]) == allowed
    CliRunner().invoke(app, ["status"])
    assert os.environ["SEGWATCH_ALLOWED_ADDRESSES"] == '["127.0.0.1:9912"]', "until the command ends"


_PSQL = "psql -tAX -c"
_PYTHON = "import segwatch; s = segwatch.connect(); print(len(s.watches()), s)"


def test_a_shell_after_the_demo_reaches_the_database(cluster: Cluster, tmp_path: Path) -> None:
    """psql and Python in a real shell that has read the commands; the password is in a file that libpq reads."""
    line = f"{sys.executable} -P -m segwatch.flows.cli env"
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "PYTHONPATH"}}
    shell = {**kept, "HOME": str(tmp_path), "SEGWATCH_HOME": str(cluster.home)}
    script = f"""
        printed="$({line})"; eval "$printed"; cd /
        {_PSQL} "SELECT current_user, count(*) FROM watch.watches"
        {_PSQL} "DELETE FROM segwatch.watch" || echo refused
        stat -c %a "$PGPASSFILE"; echo "$PGHOST:$PGPORT/$PGDATABASE"
        {sys.executable} -P -c '{_PYTHON}'
        echo "PRINTED $printed"
    """
    done = subprocess.run(
        ["bash", "-c", script], env=shell, capture_output=True, text=True, timeout=300, check=False
    )
    used, _, printed = done.stdout.partition("PRINTED ")
    info = cluster.info()
    address = f"127.0.0.1:{info.port}/segwatch"
    assert used.splitlines() == [
        "segwatch_analyst|0",
        "refused",
        "600",
        address,
        f"0 <segwatch session on postgresql://segwatch_analyst@{address}, read-only>",
    ], done.stderr
    assert not [password for password in info.passwords.values() if password in printed]
    names = [one.split("=")[0] for one in printed.splitlines()]
    assert names[:1] + names[-5:] == [
        f"export {name}"
        for name in ("SEGWATCH_HOME", "PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGPASSFILE")
    ]


def test_what_is_printed_fits_the_shell(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGWATCH_HOME", str(cluster.home))
    printed = CliRunner().invoke(app, ["env", "--shell", "fish"]).stdout.splitlines()
    assert printed[0] == f"set -gx SEGWATCH_HOME '{cluster.home}'"
    assert f"set -gx PGPASSFILE '{cluster.home / 'analyst.pgpass'}'" in printed
    odd = "it's a \\ backslash"
    assert write_variable("X", odd, Shell.FISH) == "set -gx X 'it\\'s a \\\\ backslash'"
    assert CliRunner().invoke(app, ["env", "--shell", "cmd"]).exit_code == 2
    monkeypatch.setenv("SEGWATCH_HOME", str(tmp_path))
    nothing = CliRunner().invoke(app, ["env"])
    assert nothing.exit_code != 0
    assert "no services are running" in nothing.output


def test_the_status_in_a_pipe_is_tables(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGWATCH_HOME", str(cluster.home))
    services, findings = CliRunner().invoke(app, ["status"]).stdout.split("\n\n")
    assert services.splitlines() == ["service\tpid\tstate", f"postgres\t{cluster.status().pid}\truns"]
    assert findings.splitlines()[0] == "level\tabout\tsays\tfix"


def test_the_printed_environment_is_the_same_for_a_shell_and_shows_no_secret(home: Path) -> None:
    line = f"{sys.executable} -P -m segwatch.flows.cli env"
    shell = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "PYTHONPATH"}}
    script = f'{line}; eval "$({line})"; echo "GOT $SEGWATCH_STAC_URL $PREFECT_API_AUTH_STRING"'
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=home.parent,
        env=shell,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    printed, _, got = done.stdout.partition("GOT ")
    found = environment.find_running(home)
    assert got.split() == [found["SEGWATCH_STAC_URL"], found["PREFECT_API_AUTH_STRING"]]
    assert found["PREFECT_API_AUTH_STRING"] not in printed
    assert found["SEGWATCH_WEBHOOK_SECRET"] not in printed


def test_secrets_are_made_once_whoever_asks_first(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: secrets.read_prefect_secret(tmp_path), range(32)))
    assert len(made) == 1
    assert (tmp_path / secrets.PREFECT).stat().st_mode & 0o077 == 0
    assert [file.name for file in tmp_path.iterdir()] == [secrets.PREFECT]


def test_a_home_is_removed_and_nothing_beside_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    secrets.read_webhook_secret(home)
    (home / "notes.txt").write_text("mine")
    for _ in range(2):
        Stack(home, say=lambda _: None).remove()
        assert [file.name for file in home.iterdir()] == ["notes.txt"]


def test_a_long_step_says_that_it_goes_on() -> None:
    told: list[str] = []
    enough = threading.Event()

    def say(text: str) -> None:
        told.append(text)
        if len(told) == 3:
            enough.set()

    with step(say, "a step", every_seconds=0.05):
        assert enough.wait(120)
    assert told[0] == "a step"
    assert all(text.startswith("a step: ") and text.endswith(" so far") for text in told[1:])
