"""Who is to blame for a failure, decided by its type: the one place where that is decided.

| blame | examples | what it costs |
| --- | --- | --- |
| scene | 404 of its file, a corrupt TIFF, a wrong georeference, an unsafe href | an attempt; the last one fails it |
| source | refused connections, DNS, TLS, timeouts, 429, 5xx, credentials, expired links | none; opens a circuit |
| machine | a full disk, no file descriptors, device memory that others hold | none |
| database | it is away, full, read-only, or others held the rows | none; the work is repeated, or the drain ends |
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum

from segwatch.db.errors import connection_lost
from segwatch.geo.errors import (
    AccessDenied,
    AddressRefused,
    ReadFailed,
    SourceFailed,
    UnfitPixels,
    is_of_machine,
)
from segwatch.geo.sources.http import circuits


class Blame(StrEnum):
    """Who is to blame."""

    SCENE = "scene"
    SOURCE = "source"
    MACHINE = "machine"
    DATABASE = "database"


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something failed, as far as that decides what follows."""

    blame: Blame
    circuit: str = ""
    """That opens; empty = the failure says nothing about others."""
    asked_seconds: float = 0.0
    """How long the source asks to be left alone."""
    permanent: bool = False
    """Trying again changes nothing."""
    answered: bool = False
    """The source works: it answered, and what it answered is of no use."""


def cause_of(error: BaseException) -> Cause:
    """The cause of a failure while a scene was read, answered or stored."""
    if connection_lost(error):
        return Cause(Blame.DATABASE)
    if isinstance(error, SourceFailed):
        return Cause(Blame.SOURCE, error.circuit, error.wait_seconds)
    if isinstance(error, AccessDenied):
        return Cause(Blame.SOURCE, circuits.of_credentials(error.source))
    if isinstance(error, AddressRefused):
        return Cause(Blame.SOURCE, circuits.of_host(f"//{error.href}"))
    if is_of_machine(error) or out_of_device_memory(error):
        return Cause(Blame.MACHINE)
    return Cause(
        Blame.SCENE, permanent=isinstance(error, UnfitPixels), answered=isinstance(error, ReadFailed)
    )


def out_of_device_memory(error: BaseException) -> bool:
    """Whether a device had no memory left for what fits it otherwise; torch is not loaded for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)
