"""The web application: map page, its JSON, OGC API under ``/ogc`` and scene tiles under ``/imagery``."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from morecantile import Tile
from sqlalchemy import Engine, text
from sqlalchemy.exc import DataError

from segwatch.db import roles
from segwatch.db.engine import driver_url, make_engine
from segwatch.db.ports import any_free
from segwatch.flows.errors import ServiceError
from segwatch.flows.hosts import KnownHosts, is_loopback
from segwatch.flows.web import alerts, events, feeds, imagery, ogc, queries, reviews
from segwatch.flows.web.decoding import DecodersBusy
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
    imagery_hosts: tuple[str, ...] = ()
    """See :attr:`segwatch.flows.settings.FlowSettings.imagery_hosts`."""


NOBODY = Access()


def serve(
    database_url: str, *, host: str, port: int, access: Access = NOBODY, names: Collection[str] = ()
) -> None:
    """Run until stopped, with the analyst's rights: whoever asks has those of ``database_url``.

    Requests by another name than ``names``, loopback's and, beyond loopback, any address are refused.

    Raises
    ------
    MayWrite
        It has more.
    ServiceError
        Another program has the port; the message offers one that is free.
    """
    _require_reader(database_url)
    _require_port(host, port)
    app = KnownHosts(create_app(database_url, access), names, any_address=not is_loopback(host))
    uvicorn.run(app, host=host, port=port, log_level="warning")


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


def create_app(database_url: str, access: Access = NOBODY) -> FastAPI:
    """The whole application on the analyst views of one database, and who may write."""
    engine = make_engine(database_url, application_name="segwatch-web", read_only=True)
    features = ogc.make_app()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        plain = driver_url(database_url).set(drivername="postgresql")
        await ogc.connect(features, plain.render_as_string(hide_password=False))
        yield
        await ogc.disconnect(features)
        engine.dispose()

    app = FastAPI(title="segwatch", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.middleware("http")(_harden)
    app.add_exception_handler(GeoError, _unreadable)
    app.add_exception_handler(DataError, _unfit)
    app.add_exception_handler(DecodersBusy, _busy)
    _add_pages(app, engine)
    app.include_router(reviews.router(engine, access.reviews), prefix="/api", tags=["reviews"])
    app.include_router(alerts.router(engine, access.reviews), prefix="/api", tags=["alerts"])
    app.include_router(events.router(access.events), tags=["events"])
    app.include_router(feeds.router(engine), tags=["alerts"])
    app.include_router(
        imagery.router(engine, access.credentials, access.imagery_hosts), prefix="/imagery", tags=["imagery"]
    )
    app.mount("/ogc", ogc.OwnRoot(features))
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    return app


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


def _busy(_: Request, error: Exception) -> Response:
    seconds = error.retry_seconds if isinstance(error, DecodersBusy) else 1
    return JSONResponse({"detail": str(error)}, status_code=503, headers={"Retry-After": str(seconds)})


def _unreadable(_: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, status_code=502)
