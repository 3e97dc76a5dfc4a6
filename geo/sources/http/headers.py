"""Parse HTTP header fields as servers and clients really write them. Pure.

All legal forms are accepted (RFC 9110), and common illegal ones whose meaning is clear. An invalid header gives None,
never an exception.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime

_CONTENT_RANGE = re.compile(
    r"^\s*bytes[\s=:]+(?:(\d{1,18})\s*-\s*(\d{1,18})|\*)\s*/\s*(\d{1,18}|\*)\s*$", re.IGNORECASE
)
_MAX_DIGITS = 18
_SECONDS = re.compile(r"^\s*(\d+)(?:\.\d*)?\s*$", re.ASCII)
#: Longer waits are cut to this.
_MAX_WAIT_SECONDS = 366 * 86400.0
_BOUNDARY = re.compile(r'boundary\s*=\s*(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
#: Content codings (RFC 9110, section 8.4.1).
_IDENTITY = frozenset({"", "identity"})
_DEFLATED = frozenset({"gzip", "x-gzip", "deflate"})
#: Detect gzip or zlib by the header of the data.
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
#: Suffix that servers which compress on the fly add to an ETag.
_ENCODING_SUFFIX = re.compile(r"(?:--?|;|:)(?:gzip|br|deflate|zstd|df)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ContentRange:
    """A Content-Range, in bytes."""

    first: int | None
    last: int | None
    """Inclusive; ``first`` and ``last`` are None for an unsatisfied range (``bytes */SIZE``)."""
    size: int | None
    """Length of the whole file; None where it is unknown (``*``)."""


@dataclass(frozen=True, slots=True)
class Validator:
    """Validators of a file version (RFC 9110, section 8.8)."""

    tag: str | None
    """Opaque part of the ETag; weak and strong forms of a tag are equal."""
    modified: datetime | None

    def contradicts(self, other: Validator) -> bool:
        """Whether two validators belong to different file versions; a missing value contradicts nothing.

        Last-Modified counts only where a tag is missing: behind a load balancer, copies of one file differ in it.
        """
        if self.tag is not None and other.tag is not None:
            return self.tag != other.tag
        if self.modified is not None and other.modified is not None:
            return self.modified != other.modified
        return False

    def merge(self, other: Validator) -> Validator:
        """Fill missing values from another validator."""
        return Validator(self.tag or other.tag, self.modified or other.modified)


def parse_validator(headers: Mapping[str, str]) -> Validator:
    """Parse ETag and Last-Modified of a response."""
    return Validator(parse_etag(headers.get("etag")), parse_date(headers.get("last-modified")))


def parse_etag(value: str | None) -> str | None:
    """Parse an ETag to its opaque tag, without weakness mark, quotes and encoding suffix; None where it is missing."""
    text = (value or "").strip()
    if text[:2].lower() == "w/":
        text = text[2:].strip()
    text = _ENCODING_SUFFIX.sub("", text.strip('"'))
    return text or None


def parse_content_range(value: str | None) -> ContentRange | None:
    """Parse a Content-Range in bytes; None where it is missing or invalid."""
    match = _CONTENT_RANGE.match(value or "")
    if match is None:
        return None
    first, last, size = (int(part) if part and part != "*" else None for part in match.groups())
    if first is not None and last is not None and (last < first or (size is not None and last >= size)):
        return None
    return ContentRange(first, last, size)


def parse_length(headers: Mapping[str, str]) -> int | None:
    """Parse Content-Length in bytes; None where it is missing or invalid. Repeated equal values count once."""
    values = {part.strip() for part in headers.get("content-length", "").split(",")}
    value = values.pop() if len(values) == 1 else ""
    return int(value) if value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS else None


def parse_retry_after(headers: Mapping[str, str], now: datetime) -> float:
    """Parse Retry-After (seconds or any HTTP date) to seconds; 0 where it is missing or invalid.

    A date is compared with the response's Date header, else with ``now``.
    """
    value = headers.get("retry-after")
    match = _SECONDS.match(value or "")
    if match is not None:
        return min(float(match.group(1)), _MAX_WAIT_SECONDS)
    until = parse_date(value)
    if until is None:
        return 0.0
    return max(0.0, (until - (parse_date(headers.get("date")) or now)).total_seconds())


def parse_date(value: str | None) -> datetime | None:
    """Parse an HTTP date (IMF-fixdate, RFC 850 or asctime) to UTC; None where it is missing or invalid."""
    try:
        moment = parsedate_to_datetime(" ".join((value or "").split()))
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def parse_boundary(content_type: str | None) -> bytes | None:
    """Parse the boundary of a ``multipart/byteranges`` content type; None for other types."""
    text = content_type or ""
    if text.strip().lower().partition(";")[0].strip() != "multipart/byteranges":
        return None
    match = _BOUNDARY.search(text)
    return (match.group(1) or match.group(2)).encode("latin-1", "ignore") if match is not None else b""


def parse_single_part(body: bytes, boundary: bytes) -> tuple[ContentRange, bytes] | None:
    """Parse a multipart body with exactly one part to its range and content; None otherwise."""
    parts = [part for part in body.split(b"--" + boundary)[1:] if not part.startswith(b"--")]
    if len(parts) != 1:
        return None
    head, blank, content = parts[0].partition(b"\r\n\r\n")
    if not blank:
        return None
    for line in head.decode("latin-1").splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-range":
            found = parse_content_range(value)
            return (found, content.removesuffix(b"\r\n")) if found is not None else None
    return None


def parse_charset(content_type: str) -> str:
    """Parse the ``charset`` of a content type; empty where it is missing."""
    message = Message()
    message["content-type"] = content_type
    found = message.get_param("charset")
    return found.strip() if isinstance(found, str) else ""


def is_identity_encoding(encoding: str) -> bool:
    """Whether a content encoding is identity: the body is not compressed."""
    return encoding.strip().lower() in _IDENTITY


def decompress(chunks: Iterator[bytes], encoding: str, max_bytes: int) -> Iterator[bytes] | None:
    """Decompress a body in pieces of bounded size; None where the encoding is not supported.

    Parameters
    ----------
    chunks
        Body as received.
    encoding
        Value of ``Content-Encoding``.
    max_bytes
        Maximum bytes per piece.
    """
    name = encoding.strip().lower()
    return _inflated(chunks, max_bytes) if name in _DEFLATED else None


def _inflated(chunks: Iterator[bytes], max_bytes: int) -> Iterator[bytes]:
    """Yield the decompressed pieces; raises zlib.error where the data is invalid or ends early."""
    reader = zlib.decompressobj(_GZIP_OR_ZLIB)
    for chunk in chunks:
        yield reader.decompress(chunk, max_bytes)
        while reader.unconsumed_tail:
            yield reader.decompress(reader.unconsumed_tail, max_bytes)
    while not reader.eof and (rest := reader.decompress(b"", max_bytes)):
        yield rest
    if not reader.eof:
        raise zlib.error("it ends too early")
