"""The first hour with the product: what README prints works as it is printed, in order, after ``make demo``."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from segwatch.flows.cli import app
from segwatch.flows.config import watchfile
from segwatch.flows.services.stack import Stack
from tests.support.paths import ROOT

#: Commands of the blocks marked ``sh`` that this test does not run, and why.
NOT_RUN = {
    "make demo": "installs packages; its last step, `segwatch demo`, is what the fixture runs",
    "make test": "it is what runs this test",
    "segwatch source check sentinel2-l2a-earthsearch": "asks a public catalog",
    "segwatch event poll": "asks public feeds",
}
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:segwatch|make) [^`]+)`")


@dataclass(frozen=True)
class Ran:
    """A command of README, and what came of it."""

    command: str
    status: int
    stdout: str
    stderr: str


def _text() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return [body for found, body in _FENCE.findall(_text()) if found == language]


def _commands(language: str) -> list[str]:
    """The commands of all blocks of a language, one a line, without their comments."""
    lines = "\n".join(_blocks(language)).replace("\\\n", " ").split("\n")
    bare = (re.sub(r"(^|\s+)#.*$", "", line).strip() for line in lines)
    return [line for line in bare if line]


@pytest.fixture(scope="module")
def checkout() -> Iterator[Path]:
    """A folder as a checkout is after ``make demo``: with the demo's material, the virtual environment, and all up."""
    folder = Path(tempfile.mkdtemp(prefix="segwatch-readme-", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "demo").symlink_to(ROOT / "demo")
    (folder / ".venv").symlink_to(sys.prefix)
    try:
        done = _shell(folder, ". .venv/bin/activate && segwatch demo", seconds=1200)
        assert done.returncode == 0, done.stdout + done.stderr
        (folder / "demo.txt").write_text(done.stdout + done.stderr)
        yield folder
    finally:
        Stack(folder / ".segwatch", say=lambda _: None).remove()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def ran(checkout: Path) -> list[Ran]:
    """Every command of the runnable blocks, one after the other in one fresh shell."""
    commands = [one for one in _commands("sh") if one not in NOT_RUN]
    results = checkout / "results"
    results.mkdir()
    script = "\n".join(
        f"{{ {command}\n}} >{results}/{number}.out 2>{results}/{number}.err; echo $? >{results}/{number}.status"
        for number, command in enumerate(commands)
    )
    _shell(checkout, script, seconds=1200)
    return [Ran(command, *_result(results / str(number))) for number, command in enumerate(commands)]


def _result(stem: Path) -> tuple[int, str, str]:
    status, stdout, stderr = (stem.with_suffix(end) for end in (".status", ".out", ".err"))
    return int(status.read_text()), stdout.read_text(), stderr.read_text()


def _shell(folder: Path, script: str, *, seconds: float) -> subprocess.CompletedProcess[str]:
    """Bash as a new terminal has it: nothing of segwatch or Prefect in its environment."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SEGWATCH_PG_BINDIR") if name in os.environ}
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-c", script],
        cwd=folder,
        env=kept | {"HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


@pytest.mark.timeout(2700)
def test_every_command_does_what_it_says(ran: list[Ran]) -> None:
    failed = [one for one in ran if one.status != 0 or "Traceback" in one.stdout + one.stderr]
    assert not failed, "\n\n".join(f"$ {one.command}\n{one.stdout}{one.stderr}" for one in failed)
    assert len(ran) > 20


def test_what_is_shown_can_be_read_and_copied(ran: list[Ran]) -> None:
    shown = {one.command: one.stdout for one in ran}
    objects = next(text for command, text in shown.items() if "FROM watch.objects_now LIMIT" in command)
    assert "cottonwood-water" in objects
    alerts = next(text for command, text in shown.items() if command.startswith("segwatch alert list"))
    assert "…" not in alerts, "an id that is cut cannot be given to the next command"
    assert re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", alerts)
    environment = shown["segwatch env"]
    assert "whsec_" not in environment
    assert "prefect.secret" in environment


def test_the_demo_shows_its_progress_and_what_to_do_next(checkout: Path) -> None:
    told = (checkout / "demo.txt").read_text()
    assert re.search(r"cottonwood-water: \d+ of \d+ scenes done", told)
    for part in ("Map:", "Prefect's UI:", "segwatch db psql", "make stop", "make clean"):
        assert part in told
    assert "whsec_" not in told
    assert (checkout / ".segwatch" / "prefect.secret").stat().st_mode & 0o077 == 0


def test_what_is_not_run_is_printed_and_nothing_else(ran: list[Ran]) -> None:
    assert set(NOT_RUN) <= set(_commands("sh"))
    assert {one.command for one in ran} == set(_commands("sh")) - set(NOT_RUN)


@pytest.mark.parametrize("command", [*NOT_RUN, *_commands("console"), *_INLINE.findall(_text())])
def test_what_is_only_printed_exists(command: str) -> None:
    """Commands and flags of examples and in the text: a renamed one is found here."""
    for one in _alternatives(command):
        words = shlex.split(one, comments=True)
        if words[:1] == ["make"]:
            _check_target(words[1])
        elif words[:1] == ["segwatch"]:
            _check_flags(words[1:])


def _alternatives(command: str) -> list[str]:
    """``review confirm|reject TRACK`` is two commands."""
    found = re.search(r"\b[\w-]+(?:\|[\w-]+)+", command)
    if found is None:
        return [command]
    return [command.replace(found[0], one) for one in found[0].split("|")]


def _check_target(target: str) -> None:
    rules = re.findall(r"^([\w%-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert any(re.fullmatch(rule.replace("%", ".+"), target) for rule in rules), target


def _check_flags(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while (below := getattr(command, "commands", {})) and rest and not rest[0].startswith("-"):
        assert rest[0] in below, f"segwatch has no {' '.join(words)}"
        command = below[rest.pop(0)]
    known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}
    before_dashes = rest[: rest.index("--")] if "--" in rest else rest
    given = {one.partition("=")[0] for one in before_dashes if one.startswith("--")}
    assert given <= known, f"segwatch {' '.join(words)}: no {given - known}"


def test_the_watch_and_the_rules_shown_are_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGWATCH_STAC_URL", "http://127.0.0.1:1")
    whole, rules = _blocks("yaml")
    file = tmp_path / "watch.yaml"
    file.write_text(whole)
    assert watchfile.load(file).name == "cottonwood-water"
    file.write_text(yaml.safe_dump(yaml.safe_load(whole) | yaml.safe_load(rules)))
    assert watchfile.load(file).rules[0].name == "near the dam"
