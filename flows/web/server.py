"""The web application: map page, its JSON, OGC API under ``/ogc`` and scene tiles under ``/imagery``."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from morecantile import Tile
from sqlalchemy import Engine, text
from sqlalchemy.exc import DataError

from segwatch.db import readers, roles, tokens
from segwatch.db.engine import driver_url, make_engine
from segwatch.flows.web import alerts, events, feeds, imagery, login, ogc, queries, reviews
from segwatch.flows.web.access import Door, Gate, sight
from segwatch.flows.web.site import Site
from segwatch.flows.web.tiles import asked_mercator_tile
from segwatch.geo.errors import GeoError
from segwatch.geo.sources.access import NO_CREDENTIALS, Credentials

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
    site: Site = field(default_factory=Site)
    closed: bool = False
    """Whether who reads needs to be known."""


NOBODY = Access()


def serve(database_url: str, *, host: str, port: int, access: Access = NOBODY) -> None:
    """Run until stopped, with the analyst's rights: whoever asks has those of ``database_url``.

    Raises
    ------
    MayWrite
        It has more.
    """
    _require_reader(database_url)
    # which proxies are believed, and what of what they say, is decided in one place: flows/web/site.py
    uvicorn.run(
        create_app(database_url, access),
        host=host,
        port=port,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
    )


def _require_reader(database_url: str) -> None:
    engine = make_engine(database_url, application_name="segwatch-web")
    try:
        with engine.connect() as conn:
            roles.require_reader(conn)
    finally:
        engine.dispose()


def create_app(database_url: str, access: Access = NOBODY) -> FastAPI:
    """The whole application on the analyst views of one database, and who may write."""
    engine = readers.engine_for(database_url, sight, application_name="segwatch-web")
    features = ogc.make_app()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        plain = driver_url(database_url).set(drivername="postgresql")
        await ogc.connect(features, plain.render_as_string(hide_password=False))
        yield
        await ogc.disconnect(features)
        engine.dispose()

    app = FastAPI(title="segwatch", lifespan=lifespan, docs_url=None, redoc_url=None)
    door = _door(engine, access)
    app.add_middleware(Gate, door=door)
    app.middleware("http")(_harden)
    app.add_exception_handler(GeoError, _unreadable)
    app.add_exception_handler(DataError, _unfit)
    _add_pages(app, engine)
    app.include_router(login.router(door.find))
    app.include_router(reviews.router(engine, access.reviews), prefix="/api", tags=["reviews"])
    app.include_router(alerts.router(engine, access.reviews), prefix="/api", tags=["alerts"])
    app.include_router(events.router(access.events), tags=["events"])
    app.include_router(feeds.router(engine), tags=["alerts"])
    app.include_router(imagery.router(engine, access.credentials), prefix="/imagery", tags=["imagery"])
    app.mount("/ogc", ogc.OwnRoot(features))
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


def _add_pages(app: FastAPI, engine: Engine) -> None:
    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(_STATIC / "index.html")

    @app.get("/healthz")
    def health() -> dict[str, str]:
        """Whether the database answers."""
        with engine.connect() as conn:
            conn.execute(text("SELECT 1 FROM watch.objects_now LIMIT 1"))
        return {"status": "ok"}

    @app.get("/api/watches")
    def watches() -> queries.Rows:
        """Every watch with counts and bounds."""
        with engine.connect() as conn:
            return queries.watches(conn)

    @app.get("/api/scenes")
    def scenes(watch: str) -> queries.Rows:
        """The scenes of a watch by acquisition time."""
        with engine.connect() as conn:
            return queries.scenes(conn, watch)

    @app.get("/api/unused")
    def unused(watch: str, limit: Annotated[int, Query(ge=1, le=_MAX_UNUSED)] = 100) -> queries.Rows:
        """Scenes and items of a watch that were not observed, and why, the newest first."""
        with engine.connect() as conn:
            return queries.unused(conn, watch, limit)

    @app.get("/api/tiles/{z}/{x}/{y}.mvt", response_class=Response)
    def objects(watch: str, at: str, place: Annotated[Tile, Depends(asked_mercator_tile)]) -> Response:
        """The objects of a watch as they were at a time, as a vector tile: see ``watch.objects_tile``."""
        with engine.connect() as conn:
            made = queries.tile(conn, watch, at, place)
        # what holds may change at any moment: another scene, a verdict
        return Response(
            made, media_type="application/vnd.mapbox-vector-tile", headers={"Cache-Control": "no-cache"}
        )


async def _harden(request: Request, follow: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await follow(request)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _unfit(_: Request, __: Exception) -> Response:
    return JSONResponse(
        {"detail": "a value of the request is none that the database can hold"}, status_code=422
    )


def _unreadable(_: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, status_code=502)
