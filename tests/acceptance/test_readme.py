"""The first hours with the product: commands in README, tutorial and guides work as they are printed, in order."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from segwatch.flows.services.stack import Stack
from tests.support import documents
from tests.support.documents import Page
from tests.support.paths import ROOT, make_home

#: Commands of the blocks marked ``sh`` that this test does not run, and why.
NOT_RUN = {
    "make demo": "installs packages; its last step, `segwatch demo`, is what the fixture runs",
    "make test": "it is what runs this test",
    "segwatch demo": "the fixture ran it; tests/acceptance/test_two_stacks.py repeats it and compares",
    "segwatch source check sentinel2-l2a-earthsearch": "asks a public catalog",
    "segwatch event poll": "asks public feeds",
    "pip install 'segwatch[analysis]'": "installs packages",
}
#: Pages whose commands another test runs, on files of its own.
RUN_ELSEWHERE = {
    "docs/how-to/local-files.md": "tests/acceptance/test_local_files.py",
    "docs/how-to/use-the-api.md": "tests/integration/web/test_use_the_api_page.py",
}
_ACTIVATE = ". .venv/bin/activate"
#: The first test of the module, whichever that is, waits for the demo and for all commands.
pytestmark = pytest.mark.timeout(2700)


@dataclass(frozen=True)
class Ran:
    """A command of a page, and its result."""

    page: str
    command: str
    status: int
    stdout: str
    stderr: str


def _runnable(page: Page) -> list[str]:
    return [command for block in page.blocks if block.language == "sh" for command in block.commands]


def _pages() -> list[Page]:
    """Pages with runnable blocks: README and tutorial first, as a new user reads them, then the guides."""
    first = [documents.read_page(name) for name in ("README.md", "docs/tutorial.md")]
    names = {page.name for page in first} | set(RUN_ELSEWHERE)
    rest = [page for page in documents.list_pages() if page.name not in names and _runnable(page)]
    return [*first, *rest]


@pytest.fixture(scope="module")
def checkout() -> Iterator[Path]:
    """A folder as a checkout is after ``make demo``: the demo's material, the virtual environment, and all up."""
    folder = make_home("readme")
    (folder / "demo").symlink_to(ROOT / "demo")
    (folder / ".venv").symlink_to(sys.prefix)
    try:
        done = _shell(folder, f"{_ACTIVATE} && segwatch demo", seconds=1200)
        assert done.returncode == 0, done.stdout + done.stderr
        (folder / "demo.txt").write_text(done.stdout + done.stderr)
        yield folder
    finally:
        Stack(folder / ".segwatch", say=lambda _: None).remove()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def ran(checkout: Path) -> list[Ran]:
    """Every command of the runnable blocks, page by page, each page in one fresh shell."""
    return [one for number, page in enumerate(_pages()) for one in _run_page(checkout, page, number)]


def _run_page(folder: Path, page: Page, number: int) -> Iterator[Ran]:
    """Save the page's files, then run its commands; guides suppose that the environment is active."""
    documents.save_files(page, folder)
    commands = [one for one in _runnable(page) if one not in NOT_RUN]
    results = folder / "results" / str(number)
    results.mkdir(parents=True)
    script = "\n".join(
        f"{{ {command}\n}} >{results}/{place}.out 2>{results}/{place}.err; echo $? >{results}/{place}.status"
        for place, command in enumerate(commands)
    )
    guide = page.name.startswith("docs/how-to/")
    _shell(folder, f"{_ACTIVATE}\n{script}" if guide else script, seconds=1200)
    for place, command in enumerate(commands):
        yield Ran(page.name, command, *_result(results / str(place)))


def _result(stem: Path) -> tuple[int, str, str]:
    status, stdout, stderr = (stem.with_suffix(end) for end in (".status", ".out", ".err"))
    return int(status.read_text()), stdout.read_text(), stderr.read_text()


def _shell(folder: Path, script: str, *, seconds: float) -> subprocess.CompletedProcess[str]:
    """Bash as a new terminal has it: nothing of segwatch or Prefect in its environment."""
    names = ("PATH", "LANG", "SEGWATCH_PG_BINDIR", "OMP_NUM_THREADS", "SSL_CERT_FILE")
    kept = {name: os.environ[name] for name in names if name in os.environ}
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


def test_every_command_does_what_it_says(ran: list[Ran]) -> None:
    failed = [one for one in ran if one.status != 0 or "Traceback" in one.stdout + one.stderr]
    assert not failed, "\n\n".join(f"{one.page}: $ {one.command}\n{one.stdout}{one.stderr}" for one in failed)
    assert len(ran) > 40


def test_results_can_be_read_and_copied(ran: list[Ran]) -> None:
    shown = {one.command: one.stdout for one in ran}
    objects = next(
        text for command, text in shown.items() if "item_hrefs, model FROM watch.objects_now" in command
    )
    assert "cottonwood-water" in objects
    alerts = next(text for command, text in shown.items() if command.startswith("segwatch alert list"))
    assert "…" not in alerts, "an id that is cut cannot be given to the next command"
    assert re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", alerts)


def test_the_demo_shows_its_progress_and_what_to_do_next(checkout: Path) -> None:
    told = (checkout / "demo.txt").read_text()
    assert re.search(r"cottonwood-water: \d+ of \d+ scenes done", told)
    for part in ("Map:", "Prefect's UI:", "segwatch db psql", "make stop", "make clean"):
        assert part in told
    assert "whsec_" not in told
    assert (checkout / ".segwatch" / "prefect.secret").stat().st_mode & 0o077 == 0


def test_the_environment_is_printed_without_secrets(checkout: Path) -> None:
    printed = _shell(checkout, f"{_ACTIVATE} && segwatch env", seconds=60).stdout
    assert "whsec_" not in printed
    assert "prefect.secret" in printed


def test_exceptions_are_commands_of_the_pages() -> None:
    assert set(NOT_RUN) <= {command for page in _pages() for command in _runnable(page)}
