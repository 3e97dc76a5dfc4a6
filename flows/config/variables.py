"""Warn of environment variables that look like settings and are not read.

A typo is worse than a missing variable: with SEGWATCH_DATABSE_URL set, segwatch works on another ledger.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from segwatch.flows.config.settings import FlowSettings
from segwatch.geo.text.spelling import find_nearest

PREFIX = "SEGWATCH_"
#: Variables that are read without being settings, exactly as written here.
_OTHERS = frozenset(
    {
        "SEGWATCH_DEBUG",
        "SEGWATCH_ENV_FILE",  # read by the entry point of the images
        "SEGWATCH_PG_BINDIR",
        # set by the local stack for its services and the watch files of the demo
        "SEGWATCH_RECEIVER_URL",
        "SEGWATCH_STAC_DATABASE_URL",
        "SEGWATCH_STAC_URL",
    }
)
_SETTINGS = frozenset(f"{PREFIX}{name.upper()}" for name in FlowSettings.model_fields)
KNOWN = _SETTINGS | _OTHERS
#: Similarity at which a variable with another prefix is taken for a typo.
_CUTOFF = 0.9

_reported: set[str] = set()


@dataclass(frozen=True, slots=True)
class UnreadVariable:
    """A variable that is set and not read."""

    name: str
    meant: str | None
    """The most similar known name."""

    def __str__(self) -> str:
        if self.meant is not None:
            return f"{self.name} is set but not read: no such setting; did you mean {self.meant}?"
        return (
            f"{self.name} is set but not read: no such setting; unset it (a variable for ${{...}} in watch "
            f"files should not begin with {PREFIX})"
        )


def find_unread(names: Iterable[str]) -> list[UnreadVariable]:
    """List the names, sorted, that have the prefix or nearly so and are not read."""
    found = []
    for name in sorted(set(names)):
        upper = name.upper()
        if name in KNOWN or upper in _SETTINGS:  # settings ignore case
            continue
        if upper.startswith(PREFIX):
            known = {one.removeprefix(PREFIX): one for one in KNOWN}
            meant = find_nearest(upper.removeprefix(PREFIX), known)
            found.append(UnreadVariable(name, known[meant] if meant is not None else None))
        elif near := _beside_prefix(upper):
            found.append(UnreadVariable(name, near))
    return found


def warn_once(say: Callable[[str], None]) -> None:
    """Report each unread variable of the environment, once per process."""
    for one in find_unread(os.environ):
        if one.name not in _reported:
            _reported.add(one.name)
            say(str(one))


def _beside_prefix(upper: str) -> str | None:
    """Return the known name that a variable with a misspelt prefix stands for, if any."""
    if not upper.startswith("S") or "W" not in upper:
        return None
    plain = {one.replace("_", ""): one for one in sorted(KNOWN)}
    near = difflib.get_close_matches(upper.replace("_", ""), plain, n=1, cutoff=_CUTOFF)
    return plain[near[0]] if near else None
