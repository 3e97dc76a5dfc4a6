"""Places for work of one kind: so many run, so many wait, each for so long, and no one takes all of them."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass

from segwatch.flows.web.guards.rate_limits import Rate, RateLimiter


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one pool. A single client (or host) gets at most three quarters of the places in it."""

    running: int
    waiting: int
    wait_seconds: float
    """Longest wait for a place."""
    seconds: float
    """Longest time until the answer is there, from when the request has its place."""
    work: Rate | None = None
    """Seconds of work that one client may have done."""


class Full(Exception):
    """No place became free in time."""


class Pool:
    """Places for requests; who waits longest comes first, but one client never gets all of them."""

    def __init__(self, bounds: Bounds) -> None:
        self.limits = bounds
        self.work = None if bounds.work is None else RateLimiter(bounds.work)
        self._running: Counter[str] = Counter()
        self._waiting: deque[tuple[str, asyncio.Future[None]]] = deque()
        self._most_running = max(1, bounds.running * 3 // 4)
        self._most_waiting = max(1, bounds.waiting * 3 // 4)

    async def enter(self, client: str) -> None:
        """Wait for a place; whoever has one must :meth:`leave`.

        Raises
        ------
        Full
            Too many wait already, or none became free in time.
        """
        if self._may_run(client):
            self._running[client] += 1
            return
        waiting = sum(1 for one, _ in self._waiting if one == client)
        if len(self._waiting) >= self.limits.waiting or waiting >= self._most_waiting:
            raise Full
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((client, place))
        try:
            async with asyncio.timeout(self.limits.wait_seconds):
                await place
        except (TimeoutError, asyncio.CancelledError) as error:
            if place.done() and not place.cancelled():
                self.leave(client)  # it became free at the same moment
            else:
                self._waiting.remove((client, place))
            if isinstance(error, TimeoutError):
                raise Full from None
            raise

    def leave(self, client: str) -> None:
        """Give the place to the next that may have it."""
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
        return self._running.total() < self.limits.running and self._running[client] < self._most_running
