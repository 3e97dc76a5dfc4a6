"""Header fields of HTTP as servers and clients really write them. Pure.

Every legal form is read (RFC 9110), and the common illegal ones where their meaning is plain. What cannot be read is
None, never an exception: a header is the server's text.
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
#: No server means more; a longer number counts as this.
_MAX_WAIT_SECONDS = 366 * 86400.0
_BOUNDARY = re.compile(r'boundary\s*=\s*(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
#: Names that the registry has, and the older ones of RFC 9110 for them.
_PLAIN = frozenset({"", "identity"})
_DEFLATED = frozenset({"gzip", "x-gzip", "deflate"})
#: gzip or zlib, whichever the data begins with.
_EITHER = 32 + zlib.MAX_WBITS
#: Servers that compress on the fly mark the tag of what they would have sent compressed.
_ENCODING_MARK = re.compile(r"(?:--?|;|:)(?:gzip|br|deflate|zstd|df)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ContentRange:
    """What a Content-Range says; all in bytes."""

    first: int | None
    last: int | None
    """Inclusive; both None where no range was satisfied (``bytes */SIZE``)."""
    size: int | None
    """Length of the whole file; None where the server does not say (``*``)."""


@dataclass(frozen=True, slots=True)
class Validator:
    """What tells one version of a file from another."""

    tag: str | None
    """Opaque part of the ETag, so that weak and strong forms of one tag are equal."""
    modified: datetime | None

    def contradicts(self, other: Validator) -> bool:
        """Whether the two belong to different versions; a missing value contradicts nothing.

        Last-Modified decides only where a tag is missing: behind a load balancer copies of one file differ in it.
        """
        if self.tag is not None and other.tag is not None:
            return self.tag != other.tag
        if self.modified is not None and other.modified is not None:
            return self.modified != other.modified
        return False

    def merge(self, other: Validator) -> Validator:
        """This one, completed by what the other knows more."""
        return Validator(self.tag or other.tag, self.modified or other.modified)


def parse_validator(headers: Mapping[str, str]) -> Validator:
    """ETag and Last-Modified of an answer."""
    return Validator(parse_etag(headers.get("etag")), parse_date(headers.get("last-modified")))


def parse_etag(value: str | None) -> str | None:
    """The opaque tag without weakness mark, quotes and encoding suffix; None where there is none."""
    text = (value or "").strip()
    if text[:2].lower() == "w/":
        text = text[2:].strip()
    text = _ENCODING_MARK.sub("", text.strip('"'))
    return text or None


def parse_content_range(value: str | None) -> ContentRange | None:
    """A Content-Range in bytes; None where it is missing or invalid."""
    match = _CONTENT_RANGE.match(value or "")
    if match is None:
        return None
    first, last, size = (int(part) if part and part != "*" else None for part in match.groups())
    if first is not None and last is not None and (last < first or (size is not None and last >= size)):
        return None
    return ContentRange(first, last, size)


def parse_length(headers: Mapping[str, str]) -> int | None:
    """Content-Length in bytes; None where it is missing or invalid. Repeated equal values are one."""
    values = {part.strip() for part in headers.get("content-length", "").split(",")}
    value = values.pop() if len(values) == 1 else ""
    return int(value) if value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS else None


def parse_retry_after(headers: Mapping[str, str], now: datetime) -> float:
    """Seconds that an answer asks to wait, from seconds or any form of HTTP date; 0 where it says nothing.

    A date is compared with the server's own clock where the answer tells it.
    """
    said = headers.get("retry-after")
    match = _SECONDS.match(said or "")
    if match is not None:
        return min(float(match.group(1)), _MAX_WAIT_SECONDS)
    until = parse_date(said)
    if until is None:
        return 0.0
    return max(0.0, (until - (parse_date(headers.get("date")) or now)).total_seconds())


def parse_date(value: str | None) -> datetime | None:
    """An HTTP date (IMF-fixdate, RFC 850 or asctime) in UTC; None where it is none."""
    try:
        moment = parsedate_to_datetime(" ".join((value or "").split()))
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def parse_boundary(content_type: str | None) -> bytes | None:
    """Boundary of a ``multipart/byteranges`` answer; None for every other type."""
    text = content_type or ""
    if text.strip().lower().partition(";")[0].strip() != "multipart/byteranges":
        return None
    match = _BOUNDARY.search(text)
    return (match.group(1) or match.group(2)).encode("latin-1", "ignore") if match is not None else b""


def single_part(body: bytes, boundary: bytes) -> tuple[ContentRange, bytes] | None:
    """The only part of a multipart body and its range; None where there is not exactly one."""
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


def charset(content_type: str) -> str:
    """The ``charset`` of a content type; empty where it names none."""
    message = Message()
    message["content-type"] = content_type
    found = message.get_param("charset")
    return found.strip() if isinstance(found, str) else ""


def is_plain(encoding: str) -> bool:
    """Whether a content encoding leaves the body as it is."""
    return encoding.strip().lower() in _PLAIN


def inflated(chunks: Iterator[bytes], encoding: str, most: int) -> Iterator[bytes] | None:
    """A body without its compression, in pieces of a bounded size; None where the encoding is not known.

    Args:
        chunks: as received.
        encoding: the header ``content-encoding``.
        most: bytes that one piece may have.
    """
    name = encoding.strip().lower()
    return _inflated(chunks, most) if name in _DEFLATED else None


def _inflated(chunks: Iterator[bytes], most: int) -> Iterator[bytes]:
    """Raises zlib.error where it is no such data."""
    reader = zlib.decompressobj(_EITHER)
    for chunk in chunks:
        yield reader.decompress(chunk, most)
        while reader.unconsumed_tail:
            yield reader.decompress(reader.unconsumed_tail, most)
    while not reader.eof and (rest := reader.decompress(b"", most)):
        yield rest
    if not reader.eof:
        raise zlib.error("it ends too early")
