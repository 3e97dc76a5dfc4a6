"""Errors of geo.

GeoError
├── AreaError            an area of interest that cannot be watched as it is
├── TooComplex           a geometry or document costs more memory or time than it may
├── ProfileError         a source profile is unknown or invalid
├── BadItem              a STAC item that cannot be used; carries ``item_id`` and ``reason``
├── EventRefused         a feed, or one entry of it, tells no event; the message says why
├── CatalogUnreachable   a catalog did not answer; carries ``url`` and ``reason``
│   ├── SearchIncomplete     it answered, but may hold more than it gave
│   └── NoSuchCollection     it answered, and does not have the collection
├── ReadFailed           pixels could not be read; carries ``asset``, ``href`` and ``reason``
│   ├── UnfitPixels      a file is not what its profile says; trying again changes nothing
│   └── SourceFailed     the source did not serve a file; nothing is known against the file itself
├── AccessDenied         a source wants credentials; carries ``source`` and ``reason``
└── UnsafeHref           an href that must not be opened; carries ``href`` and ``reason``
    └── AddressRefused       its host was resolved as an address that must not be connected to
"""

from __future__ import annotations

import errno

from segwatch.geo.text.redaction import public, redacted

#: What the operating system says when this machine lacks something, whatever was asked of it.
_OF_MACHINE = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN,
        errno.ENODEV,
    }
)  # fmt: skip


def is_of_machine(error: BaseException) -> bool:
    """Whether this machine failed: a full disk, no file descriptors, no memory for the system."""
    return isinstance(error, OSError) and error.errno in _OF_MACHINE


class GeoError(Exception):
    """Base of everything geo raises on purpose.

    Its words end in the ledger, in logs and in Prefect's database, and quote addresses: secrets are taken out of them.
    """

    def __str__(self) -> str:
        return redacted(super().__str__())


class AreaError(GeoError):
    """An area of interest that cannot be watched as it is."""


class TooComplex(GeoError):
    """A geometry or document from outside costs more memory or time than it may; the message says why."""


class ProfileError(GeoError):
    """A source profile is unknown or invalid."""


class BadItem(GeoError):
    """A STAC item that cannot be used."""

    def __init__(self, item_id: str, reason: str) -> None:
        super().__init__(f"item {item_id}: {reason}")
        self.item_id = item_id
        self.reason = redacted(reason)


class EventRefused(GeoError):
    """A feed, or one entry of it, tells no event that can be watched."""


class CatalogUnreachable(GeoError):
    """A catalog did not answer."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(self._message(url, reason))
        self.url = public(url)
        self.reason = redacted(reason)

    def _message(self, url: str, reason: str) -> str:
        return (
            f"catalog {url} did not answer: {reason}. Check the URL (open it in a browser: it must show a STAC "
            "landing page), the network and any credentials, then run again; nothing was written"
        )


class SearchIncomplete(CatalogUnreachable):
    """A catalog answered a search, and it cannot be shown that it gave everything."""

    def _message(self, url: str, reason: str) -> str:
        return (
            f"catalog {url} gave an incomplete answer: {reason}. What it gave can be used; the search is not taken "
            "as done and is repeated by the next run. Tell the catalog's operators, or watch a smaller area"
        )


class NoSuchCollection(CatalogUnreachable):
    """A catalog does not have the collection that a source names."""

    def _message(self, url: str, reason: str) -> str:
        return (
            f"catalog {url} {reason}. Correct the collection of the profile, or source.catalog of the watch"
        )


class ReadFailed(GeoError):
    """Pixels of an asset could not be read."""

    def __init__(self, asset: str, href: str, reason: str) -> None:
        super().__init__(f"asset {asset} ({href}): {reason}")
        self.asset = asset
        self.href = public(href)
        self.reason = redacted(reason)


class UnfitPixels(ReadFailed):
    """Pixels that the profile cannot render: the file and the profile disagree, and will do so next time."""


class SourceFailed(ReadFailed):
    """The source did not serve a file: an outage, a refused credential or an expired link, not a fault of the file.

    Parameters
    ----------
    circuit
        Name of the circuit that it opens, see :mod:`segwatch.geo.sources.http.circuits`; empty where it says nothing
        about other files, as an expired link does. wait_seconds How long the server asks to be left alone.
    """

    def __init__(
        self, asset: str, href: str, reason: str, *, circuit: str = "", wait_seconds: float = 0.0
    ) -> None:
        super().__init__(asset, href, reason)
        self.circuit = circuit
        self.wait_seconds = wait_seconds


class UnsafeHref(GeoError):
    """An href that must not be opened."""

    def __init__(self, href: str, reason: str) -> None:
        super().__init__(f"refused to open {href!r}: {reason}")
        self.href = public(href)
        self.reason = redacted(reason)


class AddressRefused(UnsafeHref):
    """A host was resolved as an address that must not be connected to: now, it may be another one later."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(f"{host}:{port}", reason)
        self.host = host
        self.port = port


class AccessDenied(GeoError):
    """A source wants credentials that it was not given, or does not take them."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"source {source}: {reason}")
        self.source = source
        self.reason = redacted(reason)
