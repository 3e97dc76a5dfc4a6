"""Tiles that were made already, in a bounded number of bytes; and one computation for all who ask at the same time."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fastapi import Request, Response

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

#: What an entry costs besides its bytes, with the longest names in its key.
_ENTRY_BYTES = 3000


@dataclass(frozen=True, slots=True)
class Made:
    """A tile."""

    content: bytes
    media_type: str
    etag: str
    snapshot: str = ""
    """Of the ledger that it shows."""

    @classmethod
    def of(cls, content: bytes, media_type: str, snapshot: str = "") -> Made:
        """With an ETag that tells its bytes from others."""
        return cls(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"', snapshot)


class TileCache(Generic[K]):
    """The tiles that were asked for last, up to ``max_bytes`` of them."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[K, Made] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        """Tiles that are kept."""
        return len(self._entries)

    def get(self, key: K) -> Made | None:
        """The tile, if it is kept."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: K, made: Made) -> None:
        """Keep a tile; those that were not asked for longest go."""
        if _size(made) > self._max_bytes:
            return
        before = self._entries.pop(key, None)
        self.bytes += _size(made) - (0 if before is None else _size(before))
        self._entries[key] = made
        while self.bytes > self._max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self.bytes -= _size(oldest)


def _size(made: Made) -> int:
    return len(made.content) + _ENTRY_BYTES


@dataclass(slots=True)
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    waiting: int = 0


class Flights(Generic[K, T]):
    """Computations that are under way; who asks for the same one meanwhile waits for it.

    One that nobody waits for any more is cancelled.
    """

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[T]] = {}

    async def join(self, key: K, compute: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What ``compute`` gives, to everybody who asks before it does."""
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


def answer(request: Request, made: Made, cache_control: str) -> Response:
    """The tile, or 304 for who has it already."""
    if is_known(request, made.etag):
        return unchanged(made.etag, cache_control)
    headers = {"ETag": made.etag, "Cache-Control": cache_control}
    return Response(made.content, media_type=made.media_type, headers=headers)


def is_known(request: Request, etag: str) -> bool:
    """Whether the client has what the ETag names."""
    given = request.headers.get("if-none-match", "").split(",")
    return etag in {one.strip().removeprefix("W/") for one in given}


def unchanged(etag: str, cache_control: str) -> Response:
    """304."""
    return Response(status_code=304, headers={"ETag": etag, "Cache-Control": cache_control})
