"""The pages of the documentation, taken apart: blocks, links, commands and names of files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from segwatch.flows.cli import app, tree
from tests.support.paths import ROOT

_FENCE = re.compile(r"^( *)```([\w-]*)(?: title=\"([^\"]+)\")?\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"(^|\s+)#(?=\s).*$")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_INLINE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    language: str
    title: str
    """Name of the file that a reader saves it in; empty where it is no file."""
    text: str

    @property
    def commands(self) -> list[str]:
        """Commands of a shell block, one a line, without comments."""
        lines = self.text.replace("\\\n", " ").split("\n")
        return [bare for line in lines if (bare := _COMMENT.sub("", line).strip())]


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    name: str
    """Path from the repository's root."""
    text: str

    @property
    def blocks(self) -> list[Block]:
        """Its fenced blocks."""
        return [
            Block(self.name, language, title, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE))
            for indent, language, title, text in _FENCE.findall(self.text)
        ]

    @property
    def prose(self) -> str:
        """Its text without the blocks."""
        return _FENCE.sub("", self.text)

    @property
    def links(self) -> list[str]:
        """Targets of its links and pictures."""
        return _LINK.findall(_INLINE.sub("", self.prose))

    @property
    def inline(self) -> list[str]:
        """Its inline code."""
        return [code.replace("\\|", "|") for code in _INLINE.findall(self.prose)]

    @property
    def anchors(self) -> set[str]:
        """What a link to a part of it may name."""
        return {_slug(heading) for heading in _HEADING.findall(self.prose)}


def _slug(heading: str) -> str:
    text = re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower()
    return re.sub(r"[\s-]+", "-", text)


def read_page(name: str) -> Page:
    """Read one page by its path from the root."""
    return Page(name, (ROOT / name).read_text(encoding="utf-8"))


def list_pages() -> list[Page]:
    """Every page: those of the site, and the files that people open first."""
    files = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md")]
    files += sorted((ROOT / "docs").rglob("*.md"))
    return [read_page(file.relative_to(ROOT).as_posix()) for file in files]


def list_commands() -> Iterator[tuple[str, str]]:
    """Page and text of every command in shell blocks and in inline code."""
    for page in list_pages():
        for block in page.blocks:
            if block.language in {"sh", "console"}:
                yield from ((page.name, command) for command in block.commands)
        for code in page.inline:
            if re.match(r"(segwatch|make) \S", code):
                yield page.name, code


def check_command(command: str) -> None:
    """Fail where a ``segwatch`` or ``make`` command, or one of its options, does not exist.

    Raises
    ------
    AssertionError
        Naming what does not exist.
    """
    for words in _invocations(command):
        if words[0] == "make":
            _check_target(words[1])
        elif words[0] == "segwatch":
            _check_options(words[1:])


def _invocations(command: str) -> Iterator[list[str]]:
    """Words of each call in a line: alone, after an assignment, or inside ``$(...)`` and ``eval``."""
    for one in _alternatives(command):
        inner = re.findall(r"\$\((segwatch [^()]*(?:\([^()]*\)[^()]*)*)\)", one)
        outer = re.sub(r"^(?:export )?\w+=\S*\s+", "", one)
        for call in (*inner, outer):
            if re.match(r"(segwatch|make) ", call):
                yield shlex.split(call, comments=True)


def _alternatives(command: str) -> list[str]:
    """``review confirm|reject TRACK`` is two commands."""
    found = re.search(r"\b[\w-]+(?:\|[\w-]+)+", command)
    if found is None:
        return [command]
    return [command.replace(found[0], one) for one in found[0].split("|")]


def _check_target(target: str) -> None:
    rules = re.findall(r"^([\w%-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert any(re.fullmatch(rule.replace("%", ".+"), target) for rule in rules), f"make has no {target}"


def _check_options(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while (below := getattr(command, "commands", {})) and rest and not rest[0].startswith("-"):
        if rest[0].isupper():  # any of them
            return
        assert rest[0] in below, f"segwatch has no {' '.join(words)}"
        name = rest.pop(0)
        command = tree.load(name) if isinstance(below[name], tree.Stub) else below[name]
    known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}
    before_dashes = rest[: rest.index("--")] if "--" in rest else rest
    given = {one.partition("=")[0] for one in before_dashes if one.startswith("--")}
    assert given <= known, f"segwatch {' '.join(words)}: no {given - known}"


def save_files(page: Page, folder: Path) -> None:
    """Save the blocks of a page that have a file name, as its reader does."""
    for block in page.blocks:
        if block.title:
            (folder / block.title).write_text(block.text, encoding="utf-8")
