"""No message, help text or document advises anybody to lose data."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.paths import ROOT

FOLDERS = ("benchmarks", "db", "deployments", "flows", "geo", "model", "demo", "docs", ".github")
_VERB = r"(?:remov|delet|eras|wip|reset|destroy|drop|purg|discard|truncat)(?:e|es|ing|t?ing)?"
ADVICE = re.compile(
    r"\b(?:make clean|segwatch clean|db destroy|rm -\w*[rf]|git clean|database reset"
    r"|(?:drop|truncate) (?:database|schema|table|owned)"
    r"|clean (?:up|it|them|first)|start (?:over|afresh|from scratch)"
    rf"|{_VERB} (?:it|them|this|these|that|the|its|your|a|an|all|everything|[/\w.]*\.segwatch)\b)",
    re.IGNORECASE,
)
_ENDS = ("*.py", "*.md", "*.sh", "*.yml", "*.yaml", "*.html", "*.js", "*.ts", "*.tsx")
#: Not ours, written by tools from what is checked, or frozen.
_SKIPPED = ("/node_modules/", "flows/web/static/page/", "db/migrations/")
#: What is said of a command that exists, in the place that explains it; and what is no data of anybody.
ALLOWED = {
    ("flows/web/page/src/map/drawing.ts", "Remove the"): "the outline that is being drawn",
    ("flows/web/page/src/panels/AlertInbox.tsx", "remove an"): "one of the chosen states",
    ("flows/web/page/vite.config.ts", "Delete the"): "the files that the build made before",
    ("README.md", "make clean"): "says what the command does, beside the one that keeps the data",
    ("README.md", "removes the"): "the same",
    ("deployments/with_progress.sh", "rm -f"): "the script removes its own temporary log",
    ("deployments/check_page.sh", "rm -rf"): "the script removes its own temporary folder",
    ("docs/how-to/backup.md", "deletes its"): "says what Prefect's server does by itself, and when",
    (
        "docs/how-to/install.md",
        "deletes it",
    ): "says what the command does, beside the one that keeps the data",
    (
        "flows/services/demonstration.py",
        "removes it",
    ): "says what the command does, after the one that keeps the data",
    (
        "flows/services/demonstration.py",
        "make clean",
    ): "says what the command does, after the one that keeps the data",
    ("flows/cli/local.py", "delete the"): "help of the command itself, which asks before",
    ("flows/cli/tree.py", "delete the"): "the first line of that help",
    ("flows/cli/local.py", "Remove it"): "the question itself",
    (
        "flows/cli/database_users.py",
        "Remove a",
    ): "help of the command itself: a login, and a list of districts that has a file",
    (
        "flows/cli/sources.py",
        "Remove the",
    ): "help of the command itself, which asks before and keeps the files",
    ("docs/how-to/take-data-out.md", "delete the"): "rows of the reader's own copy",
    ("flows/cli/database.py", "delete its"): "help of the command itself, which asks before",
    ("flows/cli/database.py", "delete everything"): "help of the option that says so",
}


def advice(name: str, text: str) -> Iterator[tuple[str, str]]:
    """Every piece of it, with its file."""
    for found in ADVICE.finditer(text):
        yield name, " ".join(found[0].split())


def _spoken(source: str) -> Iterator[str]:
    """Texts of a Python file that somebody may read: constants, and the help of commands."""
    tree = ast.parse(source)
    silent = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                silent.add(first.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in silent:
            yield node.value
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)


def _help(source: str) -> Iterator[str]:
    functions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef))
    return (ast.get_docstring(one) or "" for one in functions if not one.name.startswith("_"))


def found() -> Iterator[tuple[str, str]]:
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
    for folder in FOLDERS:
        files += [one for end in _ENDS for one in (ROOT / folder).rglob(end)]
    for file in sorted(files):
        name = file.relative_to(ROOT).as_posix()
        if any(one in name for one in _SKIPPED):
            continue
        if (
            name == "docs/reference/command-line.md"
        ):  # a copy of the commands' help, which is checked in the code
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        if file.suffix != ".py":
            yield from advice(name, text)
            continue
        for one in _spoken(text):
            if not re.match(r"\s*(?:--|SELECT|WITH|INSERT|DELETE|DROP|TRUNCATE|CREATE|ALTER|UPDATE)\b", one):
                yield from advice(name, one)
        if name.startswith("flows/cli/"):
            for one in _help(text):
                yield from advice(name, one)


def test_nobody_is_advised_to_lose_data() -> None:
    assert sorted({one for one in found() if one not in ALLOWED}) == []


@pytest.mark.parametrize(
    "text",
    [
        "port 5432 is taken: run `make clean`",
        "it cannot be read; remove this file and try again",
        "delete .segwatch and start again",
        "drop the database first",
        "prefect server database reset",
        "wipe everything and start over",
    ],
)
def test_such_advice_is_found(text: str) -> None:
    assert list(advice("x", text))
