"""Environment variables written as commands of a shell, for ``eval``."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path


class Shell(StrEnum):
    """Shells that are known by name; bash, zsh and sh read the same commands."""

    BASH = "bash"
    ZSH = "zsh"
    SH = "sh"
    FISH = "fish"


def write_variable(name: str, value: str, shell: Shell) -> str:
    """Write the command that sets a variable."""
    if shell is Shell.FISH:
        return f"set -gx {name} {_quote_for_fish(value)}"
    return f"export {name}={shlex.quote(value)}"


def write_secret(name: str, file: Path, shell: Shell) -> str:
    """Write the command that reads a variable from a file, so that its value is not printed."""
    if shell is Shell.FISH:
        return f"set -gx {name} (cat {_quote_for_fish(str(file))})"
    return f'export {name}="$(cat {shlex.quote(str(file))})"'


def _quote_for_fish(value: str) -> str:
    """Quote for fish, where a backslash also escapes within single quotes."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
