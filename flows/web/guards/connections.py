"""Connections of strangers: how many, how long they may stay without a request, and how large a head may be."""

from __future__ import annotations

import asyncio
import resource
from collections import Counter, OrderedDict
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from segwatch.flows.web.guards.rate_limits import client_of
from segwatch.flows.web.guards.sending import ABORT

#: Of all clients together; fewer where the process may open fewer files.
MAX_CONNECTIONS = 1000
#: From connecting, or from the last answer, until all of the next request's head is there.
HEAD_SECONDS = 10.0
_MAX_HEAD_BYTES = 64 * 1024
#: For requests that are being answered when the server is told to stop.
_STOP_SECONDS = 10


class Connections:
    """Open connections by client; when there are too many, those that have been idle longest make room."""

    def __init__(self, most: int, most_of_client: int, unlimited: Sequence[str] = ()) -> None:
        self._most = most
        self._most_of_client = most_of_client
        self._unlimited = [ip_network(one, strict=False) for one in unlimited]
        self._of_client: Counter[str] = Counter()
        self._idle: OrderedDict[LimitedProtocol, str] = OrderedDict()
        """Without a request, the newest last."""

    def opened(self, one: LimitedProtocol, client: str) -> None:
        """Count it; make room for it, or close it where nobody can make room."""
        self._of_client[client] += 1
        if self._of_client[client] > self._most_of_client and not self._is_unlimited(client):
            self._make_room(one, client)
        elif self._of_client.total() > self._most:
            self._make_room(one, None)

    def _is_unlimited(self, client: str) -> bool:
        try:
            address = ip_network(client)
        except ValueError:
            return False
        return any(address.version == one.version and address.overlaps(one) for one in self._unlimited)

    def closed(self, one: LimitedProtocol, client: str) -> None:
        """Forget it."""
        self._idle.pop(one, None)
        self._of_client[client] -= 1
        if self._of_client[client] <= 0:
            del self._of_client[client]

    def rests(self, one: LimitedProtocol, client: str) -> None:
        """It has no request now."""
        self._idle[one] = client

    def works(self, one: LimitedProtocol) -> None:
        """It has a request."""
        self._idle.pop(one, None)

    def _make_room(self, new: LimitedProtocol, client: str | None) -> None:
        oldest = next((one for one, whose in self._idle.items() if client in {None, whose}), new)
        self._idle.pop(oldest, None)
        oldest.abort()


class LimitedProtocol(H11Protocol):
    """HTTP/1.1 for clients that may send a byte now and then, or none, to keep a connection.

    Uvicorn's own timer for idle connections begins anew with every byte.
    """

    connections_of: Connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As uvicorn's, with a timer."""
        super().connection_made(transport)
        self._client = client_of({"client": self.client})
        self._timer: asyncio.TimerHandle | None = None
        self._rest()
        self.connections_of.opened(self, self._client)

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn's."""
        self._disarm()
        self.connections_of.closed(self, self._client)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """As uvicorn's; once a request has begun, its own limits hold."""
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete:
            self._disarm()
            self.connections_of.works(self)

    def on_response_complete(self) -> None:
        """As uvicorn's."""
        self._rest()
        super().on_response_complete()

    def abort(self) -> None:
        """Close the connection, whatever still waits to be sent."""
        self.transport.abort()

    def _rest(self) -> None:
        self._disarm()
        # abort: to close it would wait for a reader that takes nothing
        self._timer = self.loop.call_later(HEAD_SECONDS, self.abort)
        self.connections_of.rests(self, self._client)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Abortable:
    """Tells the application how to close a connection."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Uvicorn's ``send`` is a method of the cycle, which knows the transport."""
        transport = getattr(getattr(send, "__self__", None), "transport", None)
        if transport is not None:
            scope[ABORT] = transport.abort
        await self._app(scope, receive, send)


def make_server(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    proxies: Sequence[str] = (),
    connections: int = MAX_CONNECTIONS,
) -> uvicorn.Server:
    """A server that is not running yet.

    Parameters
    ----------
    proxies
        Addresses or networks that may have any share of the connections. What they say of a request is judged by
        :mod:`segwatch.flows.web.guards.site`.
    connections
        At most this many at a time; a fifth of them for one client that is no such proxy.
    """
    most = min(connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
    limits = Connections(most, max(1, most // 5), proxies)
    protocol: Any = type("Protocol", (LimitedProtocol,), {"connections_of": limits})
    return uvicorn.Server(
        uvicorn.Config(
            _Abortable(app),
            host=host,
            port=port,
            log_level="warning",
            http=protocol,
            ws="none",
            proxy_headers=False,
            server_header=False,
            h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
    )
