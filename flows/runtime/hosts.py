"""The names by which a server may be addressed: the ``Host`` header of a request against DNS rebinding.

A page of a stranger may let its own name point to 127.0.0.1 and then ask whatever listens there, and the browser takes
the answer for the page's own. Such a request carries the stranger's name in ``Host``; none that carries an address can
come of it, for an address is not looked up.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class KnownHosts:
    """ASGI middleware that answers 400 to requests, also for WebSockets, by another name than those given.

    Parameters
    ----------
    app
        What answers the others.
    names
        Names and addresses beside those of loopback, without port.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] = ()) -> None:
        self._app = app
        self._names = LOOPBACK | {_bare(name) for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] in {"http", "websocket"}:
            given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
            if not given or not all(map(self._is_known, given)):
                says = "this server is not known by the name in the Host header; SEGWATCH_ALLOWED_HOSTS adds names"
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
    """Whether a server that is told to listen here is reached from its own machine only."""
    if _bare(host) == "localhost":
        return True
    try:
        return ipaddress.ip_address(_bare(host)).is_loopback
    except ValueError:
        return False


def _bare(name: str) -> str:
    return name.strip().lower().removeprefix("[").removesuffix("]").rstrip(".")
