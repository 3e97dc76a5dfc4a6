"""Identify the reader of every request and decide whether the request is allowed, before any route runs.

A reader identifies with a token (``Authorization: Bearer``, or the cookie of the login page), or a trusted proxy names
the user. What the reader may see is set for the length of the request: the database views show nothing else, so that
no route can return too much.
"""

from __future__ import annotations

import logging
import math
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
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from segwatch.db.errors import describe_error
from segwatch.db.readers import NOTHING, Visibility
from segwatch.db.tokens import MAX_TOKEN, Scope, Token
from segwatch.flows.web.guards.rate_limits import REQUESTS, UNLIMITED, Rate, RateLimiter
from segwatch.flows.web.guards.refusals import respond_problem
from segwatch.flows.web.guards.rules import ANYONE, NoRoute, find_rule
from segwatch.flows.web.guards.site import Site, filter_request, local_path

T = TypeVar("T")
P = ParamSpec("P")
_log = logging.getLogger(__name__)

COOKIE = "segwatch_token"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_SIGNED = frozenset({Scope.EVENTS, Scope.ANNOUNCE})
_WRITING = frozenset({Scope.REVIEW, Scope.ACKNOWLEDGE, Scope.OPERATE})
#: Tokens that are looked up at the same time, in threads reserved for it.
LOOKUPS = 4
#: Key of the ASGI scope that holds the user named by a proxy.
_USER = "segwatch.user"


@dataclass(frozen=True, slots=True)
class Reader:
    """The person or program that sent a request."""

    name: str
    sight: Visibility
    scopes: frozenset[Scope]
    ambient: bool = False
    """The browser adds the credentials by itself, also to requests that pages of other sites make it send."""


UNKNOWN_READER = Reader("", NOTHING, frozenset())
#: Reader without credentials on a server that is open to everyone who reaches it.
OPEN_READER = Reader("", Visibility(None, names=False), frozenset({Scope.READ, Scope.METRICS}))
_READER: ContextVar[Reader] = ContextVar("reader", default=UNKNOWN_READER)


def current_reader() -> Reader:
    """Return the reader of the current request; an unknown reader outside of requests."""
    return _READER.get()


def current_sight() -> Visibility:
    """Return what the reader of the current request may see."""
    return _READER.get().sight


def bind_reader(work: Callable[P, T]) -> Callable[P, T]:
    """Bind work to the reader of the current request, so that it can run in another thread."""
    return partial(copy_context().run, work)


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """How readers are identified, and what the server accepts."""

    find: Callable[[str], Token | None]
    """Find a token by its secret; ``SEGWATCH_REVIEW_TOKEN`` is a token that may read and review everything."""
    closed: bool = False
    """Whether readers have to identify themselves."""
    enabled: frozenset[Scope] = frozenset()
    """Scopes besides reading that the server accepts; routes of other scopes respond that they are disabled."""
    site: Site = field(default_factory=Site)


class HeaderFilter:
    """Middleware that drops headers which clients may not set; see :mod:`segwatch.flows.web.guards.site`."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Refuse requests for an unknown host, and pass the others on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        filtered = filter_request(self._site, scope)
        if not filtered.host_known and local_path(filtered.scope) not in UNLIMITED:
            refusal = respond_problem(
                400, "this server does not serve the requested host; see SEGWATCH_ALLOWED_HOSTS"
            )
            await refusal(scope, receive, send)
            return
        await self._app({**filtered.scope, _USER: filtered.user}, receive, send)


class AccessControl:
    """Middleware that passes on only requests that their reader may send."""

    def __init__(self, app: ASGIApp, policy: AccessPolicy, rate: Rate = REQUESTS) -> None:
        self._app = app
        self._policy = policy
        self._rates = RateLimiter(rate)
        self._lookups = anyio.CapacityLimiter(LOOKUPS)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Identify the reader, and refuse the request or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = local_path(scope)
        asks = find_rule(scope["method"], path)
        if isinstance(asks, NoRoute):
            await respond_problem(asks.status, asks.words)(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            who = UNKNOWN_READER if path in UNLIMITED else await self._identify(headers, scope.get(_USER))
        except (OperationalError, InterfaceError, NoConnection) as error:
            _log.warning("a token could not be looked up: %s", describe_error(error))
            unknown = "credentials cannot be checked at the moment; try again later"
            await respond_problem(503, unknown, {"Retry-After": "5"})(scope, receive, send)
            return
        refused = self._limit_rate(who) or self._check(who, asks, scope, headers)
        if refused is not None:
            await refused(scope, receive, send)
            return
        token = _READER.set(who or UNKNOWN_READER)
        try:
            await self._app(scope, receive, self._keep_private(send, who) if asks != ANYONE else send)
        finally:
            _READER.reset(token)

    def _limit_rate(self, who: Reader | None) -> Response | None:
        """Charge the reader for the request; return the response that refuses it above the rate limit.

        Clients have one rate limit by address; a token that is used from many addresses has one of its own, too.
        """
        if who is None or not who.name:
            return None
        wait = self._rates.wait_seconds(who.name)
        if wait > 0:
            words = f"too many requests with the credentials of {who.name}; try again later"
            return respond_problem(429, words, {"Retry-After": str(math.ceil(wait))})
        self._rates.take(who.name, 1)
        return None

    async def _identify(self, headers: Headers, user: str | None) -> Reader | None:
        """Identify the reader; None if the credentials are invalid or have expired."""
        given = read_bearer_token(headers)
        if given is not None and (found := await self._find(given)) is not None:
            return found
        if user is not None:
            return self._make_proxy_reader(user)
        kept = _read_cookie(headers)
        if kept is not None and (found := await self._find(kept)) is not None:
            return Reader(found.name, found.sight, found.scopes, ambient=True)
        if not self._policy.closed:
            return OPEN_READER
        return UNKNOWN_READER if given is None and kept is None else None

    async def _find(self, given: str) -> Reader | None:
        if len(given) > MAX_TOKEN:
            return None
        found = await anyio.to_thread.run_sync(partial(self._policy.find, given), limiter=self._lookups)
        if found is None:
            return None
        return Reader(found.name, Visibility(found.watches, names=Scope.REVIEW in found.scopes), found.scopes)

    def _make_proxy_reader(self, name: str) -> Reader:
        user = self._policy.site.find_user(name)
        if user is None:
            return Reader(name, NOTHING, frozenset(), ambient=True)
        return Reader(
            name, Visibility(user.watches, names=Scope.REVIEW in user.scopes), user.scopes, ambient=True
        )

    def _check(self, who: Reader | None, asks: object, scope: AsgiScope, headers: Headers) -> Response | None:
        """Return the response that refuses the request; None if it is allowed."""
        ambient = who is not None and who.ambient
        changes = scope["method"] not in _SAFE
        if changes and (ambient or asks == ANYONE) and not _is_same_origin(headers):
            return respond_problem(403, "the request comes from a page of another site")
        # routes check signatures themselves, where they read the body, and tell known readers that they are disabled
        known = who is not None and bool(who.scopes)
        disabled = known and asks in _WRITING and asks not in self._policy.enabled
        elsewhere = asks in _SIGNED or disabled
        if asks == ANYONE or elsewhere or (who is not None and asks in who.scopes):
            return None
        if who is not None and who.name:
            return respond_problem(403, f"{who.name} may not do this; it needs the scope {asks}")
        if not changes and "text/html" in headers.get("accept", ""):
            return RedirectResponse(f"{scope.get('root_path', '')}/login", 303)
        return respond_problem(401, "send Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})

    def _keep_private(self, send: Send, who: Reader | None) -> Send:
        """Mark responses to known readers as private, so that no cache on the way gives them to another reader."""
        known = self._policy.closed or (who is not None and bool(who.name))

        async def start(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.add_vary_header("Authorization, Cookie")
                if not known:
                    await send(message)
                    return
                kept = headers.get("cache-control", "")
                if "private" not in kept and "no-store" not in kept:
                    headers["Cache-Control"] = ", ".join(
                        filter(None, ("private", kept.replace("public", "")))
                    )
            await send(message)

        return start


def require_scope(scope: Scope) -> None:
    """Check that the reader has a scope; for routes that write.

    Raises
    ------
    fastapi.HTTPException
        401 without credentials, 403 without the scope.
    """
    who = current_reader()
    if scope in who.scopes:
        return
    if who.name:
        raise HTTPException(403, f"{who.name} may not do this; it needs the scope {scope}")
    raise HTTPException(401, "send Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})


def read_bearer_token(headers: Headers) -> str | None:
    """Read the token from the Authorization header."""
    kind, _, given = headers.get("authorization", "").partition(" ")
    return given.strip() if kind.lower() == "bearer" else None


def _read_cookie(headers: Headers) -> str | None:
    cookies = SimpleCookie()
    try:
        cookies.load(headers.get("cookie", ""))
    except CookieError:
        return None
    found = cookies.get(COOKIE)
    return found.value if found is not None else None


def _is_same_origin(headers: Headers) -> bool:
    """Whether a page of this server sent the request, by headers that browsers set and pages cannot."""
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
