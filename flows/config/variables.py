"""Environment variables named SEGWATCH_...: which are read, and which only look as if they were.

A name that is nearly right is worse than one that is missing: who sets SEGWATCH_DATABSE_URL works on another ledger.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from segwatch.flows.config.settings import FlowSettings
from segwatch.geo.text.spelling import nearest

PREFIX = "SEGWATCH_"
#: Read beside the settings, as they are written here.
_OTHERS = frozenset(
    {
        "SEGWATCH_DEBUG",
        "SEGWATCH_PG_BINDIR",
        # of the local stack, for its services and for the demonstration's watch files
        "SEGWATCH_RECEIVER_URL",
        "SEGWATCH_STAC_DATABASE_URL",
        "SEGWATCH_STAC_URL",
    }
)
_SETTINGS = frozenset(f"{PREFIX}{name.upper()}" for name in FlowSettings.model_fields)
KNOWN = _SETTINGS | _OTHERS
#: How like a known name one must be to be taken for it where it does not even begin with the prefix.
_CUTOFF = 0.9

_told: set[str] = set()


@dataclass(frozen=True, slots=True)
class Unread:
    """A variable that nothing reads."""

    name: str
    meant: str | None
    """The known name that it is most like."""

    def __str__(self) -> str:
        if self.meant is not None:
            return f"{self.name} is set but not read: there is no such setting; did you mean {self.meant}?"
        return (
            f"{self.name} is set but not read: there is no such setting; unset it (a variable for ${{...}} in watch "
            f"files should not begin with {PREFIX})"
        )


def unread(names: Iterable[str]) -> list[Unread]:
    """Those of the names that begin with the prefix, or nearly so, and that nothing reads; sorted."""
    found = []
    for name in sorted(set(names)):
        upper = name.upper()
        if name in KNOWN or upper in _SETTINGS:  # settings are read whatever their case
            continue
        if upper.startswith(PREFIX):
            known = {one.removeprefix(PREFIX): one for one in KNOWN}
            meant = nearest(upper.removeprefix(PREFIX), known)
            found.append(Unread(name, known[meant] if meant is not None else None))
        elif near := _beside_prefix(upper):
            found.append(Unread(name, near))
    return found


def warn_once(say: Callable[[str], None]) -> None:
    """Say of each variable of this process's environment that nothing reads it; once in the life of the process."""
    for one in unread(os.environ):
        if one.name not in _told:
            _told.add(one.name)
            say(str(one))


def _beside_prefix(upper: str) -> str | None:
    """The known name that was meant by one whose prefix is wrong; others' variables are none of our business."""
    if not upper.startswith("S") or "W" not in upper:
        return None
    plain = {one.replace("_", ""): one for one in sorted(KNOWN)}
    near = difflib.get_close_matches(upper.replace("_", ""), plain, n=1, cutoff=_CUTOFF)
    return plain[near[0]] if near else None
