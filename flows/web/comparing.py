"""What changed between two times over HTTP: totals, and vector tiles."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from morecantile import Tile
from sqlalchemy import Engine

from segwatch.db import analyst
from segwatch.flows.web import schemas
from segwatch.flows.web.boxes import BoxText, parse_box
from segwatch.flows.web.guards.access import current_sight
from segwatch.flows.web.guards.refusals import REFUSALS
from segwatch.flows.web.known_watches import check_watch
from segwatch.flows.web.ogcapi.vector_tiles import MEDIA_TYPE, TileKey, VectorTiles
from segwatch.flows.web.tiles import parse_mercator_tile

_From = Annotated[str, Query(alias="from", description="the earlier time")]
_To = Annotated[str, Query(alias="to", description="the later time")]


def make_router(reading: Engine, tiles: VectorTiles) -> APIRouter:
    """Make the routes ``GET /compare`` and ``GET /compare/Z/X/Y.mvt``."""
    routes = APIRouter()

    @routes.get("/compare", responses={200: {"model": schemas.Comparison}, **REFUSALS})
    def compare(watch: str, since: _From, until: _To, bbox: BoxText = None) -> dict[str, Any]:
        """Sum what became of the objects of a watch between two times, as known now.

        Rows are by target, change and status. ``unchanged`` objects were looked at in between, those that were not are
        ``not seen``. ``area_m2`` is the area at the later time, of what is gone at the earlier one.
        """
        span, box = analyst.TileSpan(watch, since, until), parse_box(bbox)
        with reading.connect() as conn:
            check_watch(conn, watch)
            ground = analyst.measure_unseen(conn, span, box)
            if ground is None:
                raise HTTPException(404, f"the area of the watch {watch!r} does not reach into bbox")
            totals = analyst.compare_totals(conn, span, box)
        return {
            "from": since,
            "to": until,
            "totals": totals,
            "not_seen_m2": {"from": ground["not_seen_from_m2"], "to": ground["not_seen_to_m2"]},
            "area_m2": ground["area_m2"],
        }

    @routes.get(
        "/compare/{z}/{x}/{y}.mvt",
        response_class=Response,
        responses={
            **schemas.describe_content(
                MEDIA_TYPE, "A vector tile with the layers changes, dots, cut and unseen"
            ),
            **REFUSALS,
        },
    )
    async def tile(
        request: Request,
        watch: str,
        since: _From,
        until: _To,
        place: Annotated[Tile, Depends(parse_mercator_tile)],
    ) -> Response:
        """Return what became of the objects between two times, as a vector tile; see ``watch.compare_tile``."""
        span = analyst.TileSpan(watch, since, until)
        where = analyst.TilePlace(place.z, place.x, place.y)
        return await tiles.respond(request, TileKey(span, where, current_sight().settings))

    return routes
