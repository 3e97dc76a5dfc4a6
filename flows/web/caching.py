"""Cache of tiles with a limit of bytes, and a single computation for simultaneous requests of one tile."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fastapi import Request, Response

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

#: Memory of an entry besides its content, with the longest names in its key.
_ENTRY_BYTES = 3000


@dataclass(frozen=True, slots=True)
class MadeTile:
    """A finished tile."""

    content: bytes
    media_type: str
    etag: str
    version: str = ""
    """Version of the data that it shows; empty where that does not matter."""


class TileCache(Generic[K]):
    """Least-recently-used cache of tiles, up to ``max_bytes``."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[K, MadeTile] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        """Return the number of cached tiles."""
        return len(self._entries)

    def get(self, key: K) -> MadeTile | None:
        """Return the tile if it is cached."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: K, made: MadeTile) -> None:
        """Cache a tile and evict the least recently used ones."""
        if _size(made) > self._max_bytes:
            return
        before = self._entries.pop(key, None)
        self.bytes += _size(made) - (0 if before is None else _size(before))
        self._entries[key] = made
        while self.bytes > self._max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self.bytes -= _size(oldest)


def _size(made: MadeTile) -> int:
    return len(made.content) + _ENTRY_BYTES


@dataclass(slots=True)
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    waiting: int = 0


class SingleFlight(Generic[K, T]):
    """Shares running computations: requests for the same key wait for one result.

    A computation that nobody waits for any more is cancelled.
    """

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[T]] = {}

    async def join(self, key: K, compute: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of ``compute``, or of the running computation for the same key."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(compute()))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and self._flights.get(key) is flight:
                del self._flights[key]
                flight.task.cancel()


def respond_with_tile(request: Request, made: MadeTile, cache_control: str) -> Response:
    """Respond with the tile, or 304 if the client has it already."""
    if has_current_etag(request, made.etag):
        return respond_unchanged(made.etag, cache_control)
    headers = {"ETag": made.etag, "Cache-Control": cache_control}
    return Response(made.content, media_type=made.media_type, headers=headers)


def has_current_etag(request: Request, etag: str) -> bool:
    """Whether the client already has the content with this ETag."""
    return etag_matches(request.headers.get("if-none-match", ""), etag)


def etag_matches(given: str, etag: str) -> bool:
    """Whether the header ``If-None-Match`` names an ETag, by weak comparison (RFC 9110, section 13.1.2)."""
    named = {one.strip().removeprefix("W/") for one in given.split(",")}
    return given.strip() == "*" or etag.removeprefix("W/") in named


def respond_unchanged(etag: str, cache_control: str) -> Response:
    """Respond with 304 Not Modified."""
    return Response(status_code=304, headers={"ETag": etag, "Cache-Control": cache_control})
