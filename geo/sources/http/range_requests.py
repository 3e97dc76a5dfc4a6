"""Request byte ranges of one remote file (RFC 9110, section 14) and check that the response holds them.

Servers differ in how they serve ranges: a whole small file with status 200, one part as ``multipart/byteranges``, a
range without the total size. Each is accepted if it provably contains the requested bytes of the same file version;
everything else is an error that names the file.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from threading import Lock

import httpx

from segwatch.geo.errors import ReadFailed, SourceFailed, UnfitPixels
from segwatch.geo.sources.http import circuits, faults, hrefs
from segwatch.geo.sources.http.connections import SceneConnections
from segwatch.geo.sources.http.deadline import call_within
from segwatch.geo.sources.http.headers import (
    ContentRange,
    Validator,
    parse_boundary,
    parse_content_range,
    parse_length,
    parse_retry_after,
    parse_single_part,
    parse_validator,
)
from segwatch.geo.sources.http.retries import RetriesExhausted, RetryPolicy, Transient, call_with_retries
from segwatch.geo.sources.http.signatures import parse_expiry
from segwatch.geo.text.redaction import strip_signature

_MAX_ATTEMPTS = 4
_BACK_OFF_SECONDS = 0.5
_MAX_WAIT_SECONDS = 15.0
_REQUEST_SECONDS = 90.0
_MAX_REDIRECTS = 3
_TRANSIENT_STATUSES = frozenset({408, 425, 429})
_SERVER_ERRORS = 500
#: Longest ``Retry-After`` that a circuit stays open for.
_MAX_RETRY_AFTER_SECONDS = 6 * 3600.0
_NO_RANGES = "the server ignores byte ranges; put the file on one that supports them"
#: Bytes of headers and boundaries around the part of a multipart response.
_MULTIPART_EXTRA = 4096


class _TransientError(Exception):
    """A failure that a retry may cure."""

    def __init__(self, reason: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class RangeRequester:
    """Requests byte ranges of one file, with retries, signing and checked redirects. Thread-safe.

    Parameters
    ----------
    asset
        Name for error messages.
    allowed_hosts
        As in :func:`segwatch.geo.sources.http.hrefs.check`.
    """

    def __init__(self, shared: SceneConnections, asset: str, href: str, allowed_hosts: Sequence[str]) -> None:
        self._client = shared.client
        self._signer = shared.signer
        self._until = shared.until
        self._asset = asset
        self._href = hrefs.check(href, allowed_hosts)
        self._url = self._href
        self._allowed_hosts = allowed_hosts
        self._lock = Lock()
        self._validator = Validator(None, None)
        self.size: int | None = None
        """Length of the file in bytes; None before the first response."""
        self.bytes_read = 0
        """Bytes of response bodies received, including repeated and truncated ones."""

    def fetch(self, first: int, last: int) -> bytes:
        """Fetch bytes ``first`` to ``last`` (inclusive), fewer at the end of the file.

        Raises
        ------
        ReadFailed
            The server did not serve them; :class:`SourceFailed` where the server or its credentials are to blame.
        UnsafeHref
            The server redirects to a URL that must not be opened.
        AccessDenied
            Credentials are missing, or no token is issued for them.
        """
        policy = RetryPolicy(_MAX_ATTEMPTS, _BACK_OFF_SECONDS, _MAX_WAIT_SECONDS)
        try:
            return call_with_retries(
                lambda: call_within(self._seconds_left(), lambda: self._request(first, last)),
                policy,
                _classify,
                name=f"asset {self._asset}",
                until=self._until,
            )
        except RetriesExhausted as error:
            raise SourceFailed(
                self._asset,
                hrefs.redact_href(self._href),
                str(error),
                circuit=circuits.name_host_circuit(self._href),
                wait_seconds=min(error.failure.retry_after_seconds, _MAX_RETRY_AFTER_SECONDS),
            ) from error.error

    def failure(self, reason: str) -> ReadFailed:
        """Build an error that names this file."""
        return ReadFailed(self._asset, hrefs.redact_href(self._href), reason)

    def unfit(self, reason: str) -> UnfitPixels:
        """Build an error that names this file and that a retry does not cure."""
        return UnfitPixels(self._asset, hrefs.redact_href(self._href), reason)

    def _seconds_left(self) -> float:
        return max(0.0, min(_REQUEST_SECONDS, self._until - time.monotonic()))

    def _request(self, first: int, last: int) -> bytes:
        url = self._url
        for _ in range(_MAX_REDIRECTS + 1):
            signed, headers = self._signer.sign(url)
            headers |= {"Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"}
            with self._client.stream("GET", signed, headers=headers) as response:
                if response.has_redirect_location:
                    location = response.headers["location"]
                    redirect_hosts = self._signer.redirect_hosts
                    url = hrefs.check_redirect(url, location, self._allowed_hosts, redirect_hosts)
                    if not (redirect_hosts and hrefs.is_allowed_host(url, redirect_hosts)):
                        self._url = url  # a link to a redirect host is signed and expires, so it is not kept
                    continue
                self._check_status(response, first)
                return self._read_range(response, first, last)
        raise self.failure(f"more than {_MAX_REDIRECTS} redirects")

    def _check_status(self, response: httpx.Response, first: int) -> None:
        status = response.status_code
        if status in _TRANSIENT_STATUSES or status >= _SERVER_ERRORS:
            raise _TransientError(f"HTTP {status}", parse_retry_after(response.headers, datetime.now(UTC)))
        if status in {401, 403} and self._signer.forget():
            raise _TransientError(f"HTTP {status}; the link is signed again")
        if status == 416:
            given = parse_content_range(response.headers.get("content-range"))
            size = f"; it has {given.size}" if given is not None and given.size is not None else ""
            raise self.failure(f"the file is shorter than {first + 1} bytes{size}")
        if status in {400, 401, 403}:
            self._check_access(status)
        if status not in {200, 206}:
            raise self.failure(f"HTTP {status}{self._access_hint() if status in {401, 403} else ''}")
        encoding = response.headers.get("content-encoding", "").strip().lower()
        if encoding not in {"", "identity"}:
            raise self.failure("the server sends it compressed although identity encoding was requested")

    def _check_access(self, status: int) -> None:
        """Blame the link or the credentials for a refusal, where the request carried any.

        A plain 403 is blamed on the file: object stores answer so for missing objects.
        """
        expires_at = parse_expiry(self._url)
        expired = expires_at is not None and expires_at < datetime.now(UTC)
        signs = self._signer.signs(self._url)
        reason = f"HTTP {status}{self._access_hint()}"
        if expired or (status == 403 and not signs and strip_signature(self._url) != self._url):
            raise SourceFailed(self._asset, hrefs.redact_href(self._href), reason)
        if status == 401 or (status == 403 and signs):
            circuit = circuits.name_credentials_circuit(self._signer.source)
            raise SourceFailed(self._asset, hrefs.redact_href(self._href), reason, circuit=circuit)

    def _access_hint(self) -> str:
        expires_at = parse_expiry(self._url)
        if expires_at is not None and expires_at < datetime.now(UTC):
            return f"; the link was signed until {expires_at:%Y-%m-%d %H:%M} UTC: the catalog must issue a new one"
        return "; the link may need signing or credentials"

    def _read_range(self, response: httpx.Response, first: int, last: int) -> bytes:
        """Read the requested bytes after checking that the response holds them and is of the same file."""
        if response.status_code == 200:
            return self._read_whole(response, first, last)
        boundary = parse_boundary(response.headers.get("content-type"))
        if boundary is not None:
            return self._read_multipart(response, boundary, first, last)
        given = parse_content_range(response.headers.get("content-range"))
        if given is None:
            raise self.failure("bad Content-Range: missing or invalid")
        expected = self._check_range(given, response, first, last)
        return _require_length(self._read_body(response, expected), expected)

    def _read_whole(self, response: httpx.Response, first: int, last: int) -> bytes:
        """Read a response without a range: the whole of a small file, or a server without range support."""
        length = parse_length(response.headers)
        if first > 0 and self.size is not None:
            raise _TransientError("the server sent the whole file instead of a range")
        if first > 0 or (length is not None and length > last + 1):
            raise self.failure(_NO_RANGES)
        content = self._read_body(response, last + 1)
        if len(content) > last + 1:
            raise self.failure(_NO_RANGES)
        if length is not None:
            _require_length(content, length)
        self._check_same_file(response, len(content))
        return content

    def _read_multipart(self, response: httpx.Response, boundary: bytes, first: int, last: int) -> bytes:
        """Read the only part of a ``multipart/byteranges`` response."""
        found = parse_single_part(self._read_body(response, last - first + 1 + _MULTIPART_EXTRA), boundary)
        if found is None:
            raise self.failure("its multipart response does not hold exactly the requested part")
        given, content = found
        return _require_length(content, self._check_range(given, response, first, last))

    def _check_range(self, given: ContentRange, response: httpx.Response, first: int, last: int) -> int:
        """Check that the response is the requested range of the same file; return its length in bytes."""
        start, stop = given.first, given.last
        size = given.size if given.size is not None else self.size or self._request_size()
        if start is None or stop is None or start != first or stop != min(last, size - 1):
            raise self.failure(f"requested bytes {first}-{last}, the server sent {start}-{stop} of {size}")
        self._check_same_file(response, size)
        return stop - start + 1

    def _check_same_file(self, response: httpx.Response, size: int) -> None:
        validator = parse_validator(response.headers)
        with self._lock:
            changed = self.size is not None and size != self.size
            if changed or validator.contradicts(self._validator):
                raise self.failure("the file changed while it was read")
            self.size, self._validator = size, self._validator.merge(validator)

    def _request_size(self) -> int:
        """Length of the file by a HEAD request, for servers whose ranges omit it (``bytes 0-9/*``)."""
        signed, headers = self._signer.sign(self._url, "HEAD")
        response = self._client.head(signed, headers=headers | {"Accept-Encoding": "identity"})
        if response.status_code in _TRANSIENT_STATUSES or response.status_code >= _SERVER_ERRORS:
            raise _TransientError(f"HTTP {response.status_code}")
        size = parse_length(response.headers) if response.status_code == 200 else None
        if size is None:
            raise self.failure("the server does not report how long the file is")
        return size

    def _read_body(self, response: httpx.Response, max_bytes: int) -> bytes:
        """Read the body until its end or just beyond ``max_bytes``."""
        content = bytearray()
        try:
            for chunk in response.iter_raw():
                content += chunk
                with self._lock:
                    self.bytes_read += len(chunk)
                if len(content) > max_bytes:
                    break
        except httpx.RemoteProtocolError as error:
            raise _TransientError(
                f"the connection broke after {len(content)} of {max_bytes} bytes"
            ) from error
        return bytes(content)


def _require_length(content: bytes, expected: int) -> bytes:
    if len(content) != expected:
        raise _TransientError(f"got {len(content)} of {expected} bytes")
    return content


def _classify(error: Exception) -> Transient | None:
    if isinstance(error, _TransientError):
        return Transient(str(error), error.retry_after_seconds)
    if isinstance(error, TimeoutError):
        return Transient("no complete response in time")
    return Transient(faults.describe(error)) if isinstance(error, httpx.TransportError) else None
