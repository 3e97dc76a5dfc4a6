"""``segwatch db`` and ``segwatch stop`` from any state, each twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def home() -> Iterator[Path]:
    """A home folder that the server's account can enter."""
    made = Path(tempfile.mkdtemp(prefix="segwatch-cli-", dir="/tmp"))
    made.chmod(0o755)
    yield made
    segwatch(made, "db", "destroy", "--yes")
    shutil.rmtree(made, ignore_errors=True)


def segwatch(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "segwatch.flows.cli", *arguments],
        env=os.environ | {"SEGWATCH_HOME": str(home)} | more,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_from_nothing_through_a_kill_to_nothing(home: Path) -> None:
    for _ in range(2):
        assert "nothing was running" in segwatch(home, "stop").stdout
    assert segwatch(home, "db", "status").returncode == 3
    for _ in range(2):
        up = segwatch(home, "db", "up")
        assert up.returncode == 0, up.stderr
    before = json.loads(segwatch(home, "db", "status", "--json").stdout)
    assert before["running"] is True
    os.kill(before["pid"], signal.SIGKILL)
    assert segwatch(home, "db", "up").returncode == 0
    asked = segwatch(home, "db", "psql", "-Atc", "SELECT count(*) FROM watch.objects_now")
    assert asked.stdout.strip() == "0", asked.stderr
    assert "postgres" in segwatch(home, "stop").stdout
    assert "nothing was running" in segwatch(home, "stop").stdout
    for _ in range(2):
        assert segwatch(home, "db", "destroy", "--yes").returncode == 0
    assert segwatch(home, "db", "status").returncode == 3


def test_nothing_is_deleted_without_a_yes(home: Path) -> None:
    assert segwatch(home, "db", "up").returncode == 0
    assert segwatch(home, "db", "destroy").returncode == 1
    assert segwatch(home, "db", "status").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "nothing"), ("db up",)),
        (("apply", "does-not-exist.yaml"), ("does-not-exist.yaml",)),
        (("model", "parity", "does-not-exist"), ("does-not-exist",)),
    ],
)
def test_mistakes_get_one_clear_message(
    home: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    done = segwatch(home, *arguments)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"SEGWATCH_MODEL_PATH": "/no/such/model"}, ("/no/such/model", "no such folder")),
        ({"SEGWATCH_SEGMENTER": "nowhere:x"}, ("SEGWATCH_SEGMENTER=nowhere:x: No module", "module:factory")),
        ({"SEGWATCH_TILE_BATCH": "0"}, ("SEGWATCH_TILE_BATCH", "0")),
    ],
)
def test_wrong_settings_are_named(home: Path, setting: dict[str, str], words: tuple[str, ...]) -> None:
    assert segwatch(home, "db", "up").returncode == 0
    done = segwatch(home, "run", "anything", **setting)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in " ".join(done.stderr.split())
