"""One object over time over HTTP, for the panel of the map."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Query, Response
from sqlalchemy import Engine

from segwatch.db import analyst
from segwatch.db.errors import NotFound
from segwatch.flows.web import schemas
from segwatch.flows.web.guards.refusals import REFUSALS

_MAX_OBSERVATIONS = 1000


def make_router(reading: Engine) -> APIRouter:
    """Make the route ``GET /objects/TRACK/history``."""
    routes = APIRouter()

    @routes.get("/objects/{track_id}/history", responses={200: {"model": schemas.ObjectHistory}, **REFUSALS})
    def read_history(
        track_id: UUID,
        response: Response,
        watch: Annotated[str | None, Query(description="watch that the object must belong to")] = None,
        limit: Annotated[int, Query(ge=1, le=_MAX_OBSERVATIONS, description="newest observations")] = 500,
    ) -> dict[str, Any]:
        """Return an object at each of its observations, oldest first, as known now, with lineage and reviews.

        ``area_low_m2`` and ``area_high_m2`` hold 95 %: the area moved by 1.96 times the displacement of boundaries of
        unchanged objects in the series, along the whole perimeter; null while fewer than five such objects were
        compared, and where the object is gone. The header ``X-Total-Count`` has the number of all observations.
        """
        try:
            with reading.connect() as conn:
                found = analyst.read_object_history(conn, track_id, watch, limit)
        except NotFound as error:
            raise HTTPException(404, str(error)) from error
        response.headers["X-Total-Count"] = str(found.observations_of_all)
        return {
            "track_id": track_id,
            "watch": found.watch,
            "target": found.target,
            "observations": [_show(row) for row in found.observations],
            "parents": found.parents,
            "children": found.children,
            "reviews": found.reviews,
        }

    return routes


def _show(row: dict[str, Any]) -> dict[str, Any]:
    hrefs = row["item_hrefs"] or []
    kept = (
        "observation_id", "alive", "area_m2", "area_low_m2", "area_high_m2", "visible_share", "confidence", "status",
        "score", "model", "instruction", "evidence", "change", "baseline",
    )  # fmt: skip
    return {
        "at": row["acquired_at"],
        "scene": row["scene_id"],
        "item_href": hrefs[0] if hrefs else None,
        "item_hrefs": hrefs,
        **{name: row[name] for name in kept},
    }
