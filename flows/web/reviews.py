"""Reviews over HTTP: every reader lists them; readers with the scope review add them and see who did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from sqlalchemy import Engine

from segwatch.db import analyst, reviews
from segwatch.db.errors import NotFound, ReviewRefused
from segwatch.db.readers import may_see_track
from segwatch.db.tokens import Scope
from segwatch.flows.alerting.send_times import compute_send_time
from segwatch.flows.config.geojson import parse_geometry
from segwatch.flows.errors import ConfigError
from segwatch.flows.web import schemas
from segwatch.flows.web.guards.access import current_sight, require_scope
from segwatch.flows.web.guards.bodies import read_body
from segwatch.flows.web.guards.refusals import REFUSALS
from segwatch.flows.web.known_watches import check_watch
from segwatch.geo.text.spelling import describe_errors

_MAX_BYTES = 4 * 2**20


@dataclass(frozen=True)
class ReviewIntake:
    """How the server takes reviews and marks of alerts."""

    engine: Engine
    """Engine of a role that may add reviews; that of the map may not."""
    token: SecretStr | None = None
    """Token that may review everything; None = only tokens with the scope ``review`` may."""


class ReviewBody(BaseModel):
    """Body of ``POST /api/reviews``."""

    model_config = ConfigDict(extra="forbid")

    track_id: UUID
    verdict: reviews.Verdict
    reviewer: str = Field(max_length=reviews.MAX_TEXT_LENGTH)
    reason: str = Field(max_length=reviews.MAX_TEXT_LENGTH)
    outline: dict[str, Any] | None = None
    """GeoJSON, for ``edited``."""


def make_router(reading: Engine, intake: ReviewIntake | None) -> APIRouter:
    """Make the routes ``GET /reviews?watch=`` and, with an intake, ``POST /reviews``."""
    routes = APIRouter()

    @routes.get("/reviews", responses={200: {"model": list[schemas.ReviewRow]}, **REFUSALS})
    def list_reviews(watch: str) -> analyst.Rows:
        """List every verdict about the objects of a watch."""
        with reading.connect() as conn:
            check_watch(conn, watch)
            return analyst.list_reviews(conn, watch)

    @routes.post(
        "/reviews",
        status_code=201,
        responses={200: {"model": schemas.ReviewMade}, 201: {"model": schemas.ReviewMade}, **REFUSALS},
        openapi_extra=schemas.describe_json_body(ReviewBody),
    )
    async def add_review(request: Request, response: Response) -> dict[str, Any]:
        """Record a verdict; 200 instead of 201 if it was already in force."""
        if intake is None:
            raise HTTPException(403, "this server takes no reviews; start it with SEGWATCH_REVIEW_TOKEN")
        require_scope(Scope.REVIEW)
        made = await run_in_threadpool(_decide, intake.engine, await _parse_body(request))
        response.status_code = 201 if made.created else 200
        return {"review_id": made.id, "track_id": made.track_id, "verdict": made.verdict}

    return routes


async def _parse_body(request: Request) -> ReviewBody:
    received = await read_body(request, _MAX_BYTES)
    try:
        return ReviewBody.model_validate_json(received)
    except ValidationError as error:
        raise HTTPException(422, describe_errors(error)) from error


def _decide(engine: Engine, body: ReviewBody) -> reviews.Review:
    try:
        outline = None if body.outline is None else parse_geometry(body.outline, "outline")
        with engine.begin() as conn:
            if not may_see_track(conn, current_sight(), body.track_id):
                raise reviews.object_not_found(body.track_id)
            return reviews.decide(
                conn,
                body.track_id,
                body.verdict,
                reviewer=body.reviewer,
                reason=body.reason,
                outline=outline,
                turn=compute_send_time,
            )
    except NotFound as error:
        raise HTTPException(404, str(error)) from error
    except (ReviewRefused, ConfigError) as error:
        raise HTTPException(422, str(error)) from error
