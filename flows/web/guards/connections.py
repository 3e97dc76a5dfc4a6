"""Limit connections: their number, their time without a request, and the size of request heads."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from ipaddress import ip_network
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from segwatch.flows.web.guards.rate_limits import identify_client
from segwatch.flows.web.guards.sending import ABORT

#: Connections of all clients together; fewer if the process may open fewer files.
MAX_CONNECTIONS = 1000
#: Time from connecting, or from the last response, until the head of the next request is complete.
HEAD_SECONDS = 10.0
_MAX_HEAD_BYTES = 64 * 1024
#: Time for running requests to finish when the server is stopped.
_STOP_SECONDS = 10


class Connections:
    """Open connections by client; if there are too many, those that have been idle longest are closed."""

    def __init__(self, max_total: int, max_per_client: int, unlimited: Sequence[str] = ()) -> None:
        self._max = max_total
        self._max_per_client = max_per_client
        self._unlimited = [ip_network(one, strict=False) for one in unlimited]
        self._of_client: Counter[str] = Counter()
        self._idle: OrderedDict[LimitedProtocol, str] = OrderedDict()
        """Connections without a request, longest idle first."""

    def add(self, one: LimitedProtocol, client: str) -> None:
        """Register a new connection, and close an idle one, or this one, if there are too many."""
        self._of_client[client] += 1
        if self._of_client[client] > self._max_per_client and not self._is_unlimited(client):
            self._make_room(one, client)
        elif self._of_client.total() > self._max:
            self._make_room(one, None)

    def _is_unlimited(self, client: str) -> bool:
        try:
            address = ip_network(client)
        except ValueError:
            return False
        return any(address.version == one.version and address.overlaps(one) for one in self._unlimited)

    def remove(self, one: LimitedProtocol, client: str) -> None:
        """Remove a closed connection."""
        self._idle.pop(one, None)
        self._of_client[client] -= 1
        if self._of_client[client] <= 0:
            del self._of_client[client]

    def mark_idle(self, one: LimitedProtocol, client: str) -> None:
        """Mark a connection as idle."""
        self._idle[one] = client

    def mark_busy(self, one: LimitedProtocol) -> None:
        """Mark a connection as busy."""
        self._idle.pop(one, None)

    def _make_room(self, new: LimitedProtocol, client: str | None) -> None:
        oldest = next((one for one, whose in self._idle.items() if client in {None, whose}), new)
        self._idle.pop(oldest, None)
        oldest.abort()


class LimitedProtocol(H11Protocol):
    """HTTP/1.1 protocol that closes connections whose request head takes too long.

    Uvicorn's own keep-alive timer starts again with every byte, so that a client could hold a connection for ever.
    """

    registry: Connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer, besides what uvicorn does."""
        super().connection_made(transport)
        self._client = identify_client({"client": self.client})
        self._timer: asyncio.TimerHandle | None = None
        self._start_timer()
        self.registry.add(self, self._client)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer, besides what uvicorn does."""
        self._stop_timer()
        self.registry.remove(self, self._client)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Stop the timer once a request has begun, which has its own limits; besides what uvicorn does."""
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_timer()
            self.registry.mark_busy(self)

    def on_response_complete(self) -> None:
        """Start the timer again, besides what uvicorn does."""
        self._start_timer()
        super().on_response_complete()

    def abort(self) -> None:
        """Close the connection at once and drop what is still to be sent."""
        self.transport.abort()

    def _start_timer(self) -> None:
        self._stop_timer()
        # abort, because close would wait for a client that reads nothing
        self._timer = self.loop.call_later(HEAD_SECONDS, self.abort)
        self.registry.mark_idle(self, self._client)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Abortable:
    """Middleware that gives the application a way to abort the connection."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the abort function to the scope and pass the request on."""
        # uvicorn's send is a method of an object that holds the transport
        transport = getattr(getattr(send, "__self__", None), "transport", None)
        if transport is not None:
            scope[ABORT] = transport.abort
        await self._app(scope, receive, send)


class _Server(uvicorn.Server):
    """Server that says when it is ready."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, then call ``on_started``."""
        await super().startup(sockets)
        if self.started:
            self._on_started()


def make_server(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    proxies: Sequence[str] = (),
    connections: int = MAX_CONNECTIONS,
    on_started: Callable[[], None] = lambda: None,
) -> uvicorn.Server:
    """Make a server, without starting it.

    Parameters
    ----------
    proxies
        Addresses or networks that may use all of the connections. Whether their headers are trusted is decided by
        :mod:`segwatch.flows.web.guards.site`.
    connections
        Maximum number of connections; any other client gets at most a fifth of them.
    on_started
        Called once the server accepts connections.
    """
    max_total = min(connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
    limits = Connections(max_total, max(1, max_total // 5), proxies)
    protocol: Any = type("Protocol", (LimitedProtocol,), {"registry": limits})
    return _Server(
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
        ),
        on_started,
    )
