"""Limit how many requests of each kind run and wait, and for how long, so that no kind starves another.

| pool | requests |
| --- | --- |
| imagery | imagery tiles, read from hosts that may not respond |
| tiles | vector tiles of the map |
| features | OGC API: features and tiles of a view |
| heavy | OGC API with filters, sorting, long pages or deep offsets; downloads |
| api | JSON API, and alert feeds |
| writes | reviews, marks and events |
| pages | static files and everything else that needs no database |
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segwatch.flows.web.guards.finishing import finish
from segwatch.flows.web.guards.pools import Pool, PoolFull, PoolLimits
from segwatch.flows.web.guards.rate_limits import UNLIMITED, Rate, identify_client
from segwatch.flows.web.guards.refusals import refuse
from segwatch.flows.web.guards.sending import (
    ABORT,
    Budget,
    BufferedResponse,
    ResponseTooLarge,
    SlowReader,
    send_buffered,
)
from segwatch.flows.web.guards.site import local_path

#: A map asks for dozens of tiles at once, and on a loaded machine a tile may take a second. What waits for less than
#: 15 s is served late rather than refused, because a browser shows a refused tile as a hole.
#: The pools that use the web framework's 40 shared threads (api, writes, pages) have fewer places than that together.
POOLS: Mapping[str, PoolLimits] = {
    "imagery": PoolLimits(running=24, waiting=96, wait_seconds=15, seconds=45),
    "tiles": PoolLimits(running=16, waiting=128, wait_seconds=15, seconds=20),
    "features": PoolLimits(running=4, waiting=32, wait_seconds=15, seconds=20),
    "heavy": PoolLimits(
        running=2, waiting=8, wait_seconds=5, seconds=20, work=Rate(per_second=0.5, burst=60)
    ),
    "api": PoolLimits(running=8, waiting=64, wait_seconds=15, seconds=20),
    "writes": PoolLimits(running=12, waiting=24, wait_seconds=10, seconds=60),
    "pages": PoolLimits(running=16, waiting=128, wait_seconds=15, seconds=20),
}
#: Size of tipg's connection pool: one connection for every request that may run.
OGC_CONNECTIONS = POOLS["features"].running + POOLS["heavy"].running
_OGC = "/ogc/collections/"
_HEAVY = frozenset({"filter", "filter-lang", "sortby", "ids", "simplify"})
_MAX_LIGHT = {"limit": 1000, "offset": 10_000}


def choose_pool(scope: Scope) -> str:
    """Choose the pool of a request."""
    path = local_path(scope)
    if scope["method"] not in {"GET", "HEAD", "OPTIONS"}:
        return "writes"
    if path.startswith("/api/watches/") and path.endswith("/download"):
        return "heavy"
    for prefix, name in (
        ("/imagery/", "imagery"),
        ("/api/tiles/", "tiles"),
        ("/api/compare/", "tiles"),
        ("/api/", "api"),
        ("/feeds/", "api"),
    ):
        if path.startswith(prefix):
            return name
    if path.startswith(_OGC) and ("/items" in path or "/tiles/" in path):
        return "heavy" if _is_heavy(scope) else "features"
    return "pages"


def _is_heavy(scope: Scope) -> bool:
    for name, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
        if name.lower() in _HEAVY:
            return True
        limit = _MAX_LIGHT.get(name)
        # values that are not numbers are refused later
        if (
            limit is not None
            and value.isascii()
            and value.isdigit()
            and (len(value) > 9 or int(value) > limit)
        ):
            return True
    return False


class RequestPools:
    """Middleware that runs each request in its pool and cancels it when its client disconnects.

    A response is complete before any of it is sent, so that a slow client occupies bytes of a budget, but neither a
    place in the pool nor a database connection.
    """

    def __init__(self, app: ASGIApp, bounds: Mapping[str, PoolLimits] = POOLS) -> None:
        self._app = app
        self._pools = {name: Pool(one) for name, one in bounds.items()}
        self._budget = Budget()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request in its pool; health checks bypass the pools."""
        if scope["type"] != "http" or scope["path"] in UNLIMITED:
            await self._app(scope, receive, send)
            return
        pool, client = self._pools[choose_pool(scope)], identify_client(scope)
        path = local_path(scope)  # mounted applications change the scope
        owed = 0.0 if pool.work is None else pool.work.wait_seconds(client)
        if owed > 0:
            words = "your address has used up its share of long queries; request less, or try again later"
            await refuse(scope, send, 429, words, retry_after=math.ceil(owed))
            return
        with self._budget.share() as share:
            response = BufferedResponse(share)
            try:
                refused = await self._respond(pool, client, scope, receive, response)
            except Exception:  # the server logs it; the error response is sent all the same
                if response.start is not None:
                    await _deliver(response, scope, send)
                raise
            if refused is None:
                try:
                    await finish(response, scope, path)
                except ResponseTooLarge as error:
                    await refuse(scope, send, error.status, str(error), retry_after=5)
                    return
                await _deliver(response, scope, send)
            elif refused.status:
                await refuse(scope, send, refused.status, refused.words, retry_after=refused.retry_after)

    async def _respond(
        self, pool: Pool, client: str, scope: Scope, receive: Receive, response: BufferedResponse
    ) -> _Refused | None:
        caller = _Caller(scope, receive)
        work = asyncio.create_task(self._run(pool, client, scope, caller, response))
        gone = asyncio.create_task(caller.gone())
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                return _GONE
            return await work
        finally:
            gone.cancel()
            work.cancel()

    async def _run(
        self, pool: Pool, client: str, scope: Scope, caller: _Caller, response: BufferedResponse
    ) -> _Refused | None:
        try:
            await pool.enter(client)
        except PoolFull:
            return _POOL_FULL
        began = time.monotonic()
        task = asyncio.create_task(self._app_task(scope, caller, response))

        def left(ended: asyncio.Task[None]) -> None:
            # not earlier, because work on a thread continues after cancellation
            pool.leave(client)
            if not ended.cancelled():
                ended.exception()  # mark as retrieved: nobody else does after the client has gone
            if pool.work is not None:
                pool.work.take(client, time.monotonic() - began)

        task.add_done_callback(left)
        try:
            done, _ = await asyncio.wait({task}, timeout=pool.limits.seconds)
            if not done:
                return _TOO_LATE
            task.result()
        except ResponseTooLarge as error:
            return _Refused(error.status, str(error), None)
        finally:
            task.cancel()
        return None

    async def _app_task(self, scope: Scope, caller: _Caller, response: BufferedResponse) -> None:
        await self._app(scope, caller.receive, response.send)


@dataclass(frozen=True, slots=True)
class _Refused:
    status: int
    """0: the client has gone, so nothing is sent."""
    words: str
    retry_after: int | None = 5


_GONE = _Refused(0, "the client has gone")
_POOL_FULL = _Refused(503, "the server is busy with other requests of this kind; try again later")
_TOO_LATE = _Refused(504, "this took too long; request less, or try again later")


async def _deliver(response: BufferedResponse, scope: Scope, send: Send) -> None:
    try:
        await send_buffered(response, send)
    except SlowReader:
        abort = scope.get(ABORT)
        if abort is None:
            raise
        abort()
        await asyncio.sleep(0)  # let the server notice that the connection is closed


class _Caller:
    """The client of a request: passes its body to the application and notices when it disconnects."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self._disconnected = asyncio.Event()
        # for other methods, the application reads the body itself
        self._bodiless = scope["method"] in {"GET", "HEAD", "OPTIONS"}
        self._sent_empty = False

    async def gone(self) -> None:
        """Return when the client has disconnected."""
        while self._bodiless and not self._disconnected.is_set():
            if (await self._receive())["type"] == "http.disconnect":
                self._disconnected.set()
        await self._disconnected.wait()

    async def receive(self) -> Message:
        """Receive a message for the application; methods without a body get an empty one."""
        if self._bodiless:
            if not self._sent_empty:
                self._sent_empty = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await self._disconnected.wait()
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._disconnected.set()
        return message
