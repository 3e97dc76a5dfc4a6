"""OGC API Features and vector tiles of the schema ``watch``, by tipg; no other schema, no functions.

Anyone may ask, and tipg writes SQL from what is asked: every parameter of it is read here, against the collection's
columns, and the database's own words, which can quote rows, are not passed on.
"""

from __future__ import annotations

import logging
import math
import re
from datetime import UTC, datetime
from typing import Annotated, Any

import asyncpg
import cql2
import jinja2
from ciso8601 import parse_rfc3339
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.templating import Jinja2Templates
from starlette.types import ASGIApp, Receive, Scope, Send
from tipg import dependencies, errors, factory
from tipg.collections import Catalog, Collection, pg_get_collection_index
from tipg.database import close_db_connection, connect_to_db
from tipg.factory import Endpoints, OGCFeaturesFactory, OGCTilesFactory
from tipg.settings import DatabaseSettings, PostgresSettings

from segwatch.db import readers
from segwatch.db.analyst import statements
from segwatch.flows.web.guards.access import sight
from segwatch.flows.web.guards.admission import OGC_CONNECTIONS
from segwatch.flows.web.guards.refusals import refusal
from segwatch.flows.web.ogcapi import cql, extents
from segwatch.flows.web.ogcapi.collections import ViewCollection
from segwatch.flows.web.ogcapi.queries import Bounded, csv_rows, known_parameters
from segwatch.flows.web.tiles import GRIDS, asked_tile

_log = logging.getLogger(__name__)

_SCHEMA = "watch"
_SECONDS = 15
_CONNECT_SECONDS = 3
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
# tipg's own breaks off where there are no rows
factory.create_csv_rows = csv_rows  # type: ignore[assignment]
#: tipg's words for these name parameters of the request and nothing else.
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
#: SQLSTATE: what was asked cannot be computed (XX: what PostGIS says about geometries), or took too long. What a view
#: lacks, or a right to it, is nobody's question.
_SENSELESS, _TOO_LONG, _OURS = ("22", "42", "54", "XX"), "57014", ("42501", "42P01")

_Asked = Annotated[Collection, Depends(dependencies.CollectionParams)]
_Text = Annotated[str | None, Query()]


class _Features(OGCFeaturesFactory):
    def url_for(self, request: Request, name: str, **path_params: Any) -> str:
        """As tipg has it, but for rows without a key: their link leads to the collection."""
        if name == "item":
            catalog: Catalog = request.app.state.collection_catalog
            collection = catalog["collections"].get(path_params["collectionId"])
            if collection is not None and collection.id_column is None:
                return str(super().url_for(request, "collection", collectionId=collection.id))
        return str(super().url_for(request, name, **path_params))


class _Endpoints(Endpoints):
    def register_routes(self) -> None:
        self.ogc_features = _Features(with_common=False, templates=self.templates)
        self.ogc_tiles = OGCTilesFactory(
            with_common=False, with_viewer=False, supported_tms=GRIDS, templates=self.templates
        )
        for part in (self.ogc_features, self.ogc_tiles):
            self.router.include_router(part.router)


class OwnRoot:
    """A mounted application whose links begin where it is mounted, not where the outermost application is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Starlette looks for routes and for the base of links in what the outer application left here."""
        await self._app(
            {name: value for name, value in scope.items() if name not in {"router", "app_root_path"}},
            receive,
            send,
        )


def make_app() -> FastAPI:
    """The application; :func:`connect` it before the first request, mount it as :class:`OwnRoot`."""
    app = FastAPI(title="segwatch: OGC API Features and Tiles", openapi_url="/api", docs_url=None)
    # tipg links to it; a page for people would need scripts from elsewhere
    app.add_api_route("/api.html", _described, name="swagger_ui_html", include_in_schema=False)
    # tipg's own take texts of catalogs and models for markup
    templates = jinja2.Environment(loader=jinja2.PackageLoader("tipg", "templates"), autoescape=True)
    endpoints = _Endpoints(title="segwatch", templates=Jinja2Templates(env=templates))
    app.include_router(endpoints.router, dependencies=[Depends(_storable), Depends(known_parameters)])
    app.add_middleware(Bounded)
    app.dependency_overrides = {
        dependencies.filter_query: _condition,
        dependencies.sortby_query: _order,
        dependencies.ids_query: _ids,
        dependencies.bbox_query: _bbox,
        dependencies.datetime_query: _moments,
        dependencies.TileParams: asked_tile,
    }
    for kind, status in _REFUSALS.items():
        app.add_exception_handler(kind, _refuse(status))
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _told)
    app.add_exception_handler(asyncpg.PostgresError, _database)
    for lost in (asyncpg.InterfaceError, OSError, TimeoutError):  # no connection, or none any more
        app.add_exception_handler(lost, _unavailable)
    app.add_exception_handler(Exception, _broken)
    return app


async def connect(app: FastAPI, database_url: str) -> None:
    """Open the pool and list the views."""
    settings = DatabaseSettings(
        schemas=[_SCHEMA], functions=[], exclude_function_schemas=[_SCHEMA, "public", "pg_temp"]
    )
    await connect_to_db(
        app,
        schemas=[_SCHEMA],
        settings=PostgresSettings(database_url=database_url, db_max_conn_size=OGC_CONNECTIONS),
        server_settings={"timezone": "UTC", "statement_timeout": f"{_SECONDS}s", **readers.BEGIN},
        timeout=_CONNECT_SECONDS,
        setup=_for_the_reader,
    )
    async with app.state.pool.acquire() as conn:
        await conn.execute(statements.NO_TIMEOUT)  # it looks at every row
        await conn.execute(readers.SET_SESSION, *readers.EVERYTHING.settings)
        collections = await extents.measured(conn, await pg_get_collection_index(conn, settings=settings))
    views = [_view(one) for one in collections]
    app.state.collection_catalog = Catalog(
        collections={one.id: one for one in views}, last_updated=datetime.now(UTC)
    )


def _view(one: Collection) -> ViewCollection:
    view = ViewCollection.model_validate({**dict(one), "schema": _SCHEMA})
    traits = view.traits
    if traits is not None:
        view.id_column = view.get_column(traits.key or "")
        view.datetime_column = view.get_datetime_column(traits.begin)
        for column in view.datetime_columns:
            if column.name not in {traits.begin, traits.end}:
                # the extent in time is that of valid times
                column.mindt = column.maxdt = None
        view.description = f"{view.description or view.id} The parameter datetime filters {traits.meaning}."
    return view


async def disconnect(app: FastAPI) -> None:
    """Close the pool."""
    await close_db_connection(app)


async def _for_the_reader(conn: asyncpg.Connection) -> None:
    """For each request anew: tipg makes temporary functions in a new connection, and a pool resets what is set."""
    await conn.execute(statements.READ_ONLY)
    await conn.execute(readers.SET_SESSION, *sight().settings)


def _described(request: Request) -> Response:
    return RedirectResponse(request.url_for("openapi"))


def _storable(request: Request) -> None:
    """PostgreSQL holds no NUL."""
    texts = (*request.query_params.values(), *map(str, request.path_params.values()))
    if any("\0" in one for one in texts):
        raise HTTPException(422, "a parameter holds the character NUL")


def _condition(
    collection: _Asked,
    given: Annotated[str | None, Query(alias="filter")] = None,
) -> cql2.Expr | None:
    """The filter, with shapes that cross the antimeridian split: the database measures in the plane."""
    if given is None:
        return None
    # an error of a row that may not be seen would tell of it: those of arithmetic depend on values
    asked = cql.parse(
        given, {column.name for column in collection.properties}, arithmetic=sight().watches is None
    ).to_json()
    return cql2.Expr(extents.split_shapes(asked))


def _order(collection: _Asked, sortby: _Text = None) -> str | None:
    if not sortby:
        return None
    wanted = []
    for one in sortby.split(","):
        sign, name = _signed(one.strip())
        if collection.get_column(name) is None:
            raise HTTPException(400, f"sortby: there is no property {name}")
        wanted.append(sign + name)
    return ",".join(wanted)


def _signed(one: str) -> tuple[str, str]:
    return (one[0], one[1:].strip()) if one.startswith(("+", "-")) else ("", one)


def _ids(collection: _Asked, ids: _Text = None) -> list[str] | None:
    if ids and collection.id_column is None:
        raise errors.NoPrimaryKey(f"the rows of {collection.id} have no id")
    return ids.split(",") if ids else None


def _bbox(bbox: _Text = None) -> list[float] | None:
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
        raise errors.InvalidBBox("bbox: south is above north; write west,south,east,north in degrees")
    # a box whose west lies east of its east goes across 180 degrees
    return dependencies.bbox_query(bbox)


def _moments(datetime: _Text = None) -> list[str] | None:
    """Begin and end of what is asked, both included, in RFC 3339 or ``..``."""
    if datetime is None:
        return None
    parts = datetime.split("/")
    try:
        spans = [None if one in {"", ".."} else _span(one) for one in parts]
    except (ValueError, OverflowError):
        spans = []
    known = [one for one in spans if one is not None]
    if not known or len(parts) > 2:
        raise errors.InvalidDatetime(
            "datetime: write a time as in RFC 3339, or two with / between, one of which may be .."
        )
    first, last = spans[0], spans[-1]
    if first is not None and last is not None and first[0] > last[1]:
        raise errors.InvalidDatetime("datetime: the end lies before the beginning")
    return [_rfc3339(first and first[0]), _rfc3339(last and last[1])]


def _span(one: str) -> tuple[datetime, datetime]:
    """A time; a date is all of its day, UTC."""
    if _DATE.fullmatch(one):
        day = parse_rfc3339(f"{one}T00:00:00Z")
        return day, day.replace(hour=23, minute=59, second=59, microsecond=999_999)
    moment = parse_rfc3339(one).astimezone(UTC)
    return moment, moment


def _rfc3339(moment: datetime | None) -> str:
    return ".." if moment is None else moment.isoformat().replace("+00:00", "Z")


def _refuse(status: int) -> Any:
    def handler(_: Request, error: Exception) -> Response:
        code = "NotFound" if status == 404 else "InvalidParameterValue"
        return JSONResponse(refusal(code, str(error) or "there is no such column"), status_code=status)

    return handler


def _invalid(_: Request, error: Any) -> Response:
    """What FastAPI finds wrong with a parameter; of a path, that it leads nowhere."""
    wrong = error.errors()[0]
    place, *name = (str(one) for one in wrong["loc"])
    words = f"{'.'.join(name) or place}: {wrong['msg']}"
    return JSONResponse(refusal("InvalidParameterValue", words), status_code=404 if place == "path" else 400)


def _told(_: Request, error: Any) -> Response:
    code = "NotFound" if error.status_code == 404 else "InvalidParameterValue"
    return JSONResponse(refusal(code, str(error.detail)), error.status_code, error.headers)


def _database(request: Request, error: Exception) -> Response:
    state = str(getattr(error, "sqlstate", ""))
    senseless = state.startswith(_SENSELESS) and state not in _OURS
    # further lines quote rows
    said = str(error).partition("\n")[0]
    _log.log(logging.INFO if senseless else logging.WARNING, "%r: %s", request.url.path, said)
    if senseless:
        detail = (
            "the database cannot answer this; do types and values fit the properties they are compared with?"
        )
        return JSONResponse({"detail": detail}, status_code=400)
    if state == _TOO_LONG:
        return _later(f"this took more than {_SECONDS} s; ask for less")
    return _later("the database does not answer now")


def _unavailable(request: Request, error: Exception) -> Response:
    _log.warning("%r: the database does not answer: %s", request.url.path, error)
    return _later("the database does not answer now")


def _later(words: str) -> Response:
    return JSONResponse(refusal("ServiceUnavailable", words), 503, {"Retry-After": "5"})


def _broken(_: Request, __: Exception) -> Response:
    return JSONResponse({"detail": "something went wrong here; the server's log says what"}, status_code=500)
