"""Errors of the Python client; every message says what to do.

SegwatchError
├── ConnectFailed   the target is invalid, nothing answers there, or it is no ledger of this version
├── AccessRefused   a token or password is missing, or does not give access
├── UnknownWatch    no watch has this name; names the nearest one
├── UnknownObject   no object has this id
├── NotReadable     imagery of a scene cannot be read
├── ExtraMissing    a package of the extra `analysis` is not installed
└── BadRequest      an argument is invalid
"""

from __future__ import annotations

from segwatch.geo.text.redaction import redact


class SegwatchError(Exception):
    """Base of everything the client raises on purpose; its words quote addresses, without their secrets."""

    def __str__(self) -> str:
        return redact(super().__str__())


class ConnectFailed(SegwatchError):
    """The target is invalid, nothing answers there, or it is no ledger of this version."""


class AccessRefused(SegwatchError):
    """A token or password is missing, or does not give access."""


class UnknownWatch(SegwatchError):
    """No watch has this name; the message names the nearest one."""


class UnknownObject(SegwatchError):
    """No object has this id."""


class NotReadable(SegwatchError):
    """Imagery of a scene cannot be read."""


class ExtraMissing(SegwatchError, ImportError):
    """A package of the extra ``analysis`` is not installed."""


class BadRequest(SegwatchError, ValueError):
    """An argument is invalid."""
