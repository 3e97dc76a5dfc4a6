"""The web application: map page, its JSON, OGC API under ``/ogc`` and scene tiles under ``/imagery``."""

from __future__ import annotations

import errno
import hmac
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from morecantile import Tile
from sqlalchemy import Engine
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segwatch.db import analyst, readers, roles, tokens
from segwatch.db.embedded.ports import any_free
from segwatch.db.engine import ShortPatience, driver_url, make_engine
from segwatch.flows.errors import ServiceError
from segwatch.flows.web import alert_feeds, alerts, events, health, reviews
from segwatch.flows.web.caching import answer
from segwatch.flows.web.guards import connections, login
from segwatch.flows.web.guards.access import LOOKUPS, Arrivals, Door, Gate, sight
from segwatch.flows.web.guards.admission import POOLS, RequestPools
from segwatch.flows.web.guards.rate_limits import REQUESTS, Rate, RateLimit
from segwatch.flows.web.guards.refusals import refusal
from segwatch.flows.web.guards.site import Site
from segwatch.flows.web.ogcapi import application, vector_tiles
from segwatch.flows.web.pixels import imagery
from segwatch.flows.web.pixels.decoding import DecodersBusy
from segwatch.flows.web.tiles import asked_mercator_tile
from segwatch.geo.errors import GeoError
from segwatch.geo.sources.http.credentials import NO_CREDENTIALS, Credentials

_log = logging.getLogger(__name__)

#: Of one statement of the map's own; OGC API has its own limit.
_STATEMENT_SECONDS = 10
_NOT_STARTED = 3
_STATIC = Path(__file__).parent / "static"
_MAX_UNUSED = 1000
#: Nothing from outside, no inline script: names and texts of catalogs and models reach this page.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "worker-src 'self' blob:",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True)
class Access:
    """Who may write, and what; and what sources of imagery want."""

    reviews: reviews.Access | None = None
    events: events.Access | None = None
    credentials: Callable[[str], Credentials] = lambda _: NO_CREDENTIALS
    """By name of the profile."""
    imagery_hosts: tuple[str, ...] = ()
    """See :attr:`segwatch.flows.config.settings.FlowSettings.imagery_hosts`."""
    site: Site = field(default_factory=Site)
    closed: bool = False
    """Whether who reads needs to be known."""


NOBODY = Access()


def serve(
    database_url: str,
    *,
    host: str,
    port: int,
    access: Access = NOBODY,
) -> None:
    """Run until stopped, with the analyst's rights: whoever asks has those of ``database_url``.

    Raises
    ------
    MayWrite
        It has more.
    ServiceError
        Another program has the port; the message offers one that is free.
    """
    _require_reader(database_url)
    _require_port(host, port)
    proxies = [str(one) for one in access.site.proxies]
    server = connections.make_server(create_app(database_url, access), host=host, port=port, proxies=proxies)
    server.run()
    if not server.started:  # the log says why
        raise SystemExit(_NOT_STARTED)


def _require_port(host: str, port: int) -> None:
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return
    except socket.gaierror:
        return  # a name that only the server itself knows how to look up
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise ServiceError(f"cannot listen at {host}, port {port}: {error.strerror or error}") from error
    raise ServiceError(
        f"port {port} is taken by another program; choose another: --port {any_free()} is free"
    )


def _require_reader(database_url: str) -> None:
    engine = make_engine(database_url, application_name="segwatch-web")
    try:
        with engine.connect() as conn:
            roles.require_reader(conn)
    finally:
        engine.dispose()


@dataclass(frozen=True, slots=True)
class Engines:
    """Connections of each kind of request, so that none can take those of another."""

    api: Engine
    tiles: Engine
    imagery: Engine
    tokens: Engine
    health: Engine

    @classmethod
    def on(cls, database_url: str) -> Engines:
        """Of the analyst, who only reads, and sees what the reader of the request may see."""

        def make(connections: int, seconds: int = _STATEMENT_SECONDS) -> Engine:
            patience = ShortPatience(connections, seconds)
            return readers.engine_for(database_url, sight, application_name="segwatch-web", patience=patience)

        return cls(
            api=make(POOLS["api"].running),
            tiles=make(vector_tiles.CONNECTIONS),
            imagery=make(imagery.LOOKUPS),
            tokens=make(LOOKUPS),
            health=make(1, 1),
        )

    def dispose(self) -> None:
        """Close all connections."""
        for engine in (self.api, self.tiles, self.imagery, self.tokens, self.health):
            engine.dispose()


def create_app(database_url: str, access: Access = NOBODY, rate: Rate = REQUESTS) -> FastAPI:
    """The whole application on the analyst views of one database, who may write, and how often one client may ask."""
    engines = Engines.on(database_url)
    features = application.make_app()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        plain = driver_url(database_url).set(drivername="postgresql")
        await application.connect(features, plain.render_as_string(hide_password=False))
        yield
        await application.disconnect(features)
        engines.dispose()

    app = FastAPI(title="segwatch", lifespan=lifespan, docs_url=None, redoc_url=None)
    door = _door(engines.tokens, access)
    # the last one is the first that a request meets
    app.add_middleware(RequestPools)
    app.add_middleware(Gate, door=door)
    app.add_middleware(RateLimit, rate=rate)
    app.add_middleware(Arrivals, site=access.site)
    app.add_middleware(_Hardened)
    app.add_exception_handler(GeoError, _unreadable)
    app.add_exception_handler(DataError, _unfit)
    app.add_exception_handler(DecodersBusy, _busy)
    for lost in (OperationalError, InterfaceError, NoConnection):
        app.add_exception_handler(lost, _unavailable)
    app.include_router(health.router(engines.health))
    _add_pages(app, engines)
    app.include_router(login.router(door.find))
    app.include_router(reviews.router(engines.api, access.reviews), prefix="/api", tags=["reviews"])
    app.include_router(alerts.router(engines.api, access.reviews), prefix="/api", tags=["alerts"])
    app.include_router(events.router(access.events), tags=["events"])
    app.include_router(alert_feeds.router(engines.api), tags=["alerts"])
    app.include_router(
        imagery.router(engines.imagery, access.credentials, access.imagery_hosts),
        prefix="/imagery",
        tags=["imagery"],
    )
    app.mount("/ogc", application.OwnRoot(features))
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    return app


def _door(engine: Engine, access: Access) -> Door:
    def find(given: str) -> tokens.Token | None:
        token = access.reviews.token if access.reviews is not None else None
        if token is not None and hmac.compare_digest(given.encode(), token.get_secret_value().encode()):
            return tokens.Token("review token", None, frozenset({tokens.Scope.READ, tokens.Scope.REVIEW}))
        with engine.connect() as conn:
            return tokens.find(conn, given)

    on = {tokens.Scope.REVIEW: access.reviews, tokens.Scope.EVENTS: access.events}
    taken = frozenset(scope for scope, part in on.items() if part is not None)
    return Door(find, access.closed, taken, access.site)


def _add_pages(app: FastAPI, engines: Engines) -> None:
    engine, tiles = engines.api, vector_tiles.VectorTiles(engines.tiles)

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(_STATIC / "index.html")

    @app.get("/api/watches")
    def watches() -> analyst.Rows:
        """Every watch with counts and bounds."""
        with engine.connect() as conn:
            return analyst.list_watches(conn)

    @app.get("/api/scenes")
    def scenes(watch: str) -> analyst.Rows:
        """The scenes of a watch by acquisition time."""
        with engine.connect() as conn:
            return analyst.list_scenes(conn, watch)

    @app.get("/api/unused")
    def unused(watch: str, limit: Annotated[int, Query(ge=1, le=_MAX_UNUSED)] = 100) -> analyst.Rows:
        """Scenes and items of a watch that were not observed, and why, the newest first."""
        with engine.connect() as conn:
            return analyst.list_unused(conn, watch, limit)

    @app.get("/api/tiles/{z}/{x}/{y}.mvt", response_class=Response)
    async def objects(
        request: Request, watch: str, at: str, place: Annotated[Tile, Depends(asked_mercator_tile)]
    ) -> Response:
        """The objects of a watch as they were at a time, as a vector tile: see ``watch.objects_tile``."""
        made = await tiles.tile(vector_tiles.TileKey(watch, at, place, sight().settings))
        # what holds may change at any moment: another scene, a verdict
        return answer(request, made, "no-cache")


class _Hardened:
    """Adds the headers that keep browsers from doing what the page does not need."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Whatever the answer is."""

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, hardened if scope["type"] == "http" else send)


def _unfit(_: Request, __: Exception) -> Response:
    return JSONResponse(
        {"detail": "a value of the request is none that the database can hold"}, status_code=422
    )


def _busy(_: Request, error: Exception) -> Response:
    seconds = error.retry_seconds if isinstance(error, DecodersBusy) else 1
    return JSONResponse(refusal("ServiceUnavailable", str(error)), 503, {"Retry-After": str(seconds)})


def _unavailable(request: Request, error: Exception) -> Response:
    _log.warning("%r: the database does not answer: %s", request.url.path, str(error).partition("\n")[0])
    words = "the database does not answer now, or this takes it too long; ask again later"
    return JSONResponse(refusal("ServiceUnavailable", words), 503, {"Retry-After": "5"})


def _unreadable(_: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, status_code=502)
