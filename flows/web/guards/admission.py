"""How much of each kind of request runs at a time, waits, and for how long, so that no kind starves another.

| pool | requests |
| --- | --- |
| imagery | tiles of scenes, which come from hosts that may not answer |
| tiles | vector tiles of the map |
| features | OGC API: features and tiles of a view |
| heavy | OGC API with filters, sorting, long pages or deep offsets |
| api | JSON and feeds of the map |
| writes | reviews, marks and events |
| pages | everything that needs no database |
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segwatch.flows.web.guards.pools import Bounds, Full, Pool
from segwatch.flows.web.guards.rate_limits import UNLIMITED, Rate, client_of
from segwatch.flows.web.guards.refusals import refuse
from segwatch.flows.web.guards.sending import ABORT, Budget, Buffered, SlowReader, TooLarge, deliver
from segwatch.flows.web.guards.site import path_of

#: Those that run on the shared threads of the web framework (api, writes, pages) are fewer than its 40 threads.
POOLS: Mapping[str, Bounds] = {
    "imagery": Bounds(running=24, waiting=96, wait_seconds=15, seconds=45),
    "tiles": Bounds(running=16, waiting=128, wait_seconds=5, seconds=20),
    "features": Bounds(running=4, waiting=32, wait_seconds=5, seconds=20),
    "heavy": Bounds(running=2, waiting=8, wait_seconds=5, seconds=20, work=Rate(per_second=0.5, burst=60)),
    "api": Bounds(running=8, waiting=64, wait_seconds=5, seconds=20),
    "writes": Bounds(running=12, waiting=24, wait_seconds=10, seconds=60),
    "pages": Bounds(running=16, waiting=128, wait_seconds=5, seconds=20),
}
#: Connections that tipg's own pool needs, so that nobody waits for one.
OGC_CONNECTIONS = POOLS["features"].running + POOLS["heavy"].running
_OGC = "/ogc/collections/"
_HEAVY = frozenset({"filter", "filter-lang", "sortby", "ids", "simplify"})
_MAX_LIGHT = {"limit": 1000, "offset": 10_000}


def pool_of(scope: Scope) -> str:
    """Name of the pool that a request belongs to."""
    path = path_of(scope)
    if scope["method"] not in {"GET", "HEAD", "OPTIONS"}:
        return "writes"
    for prefix, name in (
        ("/imagery/", "imagery"),
        ("/api/tiles/", "tiles"),
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
        most = _MAX_LIGHT.get(name)
        # what is not a number is refused later, at once
        if most is not None and value.isascii() and value.isdigit() and (len(value) > 9 or int(value) > most):
            return True
    return False


class RequestPools:
    """Runs each request in its pool, stops it when its client has gone, and sends its answer without its place.

    An answer is complete before any of it is sent: a slow reader holds bytes, of which there is a budget, and neither a
    place nor a database connection.
    """

    def __init__(self, app: ASGIApp, bounds: Mapping[str, Bounds] = POOLS) -> None:
        self._app = app
        self._pools = {name: Pool(one) for name, one in bounds.items()}
        self._budget = Budget()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The health of the server waits for nobody."""
        if scope["type"] != "http" or scope["path"] in UNLIMITED:
            await self._app(scope, receive, send)
            return
        pool, client = self._pools[pool_of(scope)], client_of(scope)
        owed = 0.0 if pool.work is None else pool.work.wait_seconds(client)
        if owed > 0:
            words = "your address has used its share of long queries; ask for less, or later"
            await refuse(scope, send, 429, words, retry_after=math.ceil(owed))
            return
        with self._budget.share() as share:
            answer = Buffered(share)
            try:
                refused = await self._answer(pool, client, scope, receive, answer)
            except Exception:  # what it answered is sent, and the error logged where all others are
                if answer.start is not None:
                    await _deliver(answer, scope, send)
                raise
            if refused is None:
                await _deliver(answer, scope, send)
            elif refused.status:
                await refuse(scope, send, refused.status, refused.words, retry_after=refused.retry_after)

    async def _answer(
        self, pool: Pool, client: str, scope: Scope, receive: Receive, answer: Buffered
    ) -> _Refused | None:
        caller = _Caller(scope, receive)
        work = asyncio.create_task(self._run(pool, client, scope, caller, answer))
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
        self, pool: Pool, client: str, scope: Scope, caller: _Caller, answer: Buffered
    ) -> _Refused | None:
        try:
            await pool.enter(client)
        except Full:
            return _FULL
        began = time.monotonic()
        task = asyncio.create_task(self._app_task(scope, caller, answer))

        def left(ended: asyncio.Task[None]) -> None:
            # only now: what runs on a thread goes on after it was cancelled
            pool.leave(client)
            if not ended.cancelled():
                ended.exception()  # of a request that nobody waits for any more, nobody else looks at it
            if pool.work is not None:
                pool.work.take(client, time.monotonic() - began)

        task.add_done_callback(left)
        try:
            done, _ = await asyncio.wait({task}, timeout=pool.limits.seconds)
            if not done:
                return _LATE
            task.result()
        except TooLarge as error:
            return _Refused(error.status, str(error), None)
        finally:
            task.cancel()
        return None

    async def _app_task(self, scope: Scope, caller: _Caller, answer: Buffered) -> None:
        await self._app(scope, caller.receive, answer.send)


@dataclass(frozen=True, slots=True)
class _Refused:
    status: int
    """0: there is nobody to tell."""
    words: str
    retry_after: int | None = 5


_GONE = _Refused(0, "the client has gone")
_FULL = _Refused(503, "the server is busy with other requests of this kind; ask again later")
_LATE = _Refused(504, "this took too long; ask for less, or later")


async def _deliver(answer: Buffered, scope: Scope, send: Send) -> None:
    try:
        await deliver(answer, send)
    except SlowReader:
        abort = scope.get(ABORT)
        if abort is None:
            raise
        abort()
        await asyncio.sleep(0)  # until the server knows that the connection is gone


class _Caller:
    """The other end of a request: its body for the application, and whether it has gone."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self._disconnected = asyncio.Event()
        # the application reads the bodies of others itself
        self._bodiless = scope["method"] in {"GET", "HEAD", "OPTIONS"}
        self._told = False

    async def gone(self) -> None:
        """Return when the client has gone."""
        while self._bodiless and not self._disconnected.is_set():
            if (await self._receive())["type"] == "http.disconnect":
                self._disconnected.set()
        await self._disconnected.wait()

    async def receive(self) -> Message:
        """As the application reads it; the body of a request that has none is not read."""
        if self._bodiless:
            if not self._told:
                self._told = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await self._disconnected.wait()
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._disconnected.set()
        return message
