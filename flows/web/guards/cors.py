"""Cross-origin requests: pages of the configured origins may use the API with a token, other pages may not.

Cookies are never allowed across origins, so that a page cannot use the session of somebody who logged in.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = "GET, HEAD, POST"
_HEADERS = "Authorization, Content-Type, If-None-Match"
_EXPOSED = (
    "ETag, Link, OGC-NumberMatched, OGC-NumberReturned, Retry-After, X-Attribution, X-Total-Count, X-Status-Counts,"
    " X-Mark-Counts, X-Kind-Counts, X-Target-Counts, X-Rule-Counts"
)
_MAX_AGE_SECONDS = 600


class CrossOrigin:
    """Middleware that answers preflights and marks responses for pages of the allowed origins."""

    def __init__(self, app: ASGIApp, origins: frozenset[str]) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or pass on the request; without configured origins, everything is passed on as it is."""
        if scope["type"] != "http" or not self._origins:
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope)
        origin = asked.get("origin", "").lower()
        allowed = origin in self._origins
        if allowed and scope["method"] == "OPTIONS" and "access-control-request-method" in asked:
            headers = {
                "Access-Control-Allow-Origin": origin,
                "Access-Control-Allow-Methods": _METHODS,
                "Access-Control-Allow-Headers": _HEADERS,
                "Access-Control-Max-Age": str(_MAX_AGE_SECONDS),
                "Vary": "Origin",
            }
            await Response(status_code=204, headers=headers)(scope, receive, send)
            return

        async def start(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.add_vary_header("Origin")
                if allowed:
                    headers["Access-Control-Allow-Origin"] = origin
                    headers["Access-Control-Expose-Headers"] = _EXPOSED
            await send(message)

        await self._app(scope, receive, start)
