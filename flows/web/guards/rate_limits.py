"""Rate limit per client: a token bucket for each, in a table of bounded size."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from starlette.types import ASGIApp, Receive, Scope, Send

from segwatch.flows.web.guards.refusals import refuse
from segwatch.flows.web.guards.site import local_path

#: Size of the table; the clients that were idle longest are dropped first.
MAX_CLIENTS = 10_000
#: Health checks, which have no rate limit and need no credentials.
UNLIMITED = frozenset({"/healthz", "/readyz"})
_MAX_NAME = 64


@dataclass(frozen=True, slots=True)
class Rate:
    """Rate limit of one client."""

    per_second: float
    """Sustained rate."""
    burst: float
    """Requests allowed at once after a pause."""


#: Opening the map takes about a hundred requests, moving it at most sixty.
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
        """Tokens and the time of their count, most recent client last."""

    def __len__(self) -> int:
        """Return the number of clients in the table."""
        return len(self._buckets)

    def wait_seconds(self, client: str) -> float:
        """Return how long the client has to wait before its next request; 0 if it need not."""
        tokens = self._tokens(client)
        return 0.0 if tokens > 0 else (1e-3 - tokens) / self._rate.per_second

    def take(self, client: str, cost: float) -> None:
        """Charge the client. Its tokens may become negative, because the cost of a query is known only afterwards."""
        self._buckets[client] = self._tokens(client) - cost, self._clock()
        self._buckets.move_to_end(client)
        while len(self._buckets) > self._max_clients:
            self._buckets.popitem(last=False)

    def _tokens(self, client: str) -> float:
        tokens, since = self._buckets.get(client, (self._rate.burst, self._clock()))
        return min(self._rate.burst, tokens + (self._clock() - since) * self._rate.per_second)


def identify_client(scope: Scope) -> str:
    """Identify a client by its IPv4 address, or by the /64 of its IPv6 address, which belongs to one subscriber.

    Forwarded headers are not read here: behind a trusted proxy, the address in the scope is already that of the client.
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
    """Middleware that responds with 429 and Retry-After to clients above the rate limit."""

    def __init__(self, app: ASGIApp, rate: Rate = REQUESTS) -> None:
        self._app = app
        self._limiter = RateLimiter(rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse or pass on the request; health checks are never refused."""
        if scope["type"] == "http" and local_path(scope) not in UNLIMITED:
            client = identify_client(scope)
            wait = self._limiter.wait_seconds(client)
            if wait > 0:
                words = "too many requests from your address; try again later"
                await refuse(scope, send, 429, words, retry_after=math.ceil(wait))
                return
            self._limiter.take(client, 1)
        await self._app(scope, receive, send)
