"""Watches, scenes, coverage and events over HTTP, and the vector tiles of the map."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from morecantile import Tile
from sqlalchemy import Engine

from segwatch.db import analyst
from segwatch.db.errors import InvalidCursor
from segwatch.flows.web import schemas
from segwatch.flows.web.guards.access import current_sight
from segwatch.flows.web.guards.refusals import REFUSALS
from segwatch.flows.web.known_watches import check_watch
from segwatch.flows.web.links import link_next
from segwatch.flows.web.ogcapi.vector_tiles import MEDIA_TYPE, TileKey, VectorTiles
from segwatch.flows.web.tiles import parse_mercator_tile
from segwatch.geo.types.event import EventKind

_MAX_ROWS = 1000
_After = Annotated[
    str | None, Query(max_length=200, description="next of the page before; without it, the first page")
]
_Limit = Annotated[int, Query(ge=1, le=_MAX_ROWS, description="most rows of a page")]
_State = Literal["pending", "leased", "inferred", "observed", "skipped", "failed", "rejected"]


def make_router(engine: Engine, tiles: VectorTiles) -> APIRouter:
    """Make the routes below ``/api`` that only read the analyst views."""
    routes = APIRouter()
    _add_watches(routes, engine)
    _add_pages(routes, engine)

    @routes.get(
        "/tiles/{z}/{x}/{y}.mvt",
        response_class=Response,
        responses={
            **schemas.describe_content(
                MEDIA_TYPE, "A vector tile with the layers objects, dots, summary, cut and unseen"
            ),
            **REFUSALS,
        },
    )
    async def tile(
        request: Request,
        watch: str,
        place: Annotated[Tile, Depends(parse_mercator_tile)],
        at: Annotated[str, Query(description="time, such as 2026-03-01T12:00:00Z; default: now")] = "now",
        known_at: Annotated[
            str | None, Query(description="only what was recorded up to then; without it, everything")
        ] = None,
        since: Annotated[
            str | None, Query(description="every scene from then until `at`; without it, only the time `at`")
        ] = None,
    ) -> Response:
        """Return the objects of a watch as they were at a time, as a vector tile; see ``watch.objects_tile``.

        Layers: ``objects`` (outlines), ``dots`` (small objects, counted in cells), ``summary`` and, where fewer
        outlines than objects are drawn, ``cut`` (``shown`` of ``of``); ``unseen`` is what the scene did not see.
        With ``since``, every feature holds from ``begin`` (inclusive) until ``end`` (exclusive), milliseconds since
        1970: a map shows one date after the other by a filter, without another request.
        """
        moment = analyst.TileMoment(watch, at, known_at, since)
        where = analyst.TilePlace(place.z, place.x, place.y)
        return await tiles.respond(request, TileKey(moment, where, current_sight().settings))

    return routes


def _add_watches(routes: APIRouter, engine: Engine) -> None:
    @routes.get("/watches", responses={200: {"model": list[schemas.WatchSummary]}, **REFUSALS})
    def watches(
        counts: Annotated[
            bool, Query(description="false: objects and hectares are null, and no object is read for them")
        ] = True,
    ) -> analyst.Rows:
        """List every watch with its counts, bounds, and what is known about the accuracy of its areas."""
        with engine.connect() as conn:
            return analyst.list_watches(conn, counts=counts)

    @routes.get("/scenes", responses={200: {"model": list[schemas.SceneSummary]}, **REFUSALS})
    def scenes(watch: str) -> analyst.Rows:
        """List the scenes of a watch by acquisition time."""
        with engine.connect() as conn:
            check_watch(conn, watch)
            return analyst.list_scenes(conn, watch)

    @routes.get("/unused", responses={200: {"model": list[schemas.UnusedScene]}, **REFUSALS})
    def unused(watch: str, limit: _Limit = 100) -> analyst.Rows:
        """List scenes and items of a watch that were not observed, newest first, with reasons."""
        with engine.connect() as conn:
            check_watch(conn, watch)
            return analyst.list_unused(conn, watch, limit)


def _add_pages(routes: APIRouter, engine: Engine) -> None:
    @routes.get("/coverage", responses={200: {"model": schemas.CoveragePage}, **REFUSALS})
    def coverage(
        request: Request,
        response: Response,
        watch: str,
        limit: _Limit = 100,
        state: Annotated[list[_State] | None, Query(description="only rows of these states")] = None,
        after: _After = None,
    ) -> dict[str, Any]:
        """List what was observed of a watch and what was not, latest acquisition first."""
        try:
            with engine.connect() as conn:
                check_watch(conn, watch)
                rows, following = analyst.list_coverage_page(conn, watch, limit, states=state, after=after)
        except InvalidCursor as error:
            raise HTTPException(422, str(error)) from error
        link_next(request, response, following)
        return {"coverage": rows, "next": following}

    @routes.get("/events", responses={200: {"model": schemas.EventPage}, **REFUSALS})
    def events(
        request: Request,
        response: Response,
        limit: _Limit = 100,
        kind: Annotated[EventKind | None, Query(description="only events of this kind")] = None,
        after: _After = None,
    ) -> dict[str, Any]:
        """List events, the last recorded first; only readers of all watches see them."""
        try:
            with engine.connect() as conn:
                rows, following = analyst.list_events(conn, limit, kind=kind, after=after)
        except InvalidCursor as error:
            raise HTTPException(422, str(error)) from error
        link_next(request, response, following)
        return {"events": rows, "next": following}
