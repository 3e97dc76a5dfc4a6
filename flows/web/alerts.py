"""Alerts over HTTP: every reader lists them; readers with the scope acknowledge mark them.

Only readers with the scope review see who marked them.
"""

from __future__ import annotations

import json
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Engine

from segwatch.db import alerts, analyst
from segwatch.db.errors import MarkRefused, NotFound
from segwatch.db.readers import may_see_alert
from segwatch.db.tokens import Scope
from segwatch.flows.web import schemas
from segwatch.flows.web.guards.access import current_sight, require_scope
from segwatch.flows.web.guards.bodies import read_body
from segwatch.flows.web.guards.refusals import REFUSALS
from segwatch.flows.web.reviews import ReviewIntake
from segwatch.geo.text.spelling import describe_errors

_MAX_BYTES = 2**20


class MarkBody(BaseModel):
    """Body of ``POST /api/alerts/ALERT/marks``."""

    model_config = ConfigDict(extra="forbid")

    mark: alerts.Mark
    person: str = Field(max_length=alerts.MAX_TEXT_LENGTH)
    note: str = Field("", max_length=alerts.MAX_TEXT_LENGTH)
    until: AwareDatetime | None = None
    """End of the snooze, for ``snoozed``."""


def make_router(reading: Engine, intake: ReviewIntake | None) -> APIRouter:
    """Make the routes ``GET /alerts?watch=`` and, with an intake, ``POST /alerts/ALERT/marks``."""
    routes = APIRouter()

    @routes.get("/alerts", responses={200: {"model": list[schemas.AlertRow]}, **REFUSALS})
    def list_alerts(
        watch: str,
        response: Response,
        limit: Annotated[int, Query(ge=1, le=1000)] = 200,
        change_status: Annotated[list[analyst.ChangeStatus] | None, Query()] = None,
    ) -> analyst.Rows:
        """List the newest alerts of a watch, of all or only of some statuses of their change.

        The header ``X-Total-Count`` has the number of all of them, ``X-Status-Counts`` the numbers by status as JSON.
        """
        with reading.connect() as conn:
            rows, count = analyst.list_alerts_for_map(
                conn, watch, limit, change_status or tuple(analyst.ChangeStatus)
            )
            counts = analyst.count_alerts_by_status(conn, watch)
        response.headers["X-Total-Count"] = str(count)
        response.headers["X-Status-Counts"] = json.dumps(counts)
        return rows

    @routes.post(
        "/alerts/{alert_id}/marks",
        status_code=201,
        responses={200: {"model": schemas.MarkMade}, 201: {"model": schemas.MarkMade}, **REFUSALS},
        openapi_extra=schemas.describe_json_body(MarkBody),
    )
    async def mark_alert(alert_id: UUID, request: Request, response: Response) -> dict[str, Any]:
        """Acknowledge, snooze, resolve or reopen an alert; 200 instead of 201 if the mark was already in force."""
        if intake is None:
            raise HTTPException(
                403, "this server takes no marks of alerts; start it with SEGWATCH_REVIEW_TOKEN"
            )
        require_scope(Scope.ACKNOWLEDGE)
        received = await read_body(request, _MAX_BYTES)
        try:
            body = MarkBody.model_validate_json(received)
        except ValidationError as error:
            raise HTTPException(422, describe_errors(error)) from error
        new = await run_in_threadpool(_mark, intake.engine, alert_id, body)
        response.status_code = 201 if new else 200
        return {"alert_id": alert_id, "mark": body.mark}

    return routes


def _mark(engine: Engine, alert_id: UUID, body: MarkBody) -> bool:
    try:
        with engine.begin() as conn:
            if not may_see_alert(conn, current_sight(), alert_id):
                raise alerts.alert_not_found(alert_id)
            return alerts.mark(
                conn, alert_id, body.mark, person=body.person, note=body.note, until=body.until
            )
    except NotFound as error:
        raise HTTPException(404, str(error)) from error
    except MarkRefused as error:
        raise HTTPException(422, str(error)) from error
