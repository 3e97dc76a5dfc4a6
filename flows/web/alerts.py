"""Alerts over HTTP: anyone who sees the map lists them, who may review marks them and sees who did."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Engine

from segwatch.db import alerts
from segwatch.db.errors import MarkRefused, NotFound
from segwatch.db.readers import sees_alert
from segwatch.db.tokens import Scope
from segwatch.flows.web import queries
from segwatch.flows.web.guards.access import require, sight
from segwatch.flows.web.guards.bodies import limited
from segwatch.flows.web.reviews import Access
from segwatch.geo.spelling import describe_errors

_MOST_BYTES = 2**20


class Asked(BaseModel):
    """Body of ``POST /api/alerts/ALERT/marks``."""

    model_config = ConfigDict(extra="forbid")

    mark: alerts.Mark
    person: str = Field(max_length=alerts.LONGEST_TEXT)
    note: str = Field("", max_length=alerts.LONGEST_TEXT)
    until: AwareDatetime | None = None
    """For ``snoozed``."""


def router(reading: Engine, access: Access | None) -> APIRouter:
    """``GET /alerts?watch=`` and, with access, ``POST /alerts/ALERT/marks``."""
    routes = APIRouter()

    @routes.get("/alerts")
    def listed(watch: str, response: Response, limit: int = Query(200, ge=1, le=1000)) -> queries.Rows:
        """The newest alerts of a watch; the header ``X-Total-Count`` says how many there are."""
        with reading.connect() as conn:
            rows, count = queries.alerts(conn, watch, limit)
        response.headers["X-Total-Count"] = str(count)
        return rows

    @routes.post("/alerts/{alert_id}/marks", status_code=201)
    async def marked(alert_id: UUID, request: Request, response: Response) -> dict[str, Any]:
        """Acknowledge, snooze, resolve or reopen; 200 instead of 201 when the very same mark held already."""
        if access is None:
            raise HTTPException(
                403, "alerts cannot be marked here; start the server with SEGWATCH_REVIEW_TOKEN"
            )
        require(Scope.REVIEW)
        received = await limited(request, _MOST_BYTES)
        try:
            asked = Asked.model_validate_json(received)
        except ValidationError as error:
            raise HTTPException(422, describe_errors(error)) from error
        new = await run_in_threadpool(_mark, access.engine, alert_id, asked)
        response.status_code = 201 if new else 200
        return {"alert_id": alert_id, "mark": asked.mark}

    return routes


def _mark(engine: Engine, alert_id: UUID, asked: Asked) -> bool:
    try:
        with engine.begin() as conn:
            if not sees_alert(conn, sight(), alert_id):
                raise alerts.unknown(alert_id)
            return alerts.mark(
                conn, alert_id, asked.mark, person=asked.person, note=asked.note, until=asked.until
            )
    except NotFound as error:
        raise HTTPException(404, str(error)) from error
    except MarkRefused as error:
        raise HTTPException(422, str(error)) from error
