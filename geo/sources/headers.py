"""Headers of HTTP answers, in every form that RFC 9110 allows."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime

#: Names that the registry has, and the older ones of RFC 9110 for them.
_PLAIN = frozenset({"", "identity"})
_DEFLATED = frozenset({"gzip", "x-gzip", "deflate"})
#: gzip or zlib, whichever the data begins with.
_EITHER = 32 + zlib.MAX_WBITS


def retry_after(headers: Mapping[str, str], now: datetime) -> float:
    """Seconds that an answer asks to wait: a number, or a date in one of the three forms; 0 where it says nothing.

    A date is compared with the server's own clock where it tells that.
    """
    said = headers.get("retry-after", "").strip()
    if said.isascii() and said.isdigit():
        return float(said)
    until = http_date(said)
    if until is None:
        return 0.0
    return max(0.0, (until - (http_date(headers.get("date", "")) or now)).total_seconds())


def http_date(said: str) -> datetime | None:
    """A date of HTTP, which is in GMT; None where it is none."""
    try:
        found = parsedate_to_datetime(said)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


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
