"""Page of the command line, from the typer application."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer

from docs.generate.markdown import NOTICE, code, file_of, table
from segwatch.flows.cli import app

_INTRODUCTION = """# Command line

`segwatch COMMAND --help` shows the same text. `segwatch` finds the services of a demo in the folder `.segwatch` (or
`SEGWATCH_HOME`) by itself. Where a command has `--json`, standard output holds one JSON document and messages go to
standard error.

Exit status: 0 = done, 1 = an error that the message explains, 2 = wrong arguments; a command says where it
uses others.

"""


def page() -> str:
    """Return the page: a section for every command, groups in the order of the help."""
    return NOTICE + _INTRODUCTION + "\n".join(_sections(typer.main.get_command(app), "segwatch"))


def _sections(command: Any, path: str) -> Iterator[str]:
    if below := getattr(command, "commands", {}):
        if path != "segwatch":
            yield f"## {path}\n\n{_help(command)}\n"
        for name, one in below.items():
            yield from _sections(one, f"{path} {name}")
        return
    level = "##" if path.count(" ") == 1 else "###"
    parts = [f"{level} {path}\n", _help(command) + "\n", f"Defined in `{file_of(_callback(command))}`.\n"]
    if rows := [_row(one) for one in command.params if one.name != "help"]:
        parts.append(table(("argument or option", "default", "meaning"), rows))
    yield "\n".join(parts)


def _callback(command: Any) -> Any:
    return inspect.unwrap(command.callback)


def _help(command: Any) -> str:
    return inspect.cleandoc(command.help or "").replace("``", "`")


def _row(param: Any) -> tuple[str, str, str]:
    shown = param.name.upper() if param.param_type_name == "argument" else ""
    names = code(shown) if shown else ", ".join(code(one) for one in param.opts)
    default = "" if param.default in (None, False, ()) or callable(param.default) else code(param.default)
    text = getattr(param, "help", None) or ""
    return names, "required" if param.required else default, text
