"""Page of every module, from the first lines of their docstrings."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from docs.generate.markdown import NOTICE, ROOT, code, plain, table

_PACKAGES = ("client", "flows", "geo", "db", "model", "benchmarks")
_INTRODUCTION = """# Every module

One line for each file, from its docstring. What belongs where, and where to change what, is in
[where things are](../where-things-are.md). The import name of `geo/area.py` is `segwatch.geo.area`.

"""


def page() -> str:
    """Return the page: a table for each folder that holds modules."""
    folders = [folder for package in _PACKAGES for folder in _folders(ROOT / package)]
    return NOTICE + _INTRODUCTION + "\n".join(filter(None, map(_section, folders)))


def _folders(top: Path) -> Iterator[Path]:
    yield top
    for one in sorted(top.iterdir()):
        if one.is_dir() and one.name not in {"__pycache__", "versions"} and any(one.rglob("*.py")):
            yield from _folders(one)


def _section(folder: Path) -> str:
    name = folder.relative_to(ROOT).as_posix()
    rows = [
        (code(file.name), words)
        for file in sorted(folder.glob("*.py"))
        if file.name != "__init__.py" and (words := _summary(file))
    ]
    if not rows:
        return ""
    init = folder / "__init__.py"
    return f"## {name}\n\n{_summary(init) if init.is_file() else ''}\n\n" + table(("file", "what"), rows)


def _summary(file: Path) -> str:
    return plain(ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))))
