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

from segwatch.db.errors import connection_lost, schema_lacking, words
from segwatch.flows.config.settings.events import EventSettings
from segwatch.flows.events.ingest import keep
from segwatch.geo.errors import EventRefused, UnsafeHref
from segwatch.geo.sources.http import egress, faults, headers
from segwatch.geo.sources.http.deadline import within

_log = logging.getLogger(__name__)
#: The largest public feeds are a tenth of it.
MOST_BYTES = 16 * 2**20
_PIECE = 2**20
#: 203: passed on by a proxy that changed something.
_WHOLE = frozenset({200, 203})
_MOVED = {301: " for good", 302: "", 303: "", 307: "", 308: " for good"}
_USUAL_PORTS = {"http": 80, "https": 443}
#: Parameters that say who asks, not what for; they change while the feed stays the same.
_SECRET = re.compile(
    r"(?:\A|[_-])(?:api|app|access|subscription)?[_-]?key\Z|token|secret|passw|auth|signature|\Asig\Z|credential|session",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Polled:
    """What one feed gave."""

    feed: str
    """Host and path; a query may hold a key."""
    reason: str | None = None
    """Why it could not be read; nothing of it was kept then."""
    recorded: dict[str, int] = field(default_factory=dict)
    """Events by what they were to the ledger."""
    refused: list[dict[str, str]] = field(default_factory=list)
    """Entries that are no events, with the reason."""


def poll(engine: Engine, settings: EventSettings) -> list[Polled]:
    """Read the feeds of the settings into the ledger; what goes wrong with one is its reason, and the others follow."""
    done = []
    for url in settings.feeds:
        one = Polled(_name(url))
        try:
            document = fetch(url, settings)
            one.recorded, one.refused = keep(engine, document.content, source_name(url), document.charset)
            _log.info("feed %s: %s, %d refused", one.feed, one.recorded, len(one.refused))
        except Exception as error:
            if connection_lost(error) or schema_lacking(error):
                raise  # no other feed would fare better
            one.reason = told(error) or words(error)
            _log.warning("feed %s: %s", one.feed, one.reason)
        done.append(one)
    return done


def told(error: Exception) -> str:
    """Why a feed could not be read, without a byte of what was answered; empty for errors that are not of the feed."""
    if isinstance(error, EventRefused | UnsafeHref):
        return str(error)
    return faults.describe(error) if isinstance(error, httpx.HTTPError | httpx.InvalidURL) else ""


@dataclass(frozen=True, slots=True)
class Document:
    """What an address gave."""

    content: bytes
    charset: str = ""
    """As the header ``content-type`` names it."""


def fetch(url: str, settings: EventSettings) -> Document:
    """A document; of a compressed one, the size that it unfolds to is what is counted.

    Raises
    ------
    segwatch.geo.errors.EventRefused
        It has moved, is gone, compressed in a way that is not known, larger than :data:`MOST_BYTES`, or takes longer
        than the settings allow, all told.
    httpx.HTTPError, httpx.InvalidURL
        It cannot be read.
    """
    seconds = settings.feed_timeout_seconds
    # left too early, the block closes the connection that the reading waits for
    with egress.client(timeout=seconds, follow_redirects=False) as client:
        try:
            return within(seconds, lambda: _read(client, url))
        except TimeoutError as error:
            raise EventRefused(
                f"it took more than {seconds:g} s; see SEGWATCH_FEED_TIMEOUT_SECONDS"
            ) from error


def _read(client: httpx.Client, url: str) -> Document:
    with client.stream("GET", url, headers={"accept-encoding": "identity"}) as response:
        _check(response)
        encoding = response.headers.get("content-encoding", "")
        chunks = response.iter_raw()
        pieces = chunks if headers.is_plain(encoding) else headers.inflated(chunks, encoding, _PIECE)
        if pieces is None:
            raise EventRefused("it is compressed in a way that it was not asked for")
        body = bytearray()
        try:
            for piece in pieces:
                body += piece
                if len(body) > MOST_BYTES:
                    raise EventRefused(f"it is larger than {MOST_BYTES // 2**20} MiB")
        except zlib.error as error:
            raise EventRefused("it is not compressed as it says") from error
        return Document(bytes(body), headers.charset(response.headers.get("content-type", "")))


def _check(response: httpx.Response) -> None:
    """Whether an answer has the whole document."""
    code = response.status_code
    if code in _WHOLE:
        return
    said = f"HTTP {code}"
    wait = headers.parse_retry_after(response.headers, datetime.now(UTC))
    if code in _MOVED:
        raise EventRefused(
            f"{said}: it has moved{_MOVED[code]} to {_name(response.headers.get('location', ''))}; "
            "put the new address into SEGWATCH_FEEDS"
        )
    if code == httpx.codes.GONE:
        raise EventRefused(f"{said}: it is gone; take it out of SEGWATCH_FEEDS")
    if response.is_success:
        raise EventRefused(f"{said}: it sent no document, or a part of one")
    raise EventRefused(f"{said}; it asks to be left alone for {wait:.0f} s" if wait else said)


def source_name(url: str) -> str:
    """What a feed's own ids are unique in: host, port, path, and of the query what is no secret."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return _name(url)
    given = sorted(
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if not _SECRET.search(name)
    )
    usual = port is None or port == _USUAL_PORTS.get(parts.scheme)
    query = f"?{sha256(urlencode(given).encode()).hexdigest()[:8]}" if given else ""
    return f"{parts.hostname or ''}{'' if usual else f':{port}'}{parts.path}{query}"


def _name(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that is none"
    return f"{parts.hostname or ''}{parts.path}"
