"""Read byte ranges of one registered file from disk.

| attack | defence |
| --- | --- |
| ``..`` or an absolute path in an address | refused when the address is parsed |
| a symbolic link out of the root, put there before or after it was registered | the file's real path must lie in \
  the root, before and after it is opened; its last part is not followed |
| a pipe, socket or device, which would block or never end | opened without blocking; only regular files are read |
| a file that changes while it is read, or since it was registered | its size and time of change are in the address |
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from segwatch.geo.errors import ReadFailed, SourceFailed, UnfitPixels, UnsafeHref
from segwatch.geo.local_addresses import find_root, make_stamp, parse_address
from segwatch.geo.sources.http import circuits

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class Outside(Exception):
    """A file does not lie in its root, or is no regular file; the message says which."""


@contextmanager
def open_inside(root: Path, below: str) -> Iterator[int]:
    """Open a regular file in a root for reading; yields its descriptor.

    Parameters
    ----------
    root
        Absolute path without symbolic links: of a folder, or of the file.
    below
        Path below the root; empty where the root is the file.

    Raises
    ------
    Outside
        The file lies elsewhere, or is no regular file.
    OSError
        It cannot be opened.
    """
    path = root / below if below else root
    real = _resolve(path, root)
    descriptor = os.open(real, _FLAGS)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Outside("it is no regular file")
        if _resolve(path, root) != real or not os.path.samestat(status, os.stat(real)):
            raise Outside("its folder changed while it was opened")
        yield descriptor
    finally:
        os.close(descriptor)


def _resolve(path: Path, root: Path) -> Path:
    real = path.resolve(strict=True)
    if not real.is_relative_to(root):
        raise Outside("it leads out of the registered folder by a symbolic link")
    return real


class LocalRanges:
    """Byte ranges of one registered file, as :class:`segwatch.geo.sources.http.range_requests.RangeRequester` of a
    remote one. Thread-safe.

    Parameters
    ----------
    asset
        Name for error messages.
    href
        Address of the file.
    allowed
        Allowed hosts, with the grant for the file's root.

    Raises
    ------
    UnsafeHref
        The file must not be opened.
    """

    def __init__(self, asset: str, href: str, allowed: Sequence[str]) -> None:
        self._root = find_root(href, allowed)
        address = parse_address(href)
        self._below, self._stamp = address.path, address.stamp
        self._asset = asset
        self._href = href
        self._shown = href.partition("?")[0]
        self.size: int | None = None
        """Length of the file in bytes; None before the first read."""
        self.bytes_read = 0
        """Bytes read from disk, including repeated ones."""

    def fetch(self, first: int, last: int) -> bytes:
        """Read bytes ``first`` to ``last`` (inclusive), fewer at the end of the file.

        Raises
        ------
        ReadFailed
            The file cannot be read; :class:`SourceFailed` where its whole root is not there.
        UnfitPixels
            It changed since it was registered.
        UnsafeHref
            It does not lie in its root.
        """
        try:
            with open_inside(self._root, self._below) as descriptor:
                status = os.fstat(descriptor)
                if self._stamp and make_stamp(status) != self._stamp:
                    raise self.unfit(
                        "the file changed since it was added; run segwatch source add again, which makes it a new "
                        "version"
                    )
                content = _read(descriptor, first, last - first + 1)
        except Outside as error:
            raise UnsafeHref(self._shown, str(error)) from error
        except OSError as error:
            raise self._explain(error) from error
        self.size = status.st_size
        self.bytes_read += len(content)
        return content

    def failure(self, reason: str) -> ReadFailed:
        """Build an error that names this file."""
        return ReadFailed(self._asset, self._shown, reason)

    def unfit(self, reason: str) -> UnfitPixels:
        """Build an error that names this file and that a retry does not cure."""
        return UnfitPixels(self._asset, self._shown, reason)

    def _explain(self, error: OSError) -> ReadFailed:
        if isinstance(error, PermissionError):
            return self.failure("this user may not read it; give the account of the workers the right to")
        if not self._root.exists():
            # a disk that is not mounted: its scenes wait until it is
            reason = "the registered folder is not there; mount its disk, or add it again where it is now"
            return SourceFailed(
                self._asset, self._shown, reason, circuit=circuits.name_host_circuit(self._href)
            )
        if isinstance(error, FileNotFoundError):
            return self.failure("the file is not there any more")
        return self.failure(f"it cannot be read from disk ({error.strerror})")


def _read(descriptor: int, start: int, length: int) -> bytes:
    content = bytearray()
    while len(content) < length:
        part = os.pread(descriptor, length - len(content), start + len(content))
        if not part:
            break
        content += part
    return bytes(content)
