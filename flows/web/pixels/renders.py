"""Limit the rendering of imagery tiles: how many at a time, in total and per host, and for how long."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fastapi import HTTPException

from segwatch.flows.web.guards.pools import Pool, PoolFull, PoolLimits
from segwatch.flows.web.pixels.circuits import HostCircuits
from segwatch.flows.web.pixels.decoding import Limits
from segwatch.geo.errors import ReadFailed, UnfitPixels

T = TypeVar("T")

#: Tiles that are rendered at a time, one for each decoder process; fewer for one host, so that tiles of other hosts go
#: on if it does not respond.
RENDER_LIMITS = PoolLimits(running=Limits().processes, waiting=64, wait_seconds=15, seconds=Limits().seconds)
#: Failures that took longer are blamed on the host, because damaged and missing files fail sooner.
_SLOW_SECONDS = 2.5
_RETRY_SECONDS = 5


class RenderPool:
    """Runs renderings on threads of its own, within limits."""

    def __init__(self, bounds: PoolLimits = RENDER_LIMITS) -> None:
        self._threads = ThreadPoolExecutor(bounds.running, thread_name_prefix="imagery")
        self._pool = Pool(bounds)
        self._circuits = HostCircuits()

    async def run(self, hosts: Collection[str], render: Callable[[], T]) -> T:
        """Run ``render``, which reads from the hosts, and return its result.

        Raises
        ------
        fastapi.HTTPException
            503 if a host does not respond, or too many tiles are being rendered.
        segwatch.geo.errors.GeoError
            From ``render``.
        """
        self._check(hosts)
        hosts_key = ",".join(sorted(hosts))
        try:
            await self._pool.enter(hosts_key)
        except PoolFull:
            raise _make_unavailable("too many imagery tiles are being rendered", _RETRY_SECONDS) from None
        work: asyncio.Future[T] | None = None
        try:
            self._check(hosts)
            self._circuits.start_probe(hosts)
            began = time.monotonic()
            work = asyncio.get_running_loop().run_in_executor(self._threads, render)
            # a thread occupies its place until it is done, even if nobody waits for the result any more
            work.add_done_callback(lambda done: self._finish(hosts, done, time.monotonic() - began))
        finally:
            if work is None:
                self._pool.leave(hosts_key)
        return await asyncio.shield(work)

    def _check(self, hosts: Collection[str]) -> None:
        seconds = self._circuits.open_seconds(hosts)
        if seconds > 0:
            raise _make_unavailable("the host of this scene's imagery does not respond", math.ceil(seconds))

    def _finish(self, hosts: Collection[str], work: asyncio.Future[T], seconds: float) -> None:
        self._pool.leave(",".join(sorted(hosts)))
        error = None if work.cancelled() else work.exception()
        if error is None:
            self._circuits.record_success(hosts)
        elif isinstance(error, ReadFailed) and not isinstance(error, UnfitPixels) and seconds > _SLOW_SECONDS:
            self._circuits.record_failure(hosts)


def _make_unavailable(words: str, retry_after: int) -> HTTPException:
    return HTTPException(503, f"{words}; try again later", {"Retry-After": str(retry_after)})
