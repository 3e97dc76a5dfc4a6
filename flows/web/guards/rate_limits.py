"""How often one client may ask: a token bucket each, in a bounded table."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from starlette.types import ASGIApp, Receive, Scope, Send

from segwatch.flows.web.guards.refusals import refuse
from segwatch.flows.web.guards.site import path_of

#: Clients that are remembered; whoever asked longest ago is forgotten first.
MAX_CLIENTS = 10_000
#: Paths that monitors ask, which cost next to nothing.
UNLIMITED = frozenset({"/healthz", "/readyz"})
_MAX_NAME = 64


@dataclass(frozen=True, slots=True)
class Rate:
    """How much a client may use."""

    per_second: float
    """In the long run."""
    burst: float
    """At once, after a pause."""


#: A page of the map is about a hundred requests, one move of it at most sixty.
REQUESTS = Rate(per_second=50, burst=400)


class RateLimiter:
    """Token buckets by client, at most ``max_clients`` of them."""

    def __init__(
        self,
        rate: Rate,
        *,
        max_clients: int = MAX_CLIENTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        self._max_clients = max_clients
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Tokens at a moment, the client that asked last at the end."""

    def __len__(self) -> int:
        """Clients that are remembered."""
        return len(self._buckets)

    def wait_seconds(self, client: str) -> float:
        """How long the client has to wait until it may ask again; 0: it may ask now."""
        tokens = self._tokens(client)
        return 0.0 if tokens > 0 else (1e-3 - tokens) / self._rate.per_second

    def take(self, client: str, cost: float) -> None:
        """Count what the client used. Its tokens may become negative: the cost of a query is known afterwards."""
        self._buckets[client] = self._tokens(client) - cost, self._clock()
        self._buckets.move_to_end(client)
        while len(self._buckets) > self._max_clients:
            self._buckets.popitem(last=False)

    def _tokens(self, client: str) -> float:
        tokens, since = self._buckets.get(client, (self._rate.burst, self._clock()))
        return min(self._rate.burst, tokens + (self._clock() - since) * self._rate.per_second)


def client_of(scope: Scope) -> str:
    """Who asks: an IPv4 address, or the /64 of an IPv6 address, which one subscriber has all of.

    Forwarded headers are not read here: the server replaces the address by them when the operator names the proxy.
    """
    client = scope.get("client")
    if client is None:  # a Unix socket
        return "local"
    try:
        address = ip_address(str(client[0]).partition("%")[0])
    except ValueError:
        return str(client[0])[:_MAX_NAME]
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ip_network((address, 64), strict=False))
    return str(address)


class RateLimit:
    """Answers 429 with Retry-After to clients that ask too often."""

    def __init__(self, app: ASGIApp, rate: Rate = REQUESTS) -> None:
        self._app = app
        self._limiter = RateLimiter(rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The health of the server is never refused."""
        if scope["type"] == "http" and path_of(scope) not in UNLIMITED:
            client = client_of(scope)
            wait = self._limiter.wait_seconds(client)
            if wait > 0:
                words = "too many requests from your address; ask again later"
                await refuse(scope, send, 429, words, retry_after=math.ceil(wait))
                return
            self._limiter.take(client, 1)
        await self._app(scope, receive, send)
