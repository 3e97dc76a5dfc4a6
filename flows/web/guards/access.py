"""Who asks, and whether they may: every request comes through here before any route sees it.

A reader is known by a token (``Authorization: Bearer``, or the cookie of the login page), or named by a trusted proxy.
What a reader may see is set for the length of the request; the database's views hold nothing else, so that a route that
asks for too much gets too little.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from functools import partial
from http.cookies import CookieError, SimpleCookie
from typing import ParamSpec, TypeVar
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from fastapi import HTTPException
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from segwatch.db.errors import words
from segwatch.db.readers import NOTHING, Sight
from segwatch.db.tokens import MAX_TOKEN, Scope, Token
from segwatch.flows.web.guards.rate_limits import UNLIMITED
from segwatch.flows.web.guards.rules import ANYONE, Refused, wanted
from segwatch.flows.web.guards.site import Site, arrive, path_of

T = TypeVar("T")
P = ParamSpec("P")
_log = logging.getLogger(__name__)

COOKIE = "segwatch_token"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
#: Looked up beside one another, in threads that nothing else takes.
LOOKUPS = 4
#: Where a request's scope holds the user that a proxy named.
_USER = "segwatch.user"


@dataclass(frozen=True, slots=True)
class Reader:
    """Who asks."""

    name: str
    sight: Sight
    scopes: frozenset[Scope]
    ambient: bool = False
    """Their browser proves who they are by itself, whichever page makes it send a request."""


STRANGER = Reader("", NOTHING, frozenset())
#: On a server that is open to all who reach it.
ANYBODY = Reader("", Sight(None, names=False), frozenset({Scope.READ}))
_READER: ContextVar[Reader] = ContextVar("reader", default=STRANGER)


def reader() -> Reader:
    """Of the request that is being answered; outside of one, a stranger."""
    return _READER.get()


def sight() -> Sight:
    """What the reader may see."""
    return _READER.get().sight


def for_reader(work: Callable[P, T]) -> Callable[P, T]:
    """The same work in another thread, still for the reader of this request: threads know of no request."""
    return partial(copy_context().run, work)


@dataclass(frozen=True, slots=True)
class Door:
    """How readers are known."""

    find: Callable[[str], Token | None]
    """The token that somebody gave; ``SEGWATCH_REVIEW_TOKEN`` is one that reads and reviews everything."""
    closed: bool = False
    """Whether who reads needs to be known."""
    taken: frozenset[Scope] = frozenset()
    """What beside reading is switched on; the routes of the rest say that they are not."""
    site: Site = field(default_factory=Site)


class Arrivals:
    """What a request says of itself, judged before anything else looks at it: see
    :mod:`segwatch.flows.web.guards.site`."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answers itself who asks for another host."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        arrival = arrive(self._site, scope)
        if not arrival.host_known and path_of(arrival.scope) not in UNLIMITED:
            refusal = _refusal(400, "this server does not answer for that host; see SEGWATCH_ALLOWED_HOSTS")
            await refusal(scope, receive, send)
            return
        await self._app({**arrival.scope, _USER: arrival.user}, receive, send)


class Gate:
    """The application behind it, for those who may."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door
        self._lookups = anyio.CapacityLimiter(LOOKUPS)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answers itself whom it does not let in."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = path_of(scope)
        asks = wanted(scope["method"], path)
        if isinstance(asks, Refused):
            await _refusal(asks.status, asks.words)(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            who = STRANGER if path in UNLIMITED else await self._who(headers, scope.get(_USER))
        except (OperationalError, InterfaceError, NoConnection) as error:
            _log.warning("a token could not be looked up: %s", words(error))
            unknown = "who asks cannot be looked up now; ask again later"
            await _refusal(503, unknown, {"Retry-After": "5"})(scope, receive, send)
            return
        refused = self._refuse(who, asks, scope, headers)
        if refused is not None:
            await refused(scope, receive, send)
            return
        token = _READER.set(who or STRANGER)
        try:
            await self._app(scope, receive, self._sealed(send) if asks != ANYONE else send)
        finally:
            _READER.reset(token)

    async def _who(self, headers: Headers, user: str | None) -> Reader | None:
        """None = they showed something that is not or no longer good."""
        given = bearer(headers)
        if given is not None and (found := await self._known(given)) is not None:
            return found
        if user is not None:
            return self._named(user)
        kept = _cookie(headers)
        if kept is not None and (found := await self._known(kept)) is not None:
            return Reader(found.name, found.sight, found.scopes, ambient=True)
        if not self._door.closed:
            return ANYBODY
        return STRANGER if given is None and kept is None else None

    async def _known(self, given: str) -> Reader | None:
        if len(given) > MAX_TOKEN:
            return None
        found = await anyio.to_thread.run_sync(partial(self._door.find, given), limiter=self._lookups)
        if found is None:
            return None
        return Reader(found.name, Sight(found.watches, names=Scope.REVIEW in found.scopes), found.scopes)

    def _named(self, name: str) -> Reader:
        user = self._door.site.user(name)
        if user is None:
            return Reader(name, NOTHING, frozenset(), ambient=True)
        return Reader(name, Sight(user.watches, names=Scope.REVIEW in user.scopes), user.scopes, ambient=True)

    def _refuse(
        self, who: Reader | None, asks: object, scope: AsgiScope, headers: Headers
    ) -> Response | None:
        """What is answered in place of the application; None = they may."""
        ambient = who is not None and who.ambient
        changes = scope["method"] not in _SAFE
        if changes and (ambient or asks == ANYONE) and not _same_origin(headers):
            return _refusal(403, "a page of another site asked for this")
        # signatures are looked at where the body is read; and what is switched off says so itself
        elsewhere = asks == Scope.EVENTS or (asks == Scope.REVIEW and asks not in self._door.taken)
        if asks == ANYONE or elsewhere or (who is not None and asks in who.scopes):
            return None
        if who is not None and who.name:
            return _refusal(403, f"{who.name} may not do this; it needs the scope {asks}")
        if not changes and "text/html" in headers.get("accept", ""):
            return RedirectResponse(f"{scope.get('root_path', '')}/login", 303)
        return _refusal(401, "send Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})

    def _sealed(self, send: Send) -> Send:
        """What one reader was answered must not be given to another by what lies between."""
        if not self._door.closed:
            return send

        async def start(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.add_vary_header("Authorization, Cookie")
                kept = headers.get("cache-control", "")
                if "private" not in kept and "no-store" not in kept:
                    headers["Cache-Control"] = ", ".join(
                        filter(None, ("private", kept.replace("public", "")))
                    )
            await send(message)

        return start


def require(scope: Scope) -> None:
    """For routes that change something: 401 or 403 unless the reader may."""
    who = reader()
    if scope in who.scopes:
        return
    if who.name:
        raise HTTPException(403, f"{who.name} may not do this; it needs the scope {scope}")
    raise HTTPException(401, "send Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})


def bearer(headers: Headers) -> str | None:
    """The token of a request's header."""
    kind, _, given = headers.get("authorization", "").partition(" ")
    return given.strip() if kind.lower() == "bearer" else None


def _cookie(headers: Headers) -> str | None:
    cookies = SimpleCookie()
    try:
        cookies.load(headers.get("cookie", ""))
    except CookieError:
        return None
    found = cookies.get(COOKIE)
    return found.value if found is not None else None


def _same_origin(headers: Headers) -> bool:
    """Whether a page of this server sent a request: browsers say so in a header that pages cannot write."""
    site = headers.get("sec-fetch-site")
    if site is not None and site not in {"same-origin", "none"}:
        return False
    origin = headers.get("origin")
    if origin is None:
        return site is not None
    try:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
    except ValueError:
        return False


def _refusal(status: int, words: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"detail": words}, status, headers)
