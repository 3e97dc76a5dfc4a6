"""Imagery tiles within bounds: so many at a time, fewer of one host, each within a time."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fastapi import HTTPException

from segwatch.flows.web.guards.pools import Bounds, Full, Pool
from segwatch.flows.web.pixels.circuits import Circuits
from segwatch.flows.web.pixels.decoding import Limits
from segwatch.geo.errors import ReadFailed, UnfitPixels

T = TypeVar("T")

#: Tiles that are rendered at a time, fewer of one host: another host's tiles go on when one does not answer.
#: No more than there are processes that decode.
RENDERS = Bounds(running=Limits().processes, waiting=64, wait_seconds=15, seconds=Limits().seconds)
#: A file that is damaged or not there is told sooner than this; what fails later failed by not answering.
_SLOW_SECONDS = 2.5
_RETRY_SECONDS = 5


class Renders:
    """Runs renderings on threads of their own."""

    def __init__(self, bounds: Bounds = RENDERS) -> None:
        self._threads = ThreadPoolExecutor(bounds.running, thread_name_prefix="imagery")
        self._pool = Pool(bounds)
        self._circuits = Circuits()

    async def run(self, hosts: Collection[str], render: Callable[[], T]) -> T:
        """What ``render`` gives, which reads from these hosts.

        Raises
        ------
        fastapi.HTTPException
            503: a host does not answer, or too many tiles are being rendered.
        segwatch.geo.errors.GeoError
            What ``render`` raises.
        """
        self._check(hosts)
        together = ",".join(sorted(hosts))
        try:
            await self._pool.enter(together)
        except Full:
            raise _unavailable("too many tiles of scenes are being rendered", _RETRY_SECONDS) from None
        work: asyncio.Future[T] | None = None
        try:
            self._check(hosts)
            self._circuits.trying(hosts)
            began = time.monotonic()
            work = asyncio.get_running_loop().run_in_executor(self._threads, render)
            # a thread keeps its place until it is done, whether or not anybody waits for it
            work.add_done_callback(lambda done: self._ended(hosts, done, time.monotonic() - began))
        finally:
            if work is None:
                self._pool.leave(together)
        return await asyncio.shield(work)

    def _check(self, hosts: Collection[str]) -> None:
        seconds = self._circuits.open_seconds(hosts)
        if seconds > 0:
            raise _unavailable("the host of this scene's imagery does not answer", math.ceil(seconds))

    def _ended(self, hosts: Collection[str], work: asyncio.Future[T], seconds: float) -> None:
        self._pool.leave(",".join(sorted(hosts)))
        error = None if work.cancelled() else work.exception()
        if error is None:
            self._circuits.answered(hosts)
        elif isinstance(error, ReadFailed) and not isinstance(error, UnfitPixels) and seconds > _SLOW_SECONDS:
            self._circuits.failed(hosts)


def _unavailable(words: str, retry_after: int) -> HTTPException:
    return HTTPException(503, f"{words}; ask again later", {"Retry-After": str(retry_after)})
