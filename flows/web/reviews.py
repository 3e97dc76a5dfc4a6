"""Verdicts over HTTP: anyone who sees the map reads them, who may review adds them and sees who gave them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from sqlalchemy import Engine

from segwatch.db import reviews
from segwatch.db.errors import NotFound, ReviewRefused
from segwatch.db.readers import sees_track
from segwatch.db.tokens import Scope
from segwatch.flows.alerting.send_times import turn
from segwatch.flows.config.geojson import from_geojson
from segwatch.flows.errors import ConfigError
from segwatch.flows.web import queries
from segwatch.flows.web.guards.access import require, sight
from segwatch.flows.web.guards.bodies import limited
from segwatch.geo.spelling import describe_errors

_MOST_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Access:
    """What adding verdicts takes."""

    engine: Engine
    """Of a role that may add reviews; the map's own may not."""
    token: SecretStr | None = None
    """Would do by itself; None = only readers with the right to review may."""


class Asked(BaseModel):
    """Body of ``POST /api/reviews``."""

    model_config = ConfigDict(extra="forbid")

    track_id: UUID
    verdict: reviews.Verdict
    reviewer: str = Field(max_length=reviews.LONGEST_TEXT)
    reason: str = Field(max_length=reviews.LONGEST_TEXT)
    outline: dict[str, Any] | None = None
    """GeoJSON, for ``edited``."""


def router(reading: Engine, access: Access | None) -> APIRouter:
    """``GET /reviews?watch=`` and, with access, ``POST /reviews``."""
    routes = APIRouter()

    @routes.get("/reviews")
    def listed(watch: str) -> queries.Rows:
        """Every verdict about the objects of a watch."""
        with reading.connect() as conn:
            return queries.reviews(conn, watch)

    @routes.post("/reviews", status_code=201)
    async def decided(request: Request, response: Response) -> dict[str, Any]:
        """Record a verdict; 200 instead of 201 when the very same one held already."""
        if access is None:
            raise HTTPException(
                403, "reviews are switched off here; start the server with SEGWATCH_REVIEW_TOKEN"
            )
        require(Scope.REVIEW)
        made = await run_in_threadpool(_decide, access.engine, await _body(request))
        response.status_code = 201 if made.created else 200
        return {"review_id": made.id, "track_id": made.track_id, "verdict": made.verdict}

    return routes


async def _body(request: Request) -> Asked:
    received = await limited(request, _MOST_BYTES)
    try:
        return Asked.model_validate_json(received)
    except ValidationError as error:
        raise HTTPException(422, describe_errors(error)) from error


def _decide(engine: Engine, asked: Asked) -> reviews.Review:
    try:
        outline = None if asked.outline is None else from_geojson(asked.outline, "outline")
        with engine.begin() as conn:
            if not sees_track(conn, sight(), asked.track_id):
                raise reviews.unknown(asked.track_id)
            return reviews.decide(
                conn,
                asked.track_id,
                asked.verdict,
                reviewer=asked.reviewer,
                reason=asked.reason,
                outline=outline,
                turn=turn,
            )
    except NotFound as error:
        raise HTTPException(404, str(error)) from error
    except (ReviewRefused, ConfigError) as error:
        raise HTTPException(422, str(error)) from error
