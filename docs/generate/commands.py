"""Page of the command line, from the typer application."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from docs.generate.markdown import NOTICE, code, file_of, table
from segwatch.flows.cli import tree

_INTRODUCTION = """# Command line

`segwatch COMMAND --help` shows the same text. `segwatch` finds the services of a demo in the folder `.segwatch` (or
`SEGWATCH_HOME`) by itself. [Use segwatch in scripts](../how-to/scripts.md) has examples that a test runs.

## Output

| where | what |
| --- | --- |
| terminal | tables and sentences for people; ids are shown by their first digits |
| pipe or file | tab-separated values with a header (one thing: name, value); times in ISO 8601, whole ids, no colours |
| `--json` | one JSON document: an array for a list, an object for one thing; what is unknown is `null` |
| standard error | progress, notes, warnings and errors; `NO_COLOR` turns its colours off |

In tab-separated values, a tab, line break or backslash inside a value is written `\\t`, `\\n`, `\\r` or `\\\\`, and a
further table of the same command follows after an empty line.

## Exit status

| status | meaning |
| --- | --- |
| 0 | done |
| 1 | failed, or something is wrong (`doctor`, `status`, `source check`); the message on standard error explains it |
| 2 | wrong usage, or a question that nobody could be asked |
| 3 | the database does not run (`db status`) |
| 130, 143 | ended by Ctrl-C or SIGTERM |

## What is written the same everywhere

| value | form |
| --- | --- |
| times | `2026-03-01` or `2026-03-01T12:00Z`; UTC unless an offset such as `+02:00` is given |
| ids | whole, or the first digits: at least four, and only one id may begin so |
| bounding boxes | `--bbox -70.1,-33.5,-70.0,-33.4` or four words: west, south, east, north in degrees |
| points | longitude, then latitude, in degrees |
| to wait for a database | `segwatch --wait SECONDS COMMAND`; `run`, `respond` and `event` wait by themselves |

"""


def page() -> str:
    """Return the page: a section for every command, groups in the order of the help."""
    every = (_sections(tree.load(name), f"segwatch {name}") for name in tree.TREE)
    return NOTICE + _INTRODUCTION + "\n".join(part for sections in every for part in sections)


def _sections(command: Any, path: str) -> Iterator[str]:
    if below := getattr(command, "commands", {}):
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
