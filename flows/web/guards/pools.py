"""Pools: limit how many tasks of one kind run and wait, and for how long; no client gets all places."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass

from segwatch.flows.web.guards.rate_limits import Rate, RateLimiter


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Limits of one pool. A single client (or host) gets at most three quarters of its places."""

    running: int
    waiting: int
    wait_seconds: float
    """Maximum wait for a place."""
    seconds: float
    """Maximum time from getting a place to the complete response."""
    work: Rate | None = None
    """Seconds of work that one client may use; None = unlimited."""


class PoolFull(Exception):
    """No place became free in time."""


class Pool:
    """Places for requests, given in order of arrival, except that one client never gets all of them."""

    def __init__(self, bounds: PoolLimits) -> None:
        self.limits = bounds
        self.work = None if bounds.work is None else RateLimiter(bounds.work)
        self._running: Counter[str] = Counter()
        self._waiting: deque[tuple[str, asyncio.Future[None]]] = deque()
        self._max_running = max(1, bounds.running * 3 // 4)
        self._max_waiting = max(1, bounds.waiting * 3 // 4)

    async def enter(self, client: str) -> None:
        """Wait for a place; call :meth:`leave` afterwards.

        Raises
        ------
        PoolFull
            Too many requests wait already, or no place became free in time.
        """
        if self._may_run(client):
            self._running[client] += 1
            return
        waiting = sum(1 for one, _ in self._waiting if one == client)
        if len(self._waiting) >= self.limits.waiting or waiting >= self._max_waiting:
            raise PoolFull
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((client, place))
        try:
            async with asyncio.timeout(self.limits.wait_seconds):
                await place
        except (TimeoutError, asyncio.CancelledError) as error:
            if place.done() and not place.cancelled():
                self.leave(client)  # the place was assigned at the moment of the timeout
            else:
                self._waiting.remove((client, place))
            if isinstance(error, TimeoutError):
                raise PoolFull from None
            raise

    def leave(self, client: str) -> None:
        """Release the place to the next request that may have it."""
        self._running[client] -= 1
        if self._running[client] <= 0:
            del self._running[client]
        for one, place in self._waiting:
            if not place.done() and self._may_run(one):
                self._waiting.remove((one, place))
                self._running[one] += 1
                place.set_result(None)
                return

    def _may_run(self, client: str) -> bool:
        return self._running.total() < self.limits.running and self._running[client] < self._max_running
