"""``POST /events``: receive events, signed as a Standard Webhook or sent with a token.

The signature (https://www.standardwebhooks.com) covers id, time and body; a message that is more than five minutes old
or ahead is refused. A message that is repeated within that time adds nothing, because its events are already known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import SecretStr
from sqlalchemy import Engine

from segwatch.db.tokens import Scope
from segwatch.flows.events.ingest import record_events
from segwatch.flows.web import schemas
from segwatch.flows.web.guards.access import current_reader
from segwatch.flows.web.guards.bodies import read_body
from segwatch.flows.web.guards.refusals import REFUSALS
from segwatch.flows.web.guards.signatures import require_signature
from segwatch.geo.errors import InvalidEvent
from segwatch.geo.sources.http import headers

_MAX_BYTES = 4 * 2**20


@dataclass(frozen=True)
class EventIntake:
    """How the server receives events."""

    engine: Engine
    """Engine of a role that may add events; that of the map may not."""
    secret: SecretStr | None = None
    """Secret that events are signed with; None = only tokens with the scope ``events`` may send them."""


def make_router(intake: EventIntake | None) -> APIRouter:
    """Make the route ``POST /events``; 403 without an intake."""
    routes = APIRouter()

    @routes.post(
        "/events",
        status_code=201,
        responses={
            200: {"model": schemas.RecordedEvents, "description": "None of the events is new"},
            201: {"model": schemas.RecordedEvents},
            **REFUSALS,
        },
        openapi_extra=schemas.describe_body({}, "application/geo+json", "application/xml"),
    )
    async def receive(request: Request, response: Response) -> dict[str, Any]:
        """Record events in GeoJSON, CAP 1.2 or any other feed format; 200 instead of 201 if none is new."""
        if intake is None:
            raise HTTPException(403, "this server takes no events; start it with SEGWATCH_EVENT_SECRET")
        body = await read_body(request, _MAX_BYTES)
        if Scope.EVENTS not in current_reader().scopes:
            require_signature(request, body, intake.secret, Scope.EVENTS)
        try:
            charset = headers.parse_charset(request.headers.get("content-type", ""))
            recorded, refused = await run_in_threadpool(
                record_events, intake.engine, body, "webhook", charset
            )
        except InvalidEvent as error:
            raise HTTPException(422, str(error)) from error
        if not recorded:
            raise HTTPException(422, "; ".join(one["reason"] for one in refused) or "it contains no event")
        response.status_code = 201 if recorded.keys() & {"new", "revised"} else 200
        return {"recorded": recorded, "refused": refused}

    return routes
