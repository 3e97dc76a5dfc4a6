"""Errors of geo.

GeoError
├── AreaError            an area of interest is invalid or too large
├── TooComplex           a geometry or document exceeds the limits of memory or time
├── ProfileError         a source profile is unknown or invalid
├── BadItem              a STAC item cannot be used; carries ``item_id`` and ``reason``
├── InvalidEvent         a feed or one of its entries is not a valid event
├── CatalogUnreachable   a catalog did not respond; carries ``url`` and ``reason``
│   ├── SearchIncomplete     it responded, but may have more items than it returned
│   ├── NoSuchCollection     it responded, but does not have the collection
│   └── UnknownSource        a source of local files is not registered on this machine
├── SourceInUse          another process changes a source of local files
├── UnusableFile         a file cannot become part of a source of local files
├── BadDatePattern       a date of local files cannot be read
├── BadBands             the bands of local files cannot be read
├── ReadFailed           pixels could not be read; carries ``asset``, ``href`` and ``reason``
│   ├── UnfitPixels      a file does not match its profile; retrying does not help
│   └── SourceFailed     the source did not serve a file; the file itself may be fine
├── AccessDenied         credentials are missing or rejected; carries ``source`` and ``reason``
└── UnsafeHref           an href must not be opened; carries ``href`` and ``reason``
    └── AddressRefused       its host resolved to an IP address that must not be connected to
"""

from __future__ import annotations

import errno

from segwatch.geo.text.redaction import redact, to_public_url

#: Operating system errors that mean this machine is short of a resource, whatever was requested.
_MACHINE_ERRNOS = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN,
        errno.ENODEV,
    }
)  # fmt: skip


def is_machine_failure(error: BaseException) -> bool:
    """Whether this machine is the cause: full disk, too many open files, out of memory."""
    return isinstance(error, OSError) and error.errno in _MACHINE_ERRNOS


class GeoError(Exception):
    """Base class of geo's errors.

    Messages end up in the ledger, in logs and in Prefect's database, so secrets in quoted URLs are redacted.
    """

    def __str__(self) -> str:
        return redact(super().__str__())


class AreaError(GeoError):
    """An area of interest is invalid or too large; the message tells what to change."""


class TooComplex(GeoError):
    """A geometry or document from outside exceeds the limits of memory or time."""


class ProfileError(GeoError):
    """A source profile is unknown or invalid."""


class BadItem(GeoError):
    """A STAC item cannot be used."""

    def __init__(self, item_id: str, reason: str) -> None:
        super().__init__(f"item {item_id}: {reason}")
        self.item_id = item_id
        self.reason = redact(reason)


class InvalidEvent(GeoError):
    """A feed, or one of its entries, is not an event that can be watched."""


class InvalidAnnouncement(GeoError):
    """A message is not an announcement of STAC items."""


class CatalogUnreachable(GeoError):
    """A catalog did not respond, or not as a STAC catalog."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(self._message(url, reason))
        self.url = to_public_url(url)
        self.reason = redact(reason)

    def _message(self, url: str, reason: str) -> str:
        return (
            f"catalog {url} cannot be read: {reason}. Check the URL (in a browser it must show the landing page of a "
            "STAC API, or the JSON file of a static catalog), the network and the credentials, then run again; "
            "nothing was written"
        )


class SearchIncomplete(CatalogUnreachable):
    """A search of a catalog could not be proven complete."""

    def _message(self, url: str, reason: str) -> str:
        return (
            f"catalog {url} returned an incomplete search: {reason}. The items found are used; the next run repeats "
            "the search. Report this to the catalog's operator, or watch a smaller area"
        )


class NoSuchCollection(CatalogUnreachable):
    """A catalog does not have the collection of the profile."""

    def _message(self, url: str, reason: str) -> str:
        return f"catalog {url} {reason}. Correct source.collection or source.catalog of the watch, or the profile"


class UnknownSource(CatalogUnreachable):
    """A source of local files is not registered on this machine."""

    def _message(self, url: str, reason: str) -> str:
        return (
            f"source {url} {reason}. Register its files with: segwatch source add FOLDER --name {url}; on each machine "
            "that reads them"
        )


class SourceInUse(GeoError):
    """Another process changes the registration of a source of local files now."""


class UnusableFile(GeoError):
    """A file cannot become part of a source of local files."""


class BadDatePattern(GeoError):
    """A date of local files cannot be read."""

    def __init__(self, given: str) -> None:
        super().__init__(
            f"--date {given!r} is neither a date, such as 2024-05-01 or 2024-05-01T10:30:00, nor a pattern of %Y %y %m "
            "%d %j %b %H %M %S, such as %d%m%Y for 01052024"
        )


class BadBands(GeoError):
    """The bands of local files cannot be read."""

    def __init__(self, given: str) -> None:
        super().__init__(
            f"--bands {given!r} is not R,G,B as numbers of bands from 1, such as 4,3,2; near infrared and two "
            "short-wave infrared bands may follow, and one number alone is grey"
        )


class ReadFailed(GeoError):
    """Pixels of an asset could not be read."""

    def __init__(self, asset: str, href: str, reason: str) -> None:
        super().__init__(f"asset {asset} ({href}): {reason}")
        self.asset = asset
        self.href = to_public_url(href)
        self.reason = redact(reason)


class UnfitPixels(ReadFailed):
    """A file does not match its profile, so its pixels cannot be rendered; retrying does not help."""


class SourceFailed(ReadFailed):
    """The source did not serve a file: an outage, rejected credentials or an expired link.

    Parameters
    ----------
    circuit
        Circuit to open, see :mod:`segwatch.geo.sources.http.circuits`; empty where other files are not affected, as
        with an expired link.
    wait_seconds
        Delay that the server asks for (``Retry-After``).
    """

    def __init__(
        self, asset: str, href: str, reason: str, *, circuit: str = "", wait_seconds: float = 0.0
    ) -> None:
        super().__init__(asset, href, reason)
        self.circuit = circuit
        self.wait_seconds = wait_seconds


class UnsafeHref(GeoError):
    """An href must not be opened."""

    def __init__(self, href: str, reason: str) -> None:
        super().__init__(f"refused to open {href!r}: {reason}")
        self.href = to_public_url(href)
        self.reason = redact(reason)


class AddressRefused(UnsafeHref):
    """A host resolved to an IP address that must not be connected to. A later lookup may give another one."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(f"{host}:{port}", reason)
        self.host = host
        self.port = port


class AccessDenied(GeoError):
    """Credentials of a source are missing or rejected."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"source {source}: {reason}")
        self.source = source
        self.reason = redact(reason)
