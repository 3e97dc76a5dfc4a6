"""Decide by the type of an error what failed: the scene, its source, this machine or the database.

| blame | examples | consequence |
| --- | --- | --- |
| scene | 404 of its file, a corrupt TIFF, a wrong georeference, an unsafe href | an attempt; the last one fails it |
| source | refused connections, DNS, TLS, timeouts, 429, 5xx, credentials, expired links | no attempt; opens a circuit |
| machine | a full disk, no file descriptors, device memory used by others | no attempt |
| database | unreachable, full, read-only, or rows locked by others | no attempt; retried, or the drain ends |
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum

from segwatch.db.errors import is_connection_lost
from segwatch.geo.errors import (
    AccessDenied,
    AddressRefused,
    ReadFailed,
    SourceFailed,
    UnfitPixels,
    is_machine_failure,
)
from segwatch.geo.sources.http import circuits


class Blame(StrEnum):
    """What failed."""

    SCENE = "scene"
    SOURCE = "source"
    MACHINE = "machine"
    DATABASE = "database"


@dataclass(frozen=True, slots=True)
class Cause:
    """The cause of a failure, as far as it decides what happens next."""

    blame: Blame
    circuit: str = ""
    """Name of the circuit to open; empty when the failure concerns no other scene."""
    retry_after_seconds: float = 0.0
    """Delay that the source asked for (Retry-After)."""
    permanent: bool = False
    """A retry would fail in the same way."""
    source_works: bool = False
    """The source responded, with unusable content."""


def find_cause(error: BaseException) -> Cause:
    """Find the cause of an error raised while a scene was read, predicted or stored."""
    if is_connection_lost(error):
        return Cause(Blame.DATABASE)
    if isinstance(error, SourceFailed):
        return Cause(Blame.SOURCE, error.circuit, error.wait_seconds)
    if isinstance(error, AccessDenied):
        return Cause(Blame.SOURCE, circuits.name_credentials_circuit(error.source))
    if isinstance(error, AddressRefused):
        return Cause(Blame.SOURCE, circuits.name_host_circuit(f"//{error.href}"))
    if is_machine_failure(error) or is_out_of_device_memory(error):
        return Cause(Blame.MACHINE)
    return Cause(
        Blame.SCENE, permanent=isinstance(error, UnfitPixels), source_works=isinstance(error, ReadFailed)
    )


def is_out_of_device_memory(error: BaseException) -> bool:
    """Whether the error is torch's out-of-memory error; does not import torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)
