"""``POST /announcements``: a catalog announces new items, signed as a Standard Webhook or with a token.

The server searches nothing: it leaves a request in the ledger for each watch that may want the items, and the workers'
next ``track`` run starts their searches. Schedules go on and find what nobody announced.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import SecretStr
from sqlalchemy import Engine

from segwatch.db import discovery_requests
from segwatch.db.tokens import Scope
from segwatch.flows.web import schemas
from segwatch.flows.web.guards.access import current_reader
from segwatch.flows.web.guards.bodies import read_body
from segwatch.flows.web.guards.refusals import REFUSALS
from segwatch.flows.web.guards.signatures import require_signature
from segwatch.geo.errors import InvalidAnnouncement
from segwatch.geo.sources.search.announcements import read_announcements
from segwatch.geo.types.announcement import Announcement

_MAX_BYTES = 4 * 2**20
_OFF = "this server takes no announcements; start it with SEGWATCH_ANNOUNCEMENT_SECRET"


@dataclass(frozen=True)
class AnnouncementIntake:
    """How the server receives announcements."""

    engine: Engine
    """Engine of a role that may add requests; that of the map may not."""
    secret: SecretStr | None = None
    """Secret that they are signed with; None = only tokens with the scope ``announce`` may send them."""


def make_router(intake: AnnouncementIntake | None) -> APIRouter:
    """Make the route ``POST /announcements``; 403 without an intake."""
    routes = APIRouter()

    @routes.post(
        "/announcements",
        status_code=202,
        response_model=schemas.Announced,
        responses={200: {"model": schemas.Announced, "description": "All were announced before"}, **REFUSALS},
        openapi_extra=schemas.describe_body(
            schemas.CLOUD_EVENT, "application/cloudevents+json", "application/cloudevents-batch+json"
        ),
    )
    async def announce(request: Request, response: Response) -> schemas.Announced:
        """Request searches for announced STAC items; 200 instead of 202 if all were announced before."""
        if intake is None:
            raise HTTPException(403, _OFF)
        body = await read_body(request, _MAX_BYTES)
        reader = current_reader()
        readable = reader.sight.watches
        if Scope.ANNOUNCE not in reader.scopes:
            require_signature(request, body, intake.secret, Scope.ANNOUNCE)
            readable = None
        try:
            found = read_announcements(body, dict(request.headers))
        except InvalidAnnouncement as error:
            raise HTTPException(422, str(error)) from error
        made = await run_in_threadpool(_record, intake.engine, found, readable)
        response.status_code = 202 if made.repeated < len(found) else 200
        return made

    return routes


def _record(engine: Engine, found: list[Announcement], readable: Collection[str] | None) -> schemas.Announced:
    requested: set[str] = set()
    repeated = 0
    with engine.begin() as conn:
        for one in found:
            names = discovery_requests.record(conn, one, readable)
            repeated += names is None
            requested.update(names or ())
    return schemas.Announced(requested=sorted(requested), repeated=repeated)
