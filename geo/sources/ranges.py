"""A remote file read by HTTP byte ranges, with every byte counted. httpx only; no GDAL networking is used.

GDAL could read URLs itself, but then redirects, retries and the count of bytes would be out of our hands.
"""

from __future__ import annotations

import io
import logging
import random
import re
import time
from collections.abc import Sequence

import httpx

from segwatch.geo.errors import ReadFailed, UnsafeHref
from segwatch.geo.sources import hrefs

_log = logging.getLogger(__name__)

_BLOCK = 32 * 1024
_ATTEMPTS = 4
_BACK_OFF_SECONDS = 0.25
_LONGEST_WAIT_SECONDS = 15.0
_REQUEST_SECONDS = 180.0
_REDIRECTS = 3
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"^bytes (\d+)-(\d+)/(\d+)$")


class _PassingError(Exception):
    """A failure that may pass."""

    def __init__(self, reason: str, wait_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


def make_client() -> httpx.Client:
    """A client that follows no redirect by itself."""
    # these log whole URLs, signatures among them, and headers
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    limits = httpx.Limits(max_connections=8)
    return httpx.Client(follow_redirects=False, timeout=httpx.Timeout(30.0, connect=10.0), limits=limits)


class RemoteFile:
    """One file behind one href; blocks once read are kept for the life of this object.

    Parameters
    ----------
    asset
        Name used in error messages.
    allowed_hosts
        As in :func:`segwatch.geo.sources.hrefs.check`.
    """

    def __init__(self, client: httpx.Client, asset: str, href: str, allowed_hosts: Sequence[str]) -> None:
        self._client = client
        self._asset = asset
        self._href = hrefs.check(href, allowed_hosts)
        self._url = self._href
        self._allowed = allowed_hosts
        self._blocks: dict[int, bytes] = {}
        self._size: int | None = None
        self._etag: str | None = None
        self.bytes_read = 0
        """Bytes of bodies that came over the network, repeated and cut off ones too."""
        self.error: ReadFailed | UnsafeHref | None = None
        """The first failure; a caller in between may have swallowed the exception."""

    @property
    def size(self) -> int:
        """Length in bytes."""
        if self._size is None:
            self._load(0, 0)
        return self._size or 0

    def read(self, start: int, length: int) -> bytes:
        """Bytes ``start`` to ``start + length``, fewer at the end of the file.

        Raises
        ------
        ReadFailed
            The server did not give them after retries.
        UnsafeHref
            It redirects to where nothing may be read from.
        """
        stop = min(start + length, self.size)
        if stop <= start:
            return b""
        first, last = start // _BLOCK, (stop - 1) // _BLOCK
        self._load(first, last)
        joined = b"".join(self._blocks[index] for index in range(first, last + 1))
        return joined[start - first * _BLOCK : stop - first * _BLOCK]

    def failure(self, reason: str) -> ReadFailed:
        """An error that names this file."""
        return ReadFailed(self._asset, hrefs.shown(self._href), reason)

    def _load(self, first: int, last: int) -> None:
        """Fetch the blocks first..last that are not here yet, neighbouring ones by one request."""
        missing = [index for index in range(first, last + 1) if index not in self._blocks]
        while missing:
            end = 1
            while end < len(missing) and missing[end] == missing[end - 1] + 1:
                end += 1
            content = self._fetch(missing[0] * _BLOCK, (missing[end - 1] + 1) * _BLOCK - 1)
            for place, index in enumerate(missing[:end]):
                self._blocks[index] = content[place * _BLOCK : (place + 1) * _BLOCK]
            missing = missing[end:]

    def _fetch(self, first: int, last: int) -> bytes:
        if self.error is not None:
            raise self.error
        try:
            return self._fetch_patiently(first, last)
        except (ReadFailed, UnsafeHref) as error:
            self.error = error
            raise

    def _fetch_patiently(self, first: int, last: int) -> bytes:
        attempt = 1
        while True:
            try:
                return self._request(first, last)
            except (_PassingError, httpx.TransportError) as error:
                reason = str(error) or type(error).__name__
                if attempt == _ATTEMPTS:
                    raise self.failure(f"{reason} ({attempt} attempts)") from error
                asked = error.wait_seconds if isinstance(error, _PassingError) else 0.0
                jitter = random.uniform(0.5, 1.5)  # noqa: S311 - spreads retries, guards nothing
                wait = min(_LONGEST_WAIT_SECONDS, max(asked, _BACK_OFF_SECONDS * 2**attempt * jitter))
                _log.info("asset %s: %s; next attempt in %.1f s", self._asset, reason, wait)
                time.sleep(wait)
                attempt += 1

    def _request(self, first: int, last: int) -> bytes:
        headers = {"Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"}
        for _ in range(_REDIRECTS + 1):
            with self._client.stream("GET", self._url, headers=headers) as response:
                if response.has_redirect_location:
                    location = response.headers["location"]
                    self._url = hrefs.check_redirect(self._url, location, self._allowed)
                    continue
                self._check_status(response, first, last)
                expected = self._expected(response, first, last)
                return self._body(response, expected)
        raise self.failure(f"more than {_REDIRECTS} redirects")

    def _check_status(self, response: httpx.Response, first: int, last: int) -> None:
        status = response.status_code
        if status in _PASSING:
            raise _PassingError(f"HTTP {status}", _retry_after(response))
        if status == 416:
            raise self.failure(f"the file is shorter than {first + 1} bytes")
        if status == 200 and first == 0 and 0 < int(response.headers.get("content-length", 0)) <= last + 1:
            return  # a server without ranges, but the file is small
        if status == 200:
            raise self.failure("the server ignores byte ranges; put the file on one that supports them")
        if status != 206:
            hint = "; the link may need signing or credentials" if status in {401, 403} else ""
            raise self.failure(f"HTTP {status}{hint}")

    def _expected(self, response: httpx.Response, first: int, last: int) -> int:
        """Length of the body; checks that the answer is about the range asked for and the same file."""
        if response.status_code == 200:
            start, size = 0, int(response.headers["content-length"])
            stop = size - 1
        else:
            match = _CONTENT_RANGE.match(response.headers.get("content-range", ""))
            if match is None:
                raise self.failure(f"bad Content-Range {response.headers.get('content-range')!r}")
            start, stop, size = (int(part) for part in match.groups())
        if start != first or stop != min(last, size - 1):
            raise self.failure(f"asked for bytes {first}-{last}, the server sent {start}-{stop} of {size}")
        etag = response.headers.get("etag")
        if self._size is not None and (size, etag) != (self._size, self._etag):
            raise self.failure("the file changed while it was read")
        self._size, self._etag = size, etag
        return stop - start + 1

    def _body(self, response: httpx.Response, expected: int) -> bytes:
        deadline = time.monotonic() + _REQUEST_SECONDS
        content = bytearray()
        try:
            for chunk in response.iter_raw():
                content += chunk
                self.bytes_read += len(chunk)
                if len(content) > expected or time.monotonic() > deadline:
                    break
        except httpx.RemoteProtocolError as error:
            raise _PassingError(f"the connection broke after {len(content)} of {expected} bytes") from error
        if len(content) != expected:
            raise _PassingError(f"got {len(content)} of {expected} bytes")
        return bytes(content)


class Cursor(io.RawIOBase):
    """A readable, seekable view of a remote file."""

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
        """Move as files do."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}
        self._position = max(0, offset + base.get(whence, self._file.size))
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to ``size`` bytes; nothing when the remote file has failed, see ``RemoteFile.error``."""
        length = self._file.size - self._position if size is None or size < 0 else size
        try:
            content = self._file.read(self._position, length)
        except (ReadFailed, UnsafeHref):
            return b""  # GDAL cannot carry our exception; its caller looks at RemoteFile.error
        self._position += len(content)
        return content


def _retry_after(response: httpx.Response) -> float:
    """Seconds the server asks to wait; dates are left to the back-off."""
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdigit() else 0.0
