"""Read a file by byte ranges in fixed blocks, by HTTP or from disk, and present it to GDAL as a Python file object.

GDAL's own networking (``/vsicurl/``) is not used, see ``docs/adr/0007-own-range-reader.md``.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Sequence

from segwatch.geo.errors import AccessDenied, ReadFailed, UnfitPixels, UnsafeHref
from segwatch.geo.local_addresses import is_local
from segwatch.geo.sources.http.connections import SceneConnections
from segwatch.geo.sources.http.range_requests import RangeRequester
from segwatch.geo.sources.local.reading import LocalRanges

_BLOCK = 32 * 1024
MAX_READ_BYTES = 256 * 1024**2
"""Maximum bytes per read. No decoder needs more, but a forged header may claim such a block."""
#: Longest request, in blocks.
_MAX_PART_BLOCKS = 32
#: Unwanted blocks between two wanted ones that cost less than a separate request.
_MAX_GAP_BLOCKS = 1


class RemoteFile:
    """Blocks of one remote file, the most recently used of which stay in memory.

    For one reading thread; the parts of a read are fetched concurrently.

    Parameters
    ----------
    asset
        Name for error messages.
    href
        Absolute http or https URL, or the address of a registered file.
    allowed_hosts
        As in :func:`segwatch.geo.sources.http.hrefs.check`.

    Raises
    ------
    UnsafeHref
        The href must not be opened.
    """

    def __init__(self, shared: SceneConnections, asset: str, href: str, allowed_hosts: Sequence[str]) -> None:
        self._requester: RangeRequester | LocalRanges = (
            LocalRanges(asset, href, allowed_hosts)
            if is_local(href)
            else RangeRequester(shared, asset, href, allowed_hosts)
        )
        self._threads = shared.threads
        self._cache = shared.cache
        self.blocks: OrderedDict[int, bytes] = OrderedDict()
        """Blocks in memory by index, the most recently used last."""
        self.error: ReadFailed | UnsafeHref | AccessDenied | None = None
        """The first failure. GDAL swallows exceptions, so its caller must look here."""

    @property
    def size(self) -> int:
        """Length in bytes."""
        if self._requester.size is None:
            self._load([0])
        return self._requester.size or 0

    @property
    def bytes_read(self) -> int:
        """Bytes of response bodies received, including repeated and truncated ones."""
        return self._requester.bytes_read

    def read(self, start: int, length: int) -> bytes:
        """Read ``length`` bytes from ``start``, fewer at the end of the file; see :meth:`read_many`."""
        return self.read_many([(start, length)])[0]

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read several (start, length) ranges concurrently; each is shorter at the end of the file.

        Raises
        ------
        ReadFailed
            The server did not serve them after retries.
        UnfitPixels
            More than :data:`MAX_READ_BYTES` are needed at once.
        UnsafeHref
            The server redirects to a URL that must not be opened.
        """
        wanted = [(start, min(start + length, self.size)) for start, length in ranges]
        count = sum(max(0, stop - start) for start, stop in wanted)
        if count > MAX_READ_BYTES:
            self.error = self.error or self.unfit(
                f"{count} bytes of it are needed at once; make it cloud-optimized"
            )
            raise self.error
        self._load(
            sorted({index for start, stop in wanted for index in range(start // _BLOCK, -(-stop // _BLOCK))})
        )
        found = [self._join_blocks(start, stop) for start, stop in wanted]
        self._cache.trim(self)
        return found

    def failure(self, reason: str) -> ReadFailed:
        """Build an error that names this file."""
        return self._requester.failure(reason)

    def unfit(self, reason: str) -> UnfitPixels:
        """Build an error that names this file and that a retry does not cure."""
        return self._requester.unfit(reason)

    def _join_blocks(self, start: int, stop: int) -> bytes:
        if stop <= start:
            return b""
        first, last = start // _BLOCK, (stop - 1) // _BLOCK
        joined = b"".join(self.blocks[index] for index in range(first, last + 1))
        return joined[start - first * _BLOCK : stop - first * _BLOCK]

    def _load(self, wanted: Sequence[int]) -> None:
        """Fetch the missing blocks among these ascending indices, neighbours in one request."""
        for index in wanted:
            if index in self.blocks:
                self.blocks.move_to_end(index)
                self._cache.touch(self, index)
        parts = _group_blocks([index for index in wanted if index not in self.blocks])
        bounds = [(first * _BLOCK, (last + 1) * _BLOCK - 1) for first, last in parts]
        if len(bounds) == 1 or self._requester.size is None:
            contents = [self._fetch(*bound) for bound in bounds]
        else:
            contents = list(self._threads.map(lambda bound: self._fetch(*bound), bounds))
        for (first, last), content in zip(parts, contents, strict=True):
            for offset, index in enumerate(range(first, last + 1)):
                self.blocks[index] = content[offset * _BLOCK : (offset + 1) * _BLOCK]
                self._cache.touch(self, index)

    def _fetch(self, first: int, last: int) -> bytes:
        if self.error is not None:
            raise self.error
        try:
            return self._requester.fetch(first, last)
        except (ReadFailed, UnsafeHref, AccessDenied) as error:
            self.error = error
            raise


class RemoteFileObject(io.RawIOBase):
    """A read-only, seekable file object over a :class:`RemoteFile`, for GDAL.

    GDAL cannot carry Python exceptions, so failed reads return nothing or zeros and ``RemoteFile.error`` is set.
    """

    def __init__(self, file: RemoteFile) -> None:
        super().__init__()
        self._file = file
        self._position = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Set the position and return it, see :meth:`io.IOBase.seek`."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}
        self._position = max(0, offset + base.get(whence, self._file.size))
        return self._position

    def get_byte_ranges(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        """Read several ranges concurrently; GDAL requests all blocks of a window this way.

        GDAL copies exactly the requested sizes, so a short or failed range is padded with zeros.
        """
        try:
            parts = self._file.read_many(list(zip(offsets, sizes, strict=True)))
        except (ReadFailed, UnsafeHref, AccessDenied):
            parts = [b""] * len(offsets)
        for offset, size, part in zip(offsets, sizes, parts, strict=True):
            if len(part) < size and self._file.error is None:
                self._file.error = self._file.failure(
                    f"it is damaged or truncated: bytes up to {offset + size} are needed, it has {self._file.size}"
                )
        return [part.ljust(size, b"\0") for part, size in zip(parts, sizes, strict=True)]

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to ``size`` bytes; nothing where the remote file failed."""
        length = self._file.size - self._position if size is None or size < 0 else size
        try:
            content = self._file.read(self._position, length)
        except (ReadFailed, UnsafeHref, AccessDenied):
            return b""
        self._position += len(content)
        return content


def _group_blocks(indices: Sequence[int]) -> list[tuple[int, int]]:
    """Group ascending block indices into requests: (first, last) of each."""
    parts: list[tuple[int, int]] = []
    for index in indices:
        if parts and index - parts[-1][1] <= 1 + _MAX_GAP_BLOCKS and index - parts[-1][0] < _MAX_PART_BLOCKS:
            parts[-1] = (parts[-1][0], index)
        else:
            parts.append((index, index))
    return parts
