"""poll_feeds: read the event feeds into the ledger. A feed that fails says why; the others go on."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
from prefect import flow
from sqlalchemy import Engine

from segwatch.db.errors import connection_lost, schema_lacking, words
from segwatch.flows.assemble import worker_engine
from segwatch.flows.errors import FeedError
from segwatch.flows.happenings import keep
from segwatch.flows.settings import FlowSettings, load_settings
from segwatch.geo.errors import EventRefused
from segwatch.geo.sources.deadline import within

_log = logging.getLogger(__name__)
#: The largest public feeds are a tenth of it.
MOST_BYTES = 16 * 2**20


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


def poll(engine: Engine, settings: FlowSettings) -> list[Polled]:
    """Read the feeds of the settings into the ledger; what goes wrong with one is its reason, and the others follow."""
    done = []
    for url in settings.feeds:
        one = Polled(_name(url))
        try:
            one.recorded, one.refused = keep(engine, fetch(url, settings), one.feed)
            _log.info("feed %s: %s, %d refused", one.feed, one.recorded, len(one.refused))
        except Exception as error:
            if connection_lost(error) or schema_lacking(error):
                raise  # no other feed would fare better
            told = str(error) if isinstance(error, EventRefused | httpx.HTTPError | httpx.InvalidURL) else ""
            one.reason = told or words(error)
            _log.warning("feed %s: %s", one.feed, one.reason)
        done.append(one)
    return done


def fetch(url: str, settings: FlowSettings) -> bytes:
    """A document, as sent: uncompressed, so that its size is what is counted.

    Raises
    ------
    segwatch.geo.errors.EventRefused
        It has moved, is compressed, larger than :data:`MOST_BYTES`, or takes longer than the settings allow, all told.
    httpx.HTTPError, httpx.InvalidURL
        It cannot be read.
    """
    seconds = settings.feed_timeout_seconds
    # left too early, the block closes the connection that the reading waits for
    with httpx.Client(timeout=seconds, follow_redirects=False) as client:
        try:
            return within(seconds, lambda: _read(client, url))
        except TimeoutError as error:
            raise EventRefused(
                f"it took more than {seconds:g} s; see SEGWATCH_FEED_TIMEOUT_SECONDS"
            ) from error


def _read(client: httpx.Client, url: str) -> bytes:
    body = bytearray()
    with client.stream("GET", url, headers={"accept-encoding": "identity"}) as response:
        if response.is_redirect:
            raise EventRefused(
                f"HTTP {response.status_code}: it has moved to {_name(response.headers.get('location', ''))}; "
                "put the new address into SEGWATCH_FEEDS"
            )
        if response.status_code != httpx.codes.OK:
            raise EventRefused(f"HTTP {response.status_code}")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise EventRefused("it is compressed though it was not asked for that way")
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > MOST_BYTES:
                raise EventRefused(f"it is larger than {MOST_BYTES // 2**20} MiB")
    return bytes(body)


def _name(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that is none"
    return f"{parts.hostname or ''}{parts.path}"


@flow(name="poll-feeds", log_prints=False)
def poll_feeds() -> list[dict[str, Any]]:
    """Read every feed of the settings."""
    settings = load_settings()
    with worker_engine(settings) as engine:
        done = poll(engine, settings)
    if done and all(one.reason for one in done):
        raise FeedError("no feed could be read: " + "; ".join(f"{one.feed}: {one.reason}" for one in done))
    return [asdict(one) for one in done]
