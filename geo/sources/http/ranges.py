"""A remote file read by HTTP byte ranges, with every byte counted. httpx only; no GDAL networking is used.

GDAL could read URLs itself, but then redirects, retries and the count of bytes would be out of our hands.
"""

from __future__ import annotations

import io
import logging
import math
import random
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock

import httpx

from segwatch.geo.errors import AccessDenied, ReadFailed, SourceFailed, UnfitPixels, UnsafeHref
from segwatch.geo.sources.http import circuits, egress, faults, hrefs
from segwatch.geo.sources.http.credentials import Credentials, Signer
from segwatch.geo.sources.http.deadline import within
from segwatch.geo.sources.http.headers import (
    ContentRange,
    Validator,
    parse_boundary,
    parse_content_range,
    parse_length,
    parse_retry_after,
    parse_validator,
    single_part,
)
from segwatch.geo.sources.http.signatures import expiry
from segwatch.geo.text.redaction import strip_signature
from segwatch.geo.types.source import Profile

_log = logging.getLogger(__name__)

_BLOCK = 32 * 1024
#: Blocks of one file that are kept: what neighbouring rows of tiles share, not the whole file.
_KEPT_BLOCKS = 1024
#: And of all files of a scene together, 96 MiB: a mosaic may have hundreds.
_KEPT_SCENE_BLOCKS = 3072
#: Bytes that are read at once. No decoder needs more; a header may claim that a block is that long.
MAX_READ_BYTES = 256 * 1024**2
_CONNECTIONS = 8
#: Parts of one file that are asked for at the same time, and the longest of them.
_AT_ONCE = 6
_PART_BLOCKS = 32
#: Blocks between two wanted ones that cost less than a request of their own.
_GAP_BLOCKS = 1
_ATTEMPTS = 4
_BACK_OFF_SECONDS = 0.25
_LONGEST_WAIT_SECONDS = 15.0
_REQUEST_SECONDS = 90.0
_REDIRECTS = 3
_PASSING = frozenset({408, 425, 429})
_SERVER_ERRORS = 500
_LONGEST_ASKED_SECONDS = 6 * 3600.0
_NO_RANGES = "the server ignores byte ranges; put the file on one that supports them"
#: Heads and boundaries of an answer in parts.
_MULTIPART_EXTRA = 4096


class _PassingError(Exception):
    """A failure that may pass."""

    def __init__(self, reason: str, wait_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


class Kept:
    """Which blocks of a scene's files are kept: those used last, of all files together; for one thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._order: OrderedDict[tuple[RemoteFile, int], None] = OrderedDict()

    def use(self, file: RemoteFile, index: int) -> None:
        """A block was used now."""
        self._order[file, index] = None
        self._order.move_to_end((file, index))

    def trim(self, file: RemoteFile) -> None:
        """Drop the blocks that were not used for longest, of the file where it has many, and of all."""
        for index in list(file.blocks)[: max(0, len(file.blocks) - _KEPT_BLOCKS)]:
            del file.blocks[index], self._order[file, index]
        while len(self._order) > self._limit:
            (other, index), _ = self._order.popitem(last=False)
            del other.blocks[index]


@dataclass(frozen=True, slots=True)
class Network:
    """What the files of one scene share."""

    client: httpx.Client
    """Follows no redirect by itself."""
    threads: ThreadPoolExecutor
    signer: Signer
    kept: Kept = field(default_factory=lambda: Kept(_KEPT_SCENE_BLOCKS))
    until: float = math.inf
    """When reading ends, on the monotonic clock: attempts and waits are cut short then."""


@contextmanager
def network(profile: Profile, credentials: Credentials, seconds: float = math.inf) -> Iterator[Network]:
    """Connections, threads and tokens for the length of the block; its files can be read for so many seconds.

    Raises
    ------
    AccessDenied
        The profile needs other credentials.
    """
    # these log whole URLs, signatures among them, and headers
    for name in ("httpx", "httpcore", "botocore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    limits = httpx.Limits(max_connections=_CONNECTIONS)
    timeout = httpx.Timeout(30.0, connect=10.0)
    with (
        egress.client(follow_redirects=False, timeout=timeout, limits=limits) as client,
        ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="range") as threads,
    ):
        yield Network(client, threads, Signer(profile, credentials, client), until=time.monotonic() + seconds)


class RemoteFile:
    """One file behind one href; the blocks read last are kept.

    One thread reads; it has several parts fetched at the same time.

    Parameters
    ----------
    asset
        Name used in error messages.
    allowed_hosts
        As in :func:`segwatch.geo.sources.http.hrefs.check`.
    """

    def __init__(self, shared: Network, asset: str, href: str, allowed_hosts: Sequence[str]) -> None:
        self._client = shared.client
        self._threads = shared.threads
        self._signer = shared.signer
        self._until = shared.until
        self._asset = asset
        self._href = hrefs.check(href, allowed_hosts)
        self._url = self._href
        self._allowed = allowed_hosts
        self._kept = shared.kept
        self.blocks: OrderedDict[int, bytes] = OrderedDict()
        """Blocks that are here, those used last at the end."""
        self._lock = Lock()
        self._size: int | None = None
        self._validator = Validator(None, None)
        self.bytes_read = 0
        """Bytes of bodies that came over the network, repeated and cut off ones too."""
        self.error: ReadFailed | UnsafeHref | AccessDenied | None = None
        """The first failure; a caller in between may have swallowed the exception."""

    @property
    def size(self) -> int:
        """Length in bytes."""
        if self._size is None:
            self._load([0])
        return self._size or 0

    def read(self, start: int, length: int) -> bytes:
        """Bytes ``start`` to ``start + length``, fewer at the end of the file; see :meth:`read_many`."""
        return self.read_many([(start, length)])[0]

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Bytes of several (start, length), fewer at the end of the file, fetched at the same time.

        Raises
        ------
        ReadFailed
            The server did not give them after retries.
        UnsafeHref
            It redirects to where nothing may be read from.
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
        found = [self._cut(start, stop) for start, stop in wanted]
        self._kept.trim(self)
        return found

    def _cut(self, start: int, stop: int) -> bytes:
        if stop <= start:
            return b""
        first, last = start // _BLOCK, (stop - 1) // _BLOCK
        joined = b"".join(self.blocks[index] for index in range(first, last + 1))
        return joined[start - first * _BLOCK : stop - first * _BLOCK]

    def failure(self, reason: str) -> ReadFailed:
        """An error that names this file."""
        return ReadFailed(self._asset, hrefs.shown(self._href), reason)

    def _outage(self, reason: str, wait_seconds: float = 0.0) -> SourceFailed:
        """An error that blames the host."""
        return SourceFailed(
            self._asset,
            hrefs.shown(self._href),
            reason,
            circuit=circuits.of_host(self._href),
            wait_seconds=min(wait_seconds, _LONGEST_ASKED_SECONDS),
        )

    def unfit(self, reason: str) -> UnfitPixels:
        """An error that names this file, which reading it again would not mend."""
        return UnfitPixels(self._asset, hrefs.shown(self._href), reason)

    def _load(self, wanted: Sequence[int]) -> None:
        """Fetch the blocks (in rising order) that are not here yet, neighbouring ones by one request."""
        for index in wanted:
            if index in self.blocks:
                self.blocks.move_to_end(index)
                self._kept.use(self, index)
        parts = _parts([index for index in wanted if index not in self.blocks])
        bounds = [(first * _BLOCK, (last + 1) * _BLOCK - 1) for first, last in parts]
        if len(bounds) == 1 or self._size is None:
            contents = [self._fetch(*one) for one in bounds]
        else:
            contents = list(self._threads.map(lambda one: self._fetch(*one), bounds))
        for (first, last), content in zip(parts, contents, strict=True):
            for place, index in enumerate(range(first, last + 1)):
                self.blocks[index] = content[place * _BLOCK : (place + 1) * _BLOCK]
                self._kept.use(self, index)

    def _fetch(self, first: int, last: int) -> bytes:
        if self.error is not None:
            raise self.error
        try:
            return self._fetch_patiently(first, last)
        except (ReadFailed, UnsafeHref, AccessDenied) as error:
            self.error = error
            raise

    def _fetch_patiently(self, first: int, last: int) -> bytes:
        attempt = 1
        while True:
            try:
                return within(self._seconds_left(_REQUEST_SECONDS), lambda: self._request(first, last))
            except (_PassingError, httpx.TransportError, TimeoutError) as error:
                reason = _reason(error)
                asked = error.wait_seconds if isinstance(error, _PassingError) else 0.0
                if attempt == _ATTEMPTS or asked > _LONGEST_WAIT_SECONDS or time.monotonic() >= self._until:
                    raise self._outage(f"{reason} ({attempt} attempts)", asked) from error
                jitter = random.uniform(0.5, 1.5)  # noqa: S311 - spreads retries, guards nothing
                wait = min(_LONGEST_WAIT_SECONDS, max(asked, _BACK_OFF_SECONDS * 2**attempt * jitter))
                _log.info("asset %s: %s; next attempt in %.1f s", self._asset, reason, wait)
                time.sleep(self._seconds_left(wait))
                attempt += 1

    def _seconds_left(self, most: float) -> float:
        return max(0.0, min(most, self._until - time.monotonic()))

    def _request(self, first: int, last: int) -> bytes:
        url = self._url
        for _ in range(_REDIRECTS + 1):
            signed, headers = self._signer.sign(url)
            headers |= {"Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"}
            with self._client.stream("GET", signed, headers=headers) as response:
                if response.has_redirect_location:
                    location = response.headers["location"]
                    elsewhere = self._signer.redirect_hosts
                    url = hrefs.check_redirect(url, location, self._allowed, elsewhere)
                    if not (elsewhere and hrefs.matches(url, elsewhere)):
                        self._url = url  # a link to elsewhere is signed for a while only
                    continue
                self._check_status(response, first)
                return self._content(response, first, last)
        raise self.failure(f"more than {_REDIRECTS} redirects")

    def _check_status(self, response: httpx.Response, first: int) -> None:
        status = response.status_code
        if status in _PASSING or status >= _SERVER_ERRORS:
            raise _PassingError(f"HTTP {status}", parse_retry_after(response.headers, datetime.now(UTC)))
        if status in {401, 403} and self._signer.forget():
            raise _PassingError(f"HTTP {status}; the link is signed anew")
        if status == 416:
            told = parse_content_range(response.headers.get("content-range"))
            size = f"; it has {told.size}" if told is not None and told.size is not None else ""
            raise self.failure(f"the file is shorter than {first + 1} bytes{size}")
        if status in {400, 401, 403}:
            self._check_access(status)
        if status not in {200, 206}:
            raise self.failure(f"HTTP {status}{self._access_hint() if status in {401, 403} else ''}")
        encoding = response.headers.get("content-encoding", "").strip().lower()
        if encoding not in {"", "identity"}:
            raise self.failure("the server sends it compressed though it was not asked for that way")

    def _check_access(self, status: int) -> None:
        """Blame a refusal on the link or the credentials that were sent, where there are any.

        A plain 403 is left to the file: object stores answer so for files that are not there.
        """
        until = expiry(self._url)
        expired = until is not None and until < datetime.now(UTC)
        signs = self._signer.signs(self._url)
        reason = f"HTTP {status}{self._access_hint()}"
        if expired or (status == 403 and not signs and strip_signature(self._url) != self._url):
            raise SourceFailed(self._asset, hrefs.shown(self._href), reason)
        if status == 401 or (status == 403 and signs):
            circuit = circuits.of_credentials(self._signer.source)
            raise SourceFailed(self._asset, hrefs.shown(self._href), reason, circuit=circuit)

    def _access_hint(self) -> str:
        until = expiry(self._url)
        if until is not None and until < datetime.now(UTC):
            return f"; the link was signed until {until:%Y-%m-%d %H:%M} UTC: the catalog must give a new one"
        return "; the link may need signing or credentials"

    def _content(self, response: httpx.Response, first: int, last: int) -> bytes:
        """The bytes asked for, once the answer is shown to hold them and to be of the same file."""
        if response.status_code == 200:
            return self._from_whole(response, first, last)
        boundary = parse_boundary(response.headers.get("content-type"))
        if boundary is not None:
            return self._from_multipart(response, boundary, first, last)
        given = parse_content_range(response.headers.get("content-range"))
        if given is None:
            raise self.failure("bad Content-Range: missing or invalid")
        expected = self._expected(given, response, first, last)
        return self._exactly(self._body(response, expected), expected)

    def _from_whole(self, response: httpx.Response, first: int, last: int) -> bytes:
        """Of a server without ranges, or one that sends all of a small file."""
        length = parse_length(response.headers)
        if first > 0 and self._size is not None:
            raise _PassingError("the server sent the whole file in the place of a part")
        if first > 0 or (length is not None and length > last + 1):
            raise self.failure(_NO_RANGES)
        content = self._body(response, last + 1)
        if len(content) > last + 1:
            raise self.failure(_NO_RANGES)
        if length is not None:
            self._exactly(content, length)
        self._check_same(response, len(content))
        return content

    def _from_multipart(self, response: httpx.Response, boundary: bytes, first: int, last: int) -> bytes:
        """One part, in the form for several."""
        found = single_part(self._body(response, last - first + 1 + _MULTIPART_EXTRA), boundary)
        if found is None:
            raise self.failure("its answer of several parts holds none, or more than the one asked for")
        given, content = found
        return self._exactly(content, self._expected(given, response, first, last))

    def _expected(self, given: ContentRange, response: httpx.Response, first: int, last: int) -> int:
        """Length of the body; checks that the answer is about the range asked for and the same file."""
        start, stop = given.first, given.last
        size = given.size if given.size is not None else self._size or self._asked_size()
        if start is None or stop is None or start != first or stop != min(last, size - 1):
            raise self.failure(f"asked for bytes {first}-{last}, the server sent {start}-{stop} of {size}")
        self._check_same(response, size)
        return stop - start + 1

    def _check_same(self, response: httpx.Response, size: int) -> None:
        validator = parse_validator(response.headers)
        with self._lock:
            changed = self._size is not None and size != self._size
            if changed or validator.contradicts(self._validator):
                raise self.failure("the file changed while it was read")
            self._size, self._validator = size, self._validator.merge(validator)

    def _asked_size(self) -> int:
        """Length of the file as a HEAD request tells it, for servers whose ranges do not (``bytes 0-9/*``)."""
        signed, headers = self._signer.sign(self._url, "HEAD")
        response = self._client.head(signed, headers=headers | {"Accept-Encoding": "identity"})
        if response.status_code in _PASSING or response.status_code >= _SERVER_ERRORS:
            raise _PassingError(f"HTTP {response.status_code}")
        size = parse_length(response.headers) if response.status_code == 200 else None
        if size is None:
            raise self.failure("the server does not tell how long the file is")
        return size

    def _body(self, response: httpx.Response, most: int) -> bytes:
        """What was sent, up to just more than ``most`` bytes."""
        content = bytearray()
        try:
            for chunk in response.iter_raw():
                content += chunk
                with self._lock:
                    self.bytes_read += len(chunk)
                if len(content) > most:
                    break
        except httpx.RemoteProtocolError as error:
            raise _PassingError(f"the connection broke after {len(content)} of {most} bytes") from error
        return bytes(content)

    @staticmethod
    def _exactly(content: bytes, expected: int) -> bytes:
        if len(content) != expected:
            raise _PassingError(f"got {len(content)} of {expected} bytes")
        return content


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

    def get_byte_ranges(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        """Several parts at the same time; GDAL asks for all blocks of a window by this.

        Each has the size that was asked for, as the caller copies that much: zeros when the remote file has failed or
        ends before, see ``RemoteFile.error``.
        """
        try:
            parts = self._file.read_many(list(zip(offsets, sizes, strict=True)))
        except (ReadFailed, UnsafeHref, AccessDenied):
            parts = [b""] * len(offsets)
        for offset, size, part in zip(offsets, sizes, parts, strict=True):
            if len(part) < size and self._file.error is None:
                self._file.error = self._file.failure(
                    f"it is damaged or cut off: bytes up to {offset + size} are needed, it has {self._file.size}"
                )
        return [part.ljust(size, b"\0") for part, size in zip(parts, sizes, strict=True)]

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to ``size`` bytes; nothing when the remote file has failed, see ``RemoteFile.error``."""
        length = self._file.size - self._position if size is None or size < 0 else size
        try:
            content = self._file.read(self._position, length)
        except (ReadFailed, UnsafeHref, AccessDenied):
            return b""  # GDAL cannot carry our exception; its caller looks at RemoteFile.error
        self._position += len(content)
        return content


def _parts(blocks: Sequence[int]) -> list[tuple[int, int]]:
    """First and last block of each request."""
    parts: list[tuple[int, int]] = []
    for index in blocks:
        if parts and index - parts[-1][1] <= 1 + _GAP_BLOCKS and index - parts[-1][0] < _PART_BLOCKS:
            parts[-1] = (parts[-1][0], index)
        else:
            parts.append((index, index))
    return parts


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "nothing whole came in time"
    return str(error) if isinstance(error, _PassingError) else faults.describe(error)
