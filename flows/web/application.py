"""The web application: map page and its JSON, OGC API under ``/ogc``, imagery tiles under ``/imagery``."""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from sqlalchemy import Engine
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segwatch.db import readers, tokens
from segwatch.db.engine import RequestLimits, make_engine, to_driver_url
from segwatch.flows.config.cadence import find_next
from segwatch.flows.web import (
    alert_feeds,
    alerts,
    announcements,
    assessments,
    background,
    comparing,
    description,
    downloads,
    events,
    health,
    metrics,
    object_history,
    object_panel,
    operations,
    reviews,
    search,
    trials,
    watch_data,
    why_not,
)
from segwatch.flows.web.guards import login
from segwatch.flows.web.guards.access import (
    LOOKUPS,
    AccessControl,
    AccessPolicy,
    HeaderFilter,
    current_sight,
)
from segwatch.flows.web.guards.admission import POOLS, RequestPools
from segwatch.flows.web.guards.cors import CrossOrigin
from segwatch.flows.web.guards.rate_limits import REQUESTS, Rate, RateLimit
from segwatch.flows.web.guards.refusals import respond_problem
from segwatch.flows.web.guards.token_uses import TokenUses
from segwatch.flows.web.ogcapi import application, vector_tiles
from segwatch.flows.web.options import DEFAULTS, ServerOptions
from segwatch.flows.web.pixels import imagery
from segwatch.flows.web.pixels.decoding import DecodersBusy
from segwatch.flows.web.stac import routes as stac_api
from segwatch.geo.errors import GeoError

_log = logging.getLogger(__name__)

#: Time limit of a statement for the map; OGC API has its own.
_STATEMENT_SECONDS = 10
_STATIC = Path(__file__).parent / "static"
_OK = 200
#: Folders of files whose names hold a digest.
_LASTING = frozenset({"page", "basemap"})
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True, slots=True)
class Engines:
    """Separate connections for each kind of request, so that no kind can use up those of another."""

    api: Engine
    tiles: Engine
    imagery: Engine
    tokens: Engine
    token_uses: Engine
    """The only one whose transactions may write; the role may still only read the views."""
    health: Engine
    metrics: Engine

    @classmethod
    def connect(cls, database_url: str) -> Engines:
        """Make engines whose sessions see what the reader of the current request may see."""

        def make(connections: int, seconds: int = _STATEMENT_SECONDS) -> Engine:
            patience = RequestLimits(connections, seconds)
            return readers.make_reader_engine(
                database_url, current_sight, application_name="segwatch-web", patience=patience
            )

        return cls(
            api=make(POOLS["api"].running),
            tiles=make(vector_tiles.CONNECTIONS),
            imagery=make(imagery.LOOKUPS),
            tokens=make(LOOKUPS),
            token_uses=make_engine(
                database_url,
                application_name="segwatch-web",
                patience=RequestLimits(1, 1),
                settings=readers.INITIAL_SETTINGS,
            ),
            health=make(1, 1),
            metrics=make(1),
        )

    def dispose(self) -> None:
        """Close all connections."""
        for engine in (
            self.api,
            self.tiles,
            self.imagery,
            self.tokens,
            self.token_uses,
            self.health,
            self.metrics,
        ):
            engine.dispose()


def create_app(database_url: str, options: ServerOptions = DEFAULTS, rate: Rate = REQUESTS) -> FastAPI:
    """Create the application on the analyst views of one database.

    Parameters
    ----------
    database_url
        URL of a role that may only read.
    options
        Who may write, and how the server is reached.
    rate
        Requests that one client may send.
    """
    engines = Engines.connect(database_url)
    features = application.make_app()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        plain = to_driver_url(database_url).set(drivername="postgresql")
        await application.connect(features, plain.render_as_string(hide_password=False))
        yield
        await application.disconnect(features)
        engines.dispose()

    app = description.DescribedApp(
        title="segwatch", description=description.WORDS, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    policy = _make_policy(engines, options)
    # a request passes through the middleware added last first
    app.add_middleware(RequestPools)
    app.add_middleware(AccessControl, policy=policy, rate=rate)
    app.add_middleware(CrossOrigin, origins=options.site.origins)
    app.add_middleware(RateLimit, rate=rate)
    app.add_middleware(HeaderFilter, site=options.site)
    app.add_middleware(_SecurityHeaders, background=options.background)
    _handle_errors(app)
    app.include_router(background.make_router(options.background), prefix="/api", tags=["watches"])
    app.include_router(health.make_router(engines.health))
    app.include_router(metrics.make_router(engines.metrics, find_next), tags=["operations"])
    tiles = vector_tiles.VectorTiles(engines.tiles)
    app.include_router(watch_data.make_router(engines.api, tiles), prefix="/api", tags=["watches"])
    app.include_router(comparing.make_router(engines.api, tiles), prefix="/api", tags=["watches"])
    _add_pages(app)
    app.include_router(login.make_router(policy.find))
    app.include_router(reviews.make_router(engines.api, options.reviews), prefix="/api", tags=["reviews"])
    app.include_router(alerts.make_router(engines.api, options.reviews), prefix="/api", tags=["alerts"])
    app.include_router(downloads.make_router(engines.api), prefix="/api", tags=["watches"])
    app.include_router(search.make_router(engines.api), prefix="/api", tags=["search"])
    app.include_router(why_not.make_router(engines.api), prefix="/api", tags=["alerts"])
    app.include_router(object_panel.make_router(engines.api), prefix="/api", tags=["objects"])
    app.include_router(object_history.make_router(engines.api), prefix="/api", tags=["objects"])
    app.include_router(
        assessments.make_router(engines.api, options.reviews), prefix="/api", tags=["assessments"]
    )
    app.include_router(
        operations.make_router(engines.api, options.operations, find_next, options.prefect_url),
        prefix="/api",
        tags=["operations"],
    )
    app.include_router(trials.make_router(options.trials), prefix="/api", tags=["trials"])
    app.include_router(events.make_router(options.events), tags=["events"])
    app.include_router(announcements.make_router(options.announcements), tags=["announcements"])
    app.include_router(description.make_router(), tags=["descriptions"])
    app.include_router(alert_feeds.make_router(engines.api), tags=["alerts"])
    app.include_router(
        imagery.make_router(engines.imagery, options.credentials, options.imagery_hosts),
        prefix="/imagery",
        tags=["imagery"],
    )
    app.include_router(stac_api.make_router(engines.api), prefix="/stac", tags=["STAC"])
    app.mount("/ogc", application.MountedApp(features))
    app.mount("/static", _PageFiles(directory=_STATIC), name="static")
    return app


def _write_policy(shown: background.Background | None) -> str:
    """Write the content policy: no inline script and, but for tiles that a setting names, nothing from other hosts.

    The page shows texts of catalogs and models.
    """
    tiles = f" {shown.origin}" if shown else ""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "worker-src 'self' blob:",
            "style-src 'self'",
            f"img-src 'self' data: blob:{tiles}",
            f"connect-src 'self'{tiles}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _handle_errors(app: FastAPI) -> None:
    app.add_exception_handler(HTTPException, _respond_http_error)
    app.add_exception_handler(RequestValidationError, _respond_invalid)
    app.add_exception_handler(GeoError, _respond_unreadable)
    app.add_exception_handler(DataError, _respond_unstorable)
    app.add_exception_handler(DecodersBusy, _respond_busy)
    for lost in (OperationalError, InterfaceError, NoConnection):
        app.add_exception_handler(lost, _respond_unavailable)
    app.add_exception_handler(Exception, _respond_internal_error)


def _make_policy(engines: Engines, options: ServerOptions) -> AccessPolicy:
    uses = TokenUses(engines.token_uses)

    def find(given: str) -> tokens.Token | None:
        token = options.reviews.token if options.reviews is not None else None
        if token is not None and hmac.compare_digest(given.encode(), token.get_secret_value().encode()):
            return tokens.Token("review token", None, tokens.Scope.REVIEW.implied)
        with engines.tokens.connect() as conn:
            found = tokens.find_token(conn, given)
        if found is not None:
            uses.record(given, found.name)
        return found

    intakes = {
        tokens.Scope.ACKNOWLEDGE: options.reviews,
        tokens.Scope.REVIEW: options.reviews,
        tokens.Scope.OPERATE: options.operations,
        tokens.Scope.EVENTS: options.events,
        tokens.Scope.ANNOUNCE: options.announcements,
    }
    enabled = frozenset(scope for scope, intake in intakes.items() if intake is not None)
    return AccessPolicy(find, options.closed, enabled, options.site)


def _add_pages(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(_STATIC / "index.html")

    @app.get("/assess", include_in_schema=False)
    def assess() -> FileResponse:
        return FileResponse(_STATIC / "assess.html")

    @app.get("/operations", include_in_schema=False)
    def operate() -> FileResponse:
        return FileResponse(_STATIC / "operations.html")


class _PageFiles(StaticFiles):
    """Static files; those of the built page and the base map are kept by browsers."""

    def file_response(self, full_path: str | os.PathLike[str], *args: Any, **options: Any) -> Response:
        """Respond with a file."""
        response = super().file_response(full_path, *args, **options)
        if Path(full_path).parent.name in _LASTING and response.status_code == _OK:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


class _SecurityHeaders:
    """Middleware that adds security headers to every response."""

    def __init__(self, app: ASGIApp, background: background.Background | None) -> None:
        self._app = app
        self._headers = _HEADERS | {"Content-Security-Policy": _write_policy(background)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and add the headers to its response."""

        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_secured if scope["type"] == "http" else send)


def _respond_http_error(_: Request, error: Exception) -> Response:
    raised = cast(HTTPException, error)
    return respond_problem(raised.status_code, str(raised.detail), raised.headers)


def _respond_invalid(_: Request, error: Exception) -> Response:
    wrong = cast(RequestValidationError, error).errors()[0]
    place = ".".join(str(one) for one in wrong["loc"][1:]) or str(wrong["loc"][0])
    return respond_problem(422, f"{place}: {wrong['msg']}")


def _respond_unstorable(_: Request, __: Exception) -> Response:
    return respond_problem(422, "the database cannot store a value of this request")


def _respond_busy(_: Request, error: Exception) -> Response:
    seconds = error.retry_seconds if isinstance(error, DecodersBusy) else 1
    return respond_problem(503, str(error), {"Retry-After": str(seconds)})


def _respond_unavailable(request: Request, error: Exception) -> Response:
    _log.warning("%r: database error: %s", request.url.path, str(error).partition("\n")[0])
    words = "the database is unavailable or took too long; try again later"
    return respond_problem(503, words, {"Retry-After": "5"})


def _respond_unreadable(_: Request, error: Exception) -> Response:
    return respond_problem(502, str(error))


def _respond_internal_error(_: Request, __: Exception) -> Response:
    return respond_problem(500, "internal error; see the server's log")
