"""OGC API Features and vector tiles of the schema ``watch``, by tipg; no other schema, no functions.

tipg turns parameters into SQL. So every parameter is checked here against the columns of its collection, and error
messages of the database, which can quote rows, are not passed on.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, cast

import asyncpg
import cql2
import jinja2
from fastapi import Depends, FastAPI, HTTPException, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.templating import Jinja2Templates
from starlette.types import ASGIApp, Receive, Scope, Send
from tipg import dependencies, errors, factory
from tipg.collections import Catalog, Collection
from tipg.database import close_db_connection, connect_to_db
from tipg.factory import Endpoints, OGCFeaturesFactory, OGCTilesFactory
from tipg.model import Conformance, Link
from tipg.resources.enums import MediaType
from tipg.resources.response import GeoJSONResponse
from tipg.settings import PostgresSettings

from segwatch.db import readers
from segwatch.db.analyst import statements
from segwatch.flows.web.description import DescribedApp
from segwatch.flows.web.guards.access import current_sight
from segwatch.flows.web.guards.admission import OGC_CONNECTIONS
from segwatch.flows.web.guards.refusals import REFUSALS, respond_problem
from segwatch.flows.web.ogcapi import catalogs, cql, extents
from segwatch.flows.web.ogcapi.collections import is_sortable
from segwatch.flows.web.ogcapi.conformance import list_classes
from segwatch.flows.web.ogcapi.files import BinaryFormats
from segwatch.flows.web.ogcapi.items import Requested, add_items_route, list_file_formats
from segwatch.flows.web.ogcapi.queries import LimitCap, require_known_parameters, write_csv_rows
from segwatch.flows.web.ogcapi.schemas import SCHEMA_LINK, add_schema_routes
from segwatch.flows.web.ogcapi.tilesets import replace_tileset_route
from segwatch.flows.web.parameters import parse_interval
from segwatch.flows.web.tiles import GRIDS, parse_tile

_log = logging.getLogger(__name__)

_SECONDS = 15
_CONNECT_SECONDS = 3
# tipg's own function fails where there are no rows
factory.create_csv_rows = write_csv_rows  # type: ignore[assignment]
#: Errors of tipg whose messages only quote parameters of the request, with their HTTP status.
_REFUSALS = {
    errors.NotFound: 404,
    errors.InvalidPropertyName: 404,
    errors.InvalidGeometryColumnName: 404,
    errors.InvalidDatetimeColumnName: 404,
    errors.MissingGeometryColumn: 404,
    errors.MissingDatetimeColumn: 400,
    errors.InvalidBBox: 400,
    errors.InvalidDatetime: 400,
    errors.InvalidLimit: 400,
    errors.NoPrimaryKey: 422,
}
#: SQLSTATE of errors that the request causes (XX: errors of PostGIS about geometries), of timeouts, and of missing
#: views or rights, which are the server's fault.
_CAUSED_BY_REQUEST, _TOO_LONG, _CAUSED_BY_SERVER = ("22", "42", "54", "XX"), "57014", ("42501", "42P01")

_Text = Annotated[str | None, Query()]


class _Features(OGCFeaturesFactory):
    def url_for(self, request: Request, name: str, **path_params: Any) -> str:
        """Make links as tipg does, except that links of rows without a key lead to the collection."""
        if name == "item":
            catalog: Catalog = request.app.state.collection_catalog
            collection = catalog["collections"].get(path_params["collectionId"])
            if collection is not None and collection.id_column is None:
                return str(super().url_for(request, "collection", collectionId=collection.id))
        return str(super().url_for(request, name, **path_params))

    def _items_route(self) -> None:
        add_items_route(self)

    def _item_route(self) -> None:
        """Add tipg's route for ids with slashes, too."""
        super()._item_route()  # type: ignore[no-untyped-call]  # tipg has no types
        route = cast(APIRoute, self.router.routes.pop())
        self.router.add_api_route(
            "/collections/{collectionId}/items/{itemId:path}", route.endpoint, name="item",
            response_class=GeoJSONResponse, responses=route.responses, tags=route.tags,
        )  # fmt: skip

    def _queryables_route(self) -> None:
        add_schema_routes(self)

    def links(self, request: Request) -> list[Link]:
        """Link to what tipg links to, and to the description of the messages that segwatch sends."""
        root = str(request.base_url).removesuffix("/").removesuffix("/ogc")
        messages = Link(
            title="Messages (AsyncAPI)", href=f"{root}/asyncapi.json", type=MediaType.json, rel="service-desc"
        )
        return [*super().links(request), messages]

    def _additional_collection_tiles_links(self, request: Request, collection: Collection) -> list[Link]:
        """Link to the tiles of a collection as tipg does, to its schema, and to its items as files."""
        schema, items = (
            self.url_for(request, name, collectionId=collection.id) for name in ("schema", "items")
        )
        links = [Link(title="Schema", href=schema, type=MediaType.schemajson, rel=SCHEMA_LINK)]
        links += [  # without a type, because tipg's links know only its own
            Link(title=f"Items ({title})", href=f"{items}?f={form.value}", rel="alternate")
            for form, title in list_file_formats()
        ]
        return [*links, *super()._additional_collection_tiles_links(request, collection)]


class _Endpoints(Endpoints):
    def _conformance_route(self) -> None:
        @self.router.get("/conformance", response_model=Conformance, responses=REFUSALS, tags=["OGC Common"])
        def conformance(
            request: Request, output: Annotated[MediaType | None, Depends(dependencies.OutputType)] = None
        ) -> Any:
            """List the conformance classes that the server meets."""
            found = Conformance(conformsTo=list_classes())
            if output is MediaType.html:
                return self._create_html_response(request, found.model_dump(), template_name="conformance")
            return found

    def register_routes(self) -> None:
        self.ogc_features = _Features(with_common=False, templates=self.templates)
        self.ogc_tiles = OGCTilesFactory(
            with_common=False, with_viewer=False, supported_tms=GRIDS, templates=self.templates
        )
        replace_tileset_route(self.ogc_tiles)
        for part in (self.ogc_features, self.ogc_tiles):
            self.router.include_router(part.router)


class MountedApp:
    """A mounted application whose links start where it is mounted, not at the outermost application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Remove what the outer application left in the scope, where Starlette looks for the base of links."""
        await self._app(
            {name: value for name, value in scope.items() if name not in {"router", "app_root_path"}},
            receive,
            send,
        )


def make_app() -> FastAPI:
    """Make the application; :func:`connect` it before the first request, mount it as :class:`MountedApp`."""
    app = DescribedApp(
        title="segwatch: OGC API Features and Tiles", openapi_url="/api", docs_url=None, redoc_url=None
    )
    # tipg links to this page; Swagger UI itself would need scripts from another site
    app.add_api_route("/api.html", _redirect_to_openapi, name="swagger_ui_html", include_in_schema=False)
    # tipg's own environment does not escape texts of catalogs and models
    templates = jinja2.Environment(loader=jinja2.PackageLoader("tipg", "templates"), autoescape=True)
    endpoints = _Endpoints(title="segwatch", templates=Jinja2Templates(env=templates))
    app.include_router(
        endpoints.router, dependencies=[Depends(_refuse_nul), Depends(require_known_parameters)]
    )
    app.add_middleware(BinaryFormats, features=app)
    app.add_middleware(LimitCap)
    app.dependency_overrides = {
        dependencies.CollectionParams: _find_collection,
        dependencies.filter_query: _parse_filter,
        dependencies.sortby_query: _parse_sortby,
        dependencies.ids_query: _parse_ids,
        dependencies.bbox_query: _parse_bbox,
        dependencies.datetime_query: _parse_datetime,
        dependencies.TileParams: parse_tile,
    }
    for kind, status in _REFUSALS.items():
        app.add_exception_handler(kind, _make_handler(status))
    app.add_exception_handler(RequestValidationError, _respond_invalid)
    app.add_exception_handler(StarletteHTTPException, _respond_http_error)
    app.add_exception_handler(asyncpg.PostgresError, _respond_database_error)
    for lost in (asyncpg.InterfaceError, OSError, TimeoutError):  # connection failed or lost
        app.add_exception_handler(lost, _respond_unavailable)
    app.add_exception_handler(Exception, _respond_internal_error)
    return app


async def connect(app: FastAPI, database_url: str) -> None:
    """Open the connection pool, list the views, and keep what is said about them current."""
    await connect_to_db(
        app,
        schemas=[catalogs.SCHEMA],
        settings=PostgresSettings(database_url=database_url, db_max_conn_size=OGC_CONNECTIONS),
        server_settings={"timezone": "UTC", "statement_timeout": f"{_SECONDS}s", **readers.INITIAL_SETTINGS},
        timeout=_CONNECT_SECONDS,
        setup=_prepare_for_reader,
    )
    await catalogs.load(app)
    app.state.keeping_current = asyncio.create_task(catalogs.keep_current(app))


async def disconnect(app: FastAPI) -> None:
    """Stop measuring the collections, and close the connection pool."""
    app.state.keeping_current.cancel()
    with suppress(asyncio.CancelledError):
        await app.state.keeping_current
    await close_db_connection(app)


async def _prepare_for_reader(conn: asyncpg.Connection) -> None:
    """Prepare a connection for a request: read-only, and showing what the reader may see.

    Needed for every request, because the pool resets a session's settings; not at connecting, because tipg creates
    temporary functions then.
    """
    await conn.execute(statements.READ_ONLY)
    await conn.execute(readers.SET_SESSION, *current_sight().settings)


def _redirect_to_openapi(request: Request) -> Response:
    return RedirectResponse(request.url_for("openapi"))


def _refuse_nul(request: Request) -> None:
    """Refuse parameters with NUL characters, which PostgreSQL cannot store."""
    texts = (*request.query_params.values(), *map(str, request.path_params.values()))
    if any("\0" in one for one in texts):
        raise HTTPException(422, "a parameter contains the character NUL")


def _find_collection(
    request: Request,
    collectionId: Annotated[str, Path(description="id of a collection, such as watch.changes")],
) -> Collection:
    found: Collection | None = request.app.state.collection_catalog["collections"].get(collectionId)
    if found is None:
        raise HTTPException(404, f"there is no collection {collectionId}; /collections lists them")
    return found


def _parse_filter(
    collection: Requested,
    given: Annotated[str | None, Query(alias="filter")] = None,
) -> cql2.Expr | None:
    """Parse the filter, and split geometries at the antimeridian, because the database computes in the plane."""
    if given is None:
        return None
    # errors of arithmetic depend on values, and would reveal those of rows that the reader may not see
    asked = cql.parse(
        given, {column.name for column in collection.properties}, arithmetic=current_sight().watches is None
    ).to_json()
    return cql2.Expr(extents.split_geometries(asked))


def _parse_sortby(collection: Requested, sortby: _Text = None) -> str | None:
    if not sortby:
        return None
    wanted = []
    for one in sortby.split(","):
        sign, name = _split_sign(one.strip())
        column = collection.get_column(name)
        if column is None:
            raise HTTPException(400, f"sortby: there is no property {name}")
        if not is_sortable(column):
            raise HTTPException(400, f"sortby: {name} has no order; choose a number, a text or a time")
        wanted.append(sign + name)
    return ",".join(wanted)


def _split_sign(one: str) -> tuple[str, str]:
    return (one[0], one[1:].strip()) if one.startswith(("+", "-")) else ("", one)


def _parse_ids(collection: Requested, ids: _Text = None) -> list[str] | None:
    if ids and collection.id_column is None:
        raise errors.NoPrimaryKey(f"features of {collection.id} have no id")
    return ids.split(",") if ids else None


def _parse_bbox(bbox: _Text = None) -> list[float] | None:
    if not bbox:
        return None
    try:
        numbers = [float(one) for one in bbox.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in {4, 6} or not all(map(math.isfinite, numbers)):
        raise errors.InvalidBBox("bbox: write west,south,east,north in degrees")
    south, north = numbers[1], numbers[len(numbers) // 2 + 1]
    if south > north:
        raise errors.InvalidBBox("bbox: south is north of north; write west,south,east,north in degrees")
    # a box whose west is east of its east crosses the antimeridian
    return dependencies.bbox_query(bbox)


def _parse_datetime(datetime: _Text = None) -> list[str] | None:
    """Parse a time or interval into begin and end, both inclusive, in RFC 3339 or ``..``."""
    if datetime is None:
        return None
    try:
        return [_to_rfc3339(one) for one in parse_interval(datetime)]
    except ValueError as error:
        raise errors.InvalidDatetime(str(error)) from error


def _to_rfc3339(moment: datetime | None) -> str:
    return ".." if moment is None else moment.isoformat().replace("+00:00", "Z")


def _make_handler(status: int) -> Any:
    def handler(_: Request, error: Exception) -> Response:
        return respond_problem(status, str(error) or "there is no such column")

    return handler


def _respond_invalid(_: Request, error: Any) -> Response:
    """Respond to an invalid parameter: 400, or 404 if it is part of the path."""
    wrong = error.errors()[0]
    place, *name = (str(one) for one in wrong["loc"])
    words = f"{'.'.join(name) or place}: {wrong['msg']}"
    return respond_problem(404 if place == "path" else 400, words)


def _respond_http_error(_: Request, error: Any) -> Response:
    return respond_problem(error.status_code, str(error.detail), error.headers)


def _respond_database_error(request: Request, error: Exception) -> Response:
    state = str(getattr(error, "sqlstate", ""))
    caused_by_request = state.startswith(_CAUSED_BY_REQUEST) and state not in _CAUSED_BY_SERVER
    # only the first line, because further lines quote rows
    message = str(error).partition("\n")[0]
    _log.log(logging.INFO if caused_by_request else logging.WARNING, "%r: %s", request.url.path, message)
    if caused_by_request:
        words = (
            "the database cannot compute this; do types and values fit the properties they are compared with?"
        )
        return respond_problem(400, words)
    if state == _TOO_LONG:
        return _respond_later(f"this took more than {_SECONDS} s; request less")
    return _respond_later("the database is unavailable; try again later")


def _respond_unavailable(request: Request, error: Exception) -> Response:
    _log.warning("%r: database connection failed: %s", request.url.path, error)
    return _respond_later("the database is unavailable; try again later")


def _respond_later(words: str) -> Response:
    return respond_problem(503, words, {"Retry-After": "5"})


def _respond_internal_error(_: Request, __: Exception) -> Response:
    return respond_problem(500, "internal error; see the server's log")
