"""The tree of commands is light, and says of every command what the command says of itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from segwatch.flows.cli import tree

_HEAVY = ("sqlalchemy", "psycopg", "pydantic_settings", "shapely", "prefect", "torch", "numpy")


@pytest.mark.parametrize("name", tree.TREE)
def test_the_tree_says_what_the_command_says(name: str) -> None:
    command = tree.load(name)
    assert command.name == name
    first = " ".join((command.help or "").partition("\n\n")[0].split())
    assert tree.TREE[name].help == first


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["apply", "--help"], ["watch", "pause", "--help"]]
)
def test_help_and_version_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom segwatch.flows.cli import app\n"
        f"done = CliRunner().invoke(app, {arguments!r})\nassert done.exit_code == 0, done.output\n"
        f"print(*({_HEAVY!r} & sys.modules.keys()))"
    ).replace(f"{_HEAVY!r} &", f"{set(_HEAVY)!r} &")
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [], "what is heavy is imported by the command that needs it, when it runs"


#: Commands that start, stop or open something, and print no data.
_NO_DATA = {
    "clean", "db destroy", "db down", "db psql", "db revoke-user", "db up", "demo", "deploy", "env", "model train",
    "serve", "source remove", "stop",
}  # fmt: skip


def _leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    below = getattr(command, "commands", {})
    if not below:
        yield path, command
    for name, one in below.items():
        yield from _leaves(one, f"{path} {name}")


def test_every_command_that_prints_data_has_json() -> None:
    leaves = {path: one for name in tree.TREE for path, one in _leaves(tree.load(name), name)}
    without = {
        path for path, one in leaves.items() if not any("--json" in param.opts for param in one.params)
    }
    assert without == _NO_DATA
