"""Check the ``Host`` header of requests against DNS rebinding.

A web page of another site can let its own host name resolve to 127.0.0.1 and then send requests to any server there;
the browser treats the responses as the page's own. Such requests carry the page's host name in ``Host``. Requests whose
``Host`` is an IP address cannot be made this way, because addresses are not resolved.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class KnownHosts:
    """ASGI middleware that responds with 400 to requests, also for WebSockets, for an unknown host name.

    Parameters
    ----------
    app
        The application.
    names
        Allowed names and addresses besides those of loopback, without port.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] = ()) -> None:
        self._app = app
        self._names = LOOPBACK | {_normalize(name) for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request or pass it on."""
        if scope["type"] in {"http", "websocket"}:
            given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
            if not given or not all(map(self._is_known, given)):
                says = "this server does not serve the name in the Host header; SEGWATCH_ALLOWED_HOSTS adds names"
                await PlainTextResponse(says, status_code=400)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_known(self, host: str) -> bool:
        try:
            parts = urlsplit(f"//{host}")
            name, _ = parts.hostname, parts.port
        except ValueError:
            return False
        if name is None or parts.username is not None or parts.path or parts.query or parts.fragment:
            return False
        return name.rstrip(".") in self._names


def is_loopback(host: str) -> bool:
    """Whether a server that listens on this address is reachable only from its own machine."""
    if _normalize(host) == "localhost":
        return True
    try:
        return ipaddress.ip_address(_normalize(host)).is_loopback
    except ValueError:
        return False


def _normalize(name: str) -> str:
    return name.strip().lower().removeprefix("[").removesuffix("]").rstrip(".")
