"""Fetch event feeds over HTTP and record their events in the ledger; a failing feed does not stop the others."""

from __future__ import annotations

import logging
import re
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
from sqlalchemy import Engine

from segwatch.db.errors import describe_error, is_connection_lost, is_schema_outdated
from segwatch.flows.config.settings.events import EventSettings
from segwatch.flows.events.ingest import record_events
from segwatch.geo.errors import InvalidEvent, UnsafeHref
from segwatch.geo.identity import DEFAULT_PORTS
from segwatch.geo.sources.http import egress, faults, headers
from segwatch.geo.sources.http.deadline import call_within

_log = logging.getLogger(__name__)
#: Ten times the largest public feeds.
MAX_BYTES = 16 * 2**20
_CHUNK_BYTES = 2**20
#: 203: changed by a proxy on the way.
_COMPLETE = frozenset({200, 203})
_REDIRECTS = {301: " for good", 302: "", 303: "", 307: "", 308: " for good"}
#: Query parameters that identify the client, not the feed; they change while the feed stays the same.
_SECRET = re.compile(
    r"(?:\A|[_-])(?:api|app|access|subscription)?[_-]?key\Z|token|secret|passw|auth|signature|\Asig\Z|credential|session",
    re.IGNORECASE,
)


@dataclass(slots=True)
class PolledFeed:
    """Result of polling one feed."""

    feed: str
    """Host and path; the query may hold a key."""
    reason: str | None = None
    """Why the feed could not be read; nothing was recorded then."""
    recorded: dict[str, int] = field(default_factory=dict)
    """Number of events by what recording them did: new, revised, unchanged, ..."""
    refused: list[dict[str, str]] = field(default_factory=list)
    """Entries that could not be read, each with the reason."""


def poll(engine: Engine, settings: EventSettings) -> list[PolledFeed]:
    """Read the configured feeds into the ledger; a failing feed is reported in its result."""
    results = []
    for url in settings.feeds:
        one = PolledFeed(_name(url))
        try:
            document = fetch_document(url, settings)
            one.recorded, one.refused = record_events(
                engine, document.content, name_source(url), document.charset
            )
            _log.info("feed %s: %s, %d refused", one.feed, one.recorded, len(one.refused))
        except Exception as error:
            if is_connection_lost(error) or is_schema_outdated(error):
                raise  # the database is down: the other feeds would fail, too
            one.reason = describe_failure(error) or describe_error(error)
            _log.warning("feed %s: %s", one.feed, one.reason)
        results.append(one)
    return results


def describe_failure(error: Exception) -> str:
    """Describe why a feed could not be read, without quoting its response; empty for other errors."""
    if isinstance(error, InvalidEvent | UnsafeHref):
        return str(error)
    return faults.describe(error) if isinstance(error, httpx.HTTPError | httpx.InvalidURL) else ""


@dataclass(frozen=True, slots=True)
class FetchedDocument:
    """Content of a URL."""

    content: bytes
    charset: str = ""
    """Character set of the header ``content-type``; empty if it has none."""


def fetch_document(url: str, settings: EventSettings) -> FetchedDocument:
    """Fetch a document, without following redirects.

    Raises
    ------
    segwatch.geo.errors.InvalidEvent
        The document has moved, is gone, has an unknown compression, is larger than :data:`MAX_BYTES` uncompressed, or
        takes longer than the timeout as a whole.
    httpx.HTTPError, httpx.InvalidURL
        The request failed.
    """
    seconds = settings.feed_timeout_seconds
    # leaving the block closes the connection, which ends the reading thread after a timeout
    with egress.create_client(timeout=seconds, follow_redirects=False) as client:
        try:
            return call_within(seconds, lambda: _read(client, url))
        except TimeoutError as error:
            raise InvalidEvent(
                f"it took more than {seconds:g} s; see SEGWATCH_FEED_TIMEOUT_SECONDS"
            ) from error


def _read(client: httpx.Client, url: str) -> FetchedDocument:
    with client.stream("GET", url, headers={"accept-encoding": "identity"}) as response:
        _check(response)
        encoding = response.headers.get("content-encoding", "")
        chunks = response.iter_raw()
        pieces = (
            chunks
            if headers.is_identity_encoding(encoding)
            else headers.decompress(chunks, encoding, _CHUNK_BYTES)
        )
        if pieces is None:
            raise InvalidEvent("its compression is not supported")
        body = bytearray()
        try:
            for piece in pieces:
                body += piece
                if len(body) > MAX_BYTES:
                    raise InvalidEvent(f"it is larger than {MAX_BYTES // 2**20} MiB")
        except zlib.error as error:
            raise InvalidEvent("it is not compressed as its header says") from error
        return FetchedDocument(bytes(body), headers.parse_charset(response.headers.get("content-type", "")))


def _check(response: httpx.Response) -> None:
    """Raise InvalidEvent unless the response is a complete document."""
    code = response.status_code
    if code in _COMPLETE:
        return
    status = f"HTTP {code}"
    wait = headers.parse_retry_after(response.headers, datetime.now(UTC))
    if code in _REDIRECTS:
        raise InvalidEvent(
            f"{status}: it has moved{_REDIRECTS[code]} to {_name(response.headers.get('location', ''))}; "
            "put the new URL into SEGWATCH_FEEDS"
        )
    if code == httpx.codes.GONE:
        raise InvalidEvent(f"{status}: it is gone; take it out of SEGWATCH_FEEDS")
    if response.is_success:
        raise InvalidEvent(f"{status}: it sent no document, or only a part")
    raise InvalidEvent(f"{status}; it asks to wait {wait:.0f} s" if wait else status)


def name_source(url: str) -> str:
    """Name the scope of a feed's ids: host, port, path, and a hash of the query without secrets."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return _name(url)
    parameters = sorted(
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if not _SECRET.search(name)
    )
    is_default = port is None or port == DEFAULT_PORTS.get(parts.scheme)
    query = f"?{sha256(urlencode(parameters).encode()).hexdigest()[:8]}" if parameters else ""
    return f"{parts.hostname or ''}{'' if is_default else f':{port}'}{parts.path}{query}"


def _name(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an invalid URL"
    return f"{parts.hostname or ''}{parts.path}"
