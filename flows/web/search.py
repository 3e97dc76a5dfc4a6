"""Search over HTTP: places, coordinates, watches, and objects and alerts by id."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Response
from sqlalchemy import Engine

from segwatch.db import analyst
from segwatch.flows.web import gazetteer, schemas
from segwatch.flows.web.guards.refusals import REFUSALS
from segwatch.geo.text.coordinates import parse_coordinates

_LIMIT = 10


def make_router(reading: Engine) -> APIRouter:
    """Make the route ``GET /search``."""
    routes = APIRouter()

    @routes.get("/search", responses={200: {"model": list[schemas.Found]}, **REFUSALS})
    def search(
        q: Annotated[
            str, Query(min_length=1, max_length=100, description="name, coordinates, or start of an id")
        ],
        response: Response,
        watch: Annotated[str | None, Query(description="only objects and alerts of this watch")] = None,
    ) -> list[dict[str, Any]]:
        """Find a place on the map: coordinates, ids of objects and alerts, watches, then towns; at most ten of each.

        Coordinates are decimal (latitude first) or degrees, minutes and seconds with N, S, E and W. Ids may be cut
        after four digits. Towns of more than 15 000 people are those of GeoNames; see ``X-Attribution``.
        """
        found: list[dict[str, Any]] = []
        point = parse_coordinates(q)
        if point is not None:
            lon, lat = point
            label = f"{abs(lat):.5f}° {'N' if lat >= 0 else 'S'}, {abs(lon):.5f}° {'E' if lon >= 0 else 'W'}"
            found.append({"kind": "coordinates", "label": label, "lon": lon, "lat": lat})
        wanted = analyst.parse_id_prefix(q)
        with reading.connect() as conn:
            if wanted is not None:
                found += [_show_bounds(row) for row in analyst.find_by_id(conn, wanted, watch, _LIMIT)]
            found += [_show_bounds(row) for row in analyst.find_watches(conn, q, watch, _LIMIT)]
        if point is None:
            found += _find_places(q)
        response.headers["X-Attribution"] = gazetteer.ATTRIBUTION
        return found

    return routes


def _find_places(wanted: str) -> list[dict[str, Any]]:
    try:
        places = gazetteer.find_places(wanted, _LIMIT)
    except gazetteer.PlacesNotRead as error:
        raise HTTPException(503, str(error), {"Retry-After": "2"}) from error
    return [
        {"kind": "place", "label": f"{one.name}, {one.country}", "lon": one.lon, "lat": one.lat}
        for one in places
    ]


def _show_bounds(row: dict[str, Any]) -> dict[str, Any]:
    box = [row.pop(side) for side in ("west", "south", "east", "north")]
    return {**row, "bbox": box if box[0] is not None else None}
