"""Result of one check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """Severity of a finding."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing; may be intended."""
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check."""

    about: str
    """The part of the system that was checked, such as ``workers``."""
    level: Level
    says: str
    fix: str = ""
    """What to do; empty if there is nothing to do."""
