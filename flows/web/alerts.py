"""Alerts over HTTP: every reader lists them; readers with the scope acknowledge mark them.

Only readers with the scope review see who marked them.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Connection, Engine

from segwatch.db import alerts, analyst
from segwatch.db.alerts import MAX_TEXT_LENGTH, Mark
from segwatch.db.errors import InvalidCursor, MarkRefused, NotFound
from segwatch.db.readers import may_see_alert
from segwatch.db.tokens import Scope
from segwatch.flows.web import schemas
from segwatch.flows.web.boxes import BoxText, parse_box
from segwatch.flows.web.guards.access import current_reader, current_sight, require_scope
from segwatch.flows.web.guards.bodies import read_body
from segwatch.flows.web.guards.refusals import REFUSALS
from segwatch.flows.web.known_watches import check_watch
from segwatch.flows.web.links import link_next
from segwatch.flows.web.reviews import ReviewIntake
from segwatch.geo.text.spelling import describe_errors

_MAX_BYTES = 2**20


class MarkBody(BaseModel):
    """Body of ``POST /api/alerts/ALERT/marks``."""

    model_config = ConfigDict(extra="forbid")

    mark: Mark
    person: str = Field(max_length=MAX_TEXT_LENGTH)
    note: str = Field("", max_length=MAX_TEXT_LENGTH)
    until: AwareDatetime | None = None
    """End of the snooze, for ``snoozed``."""


class ManyMarksBody(BaseModel):
    """Body of ``POST /api/alerts/marks``."""

    model_config = ConfigDict(extra="forbid")

    alerts: list[UUID] = Field(min_length=1, max_length=500)
    mark: Mark
    person: str = Field("", max_length=MAX_TEXT_LENGTH)
    """Who marks them; empty = the name of the token."""
    note: str = Field("", max_length=MAX_TEXT_LENGTH)
    until: AwareDatetime | None = None
    """End of the snooze, for ``snoozed``."""


def make_router(reading: Engine, intake: ReviewIntake | None) -> APIRouter:
    """Make the routes ``GET /alerts?watch=`` and, with an intake, those that mark one alert or many."""
    routes = APIRouter()

    _add_list(routes, reading)
    _add_many(routes, intake)

    @routes.post(
        "/alerts/{alert_id}/marks",
        status_code=201,
        responses={200: {"model": schemas.MarkMade}, 201: {"model": schemas.MarkMade}, **REFUSALS},
        openapi_extra=schemas.describe_json_body(MarkBody),
    )
    async def mark_alert(alert_id: UUID, request: Request, response: Response) -> dict[str, Any]:
        """Acknowledge, snooze, resolve or reopen an alert; 200 instead of 201 if the mark was already in force."""
        engine = _require_intake(intake).engine
        body = await _parse(request, MarkBody)
        new = await run_in_threadpool(_mark, engine, alert_id, body)
        response.status_code = 201 if new else 200
        return {"alert_id": alert_id, "mark": body.mark}

    return routes


def _add_list(routes: APIRouter, reading: Engine) -> None:
    @routes.get("/alerts", responses={200: {"model": list[schemas.AlertRow]}, **REFUSALS})
    def list_alerts(
        request: Request,
        response: Response,
        chosen: Annotated[analyst.AlertFilter, Depends(_read_filter)],
        limit: Annotated[int, Query(ge=1, le=1000)] = 200,
        sort: analyst.AlertOrder = analyst.AlertOrder.NEWEST,
        counts: Annotated[
            bool, Query(description="false: without the numbers, for which every alert of the watch is read")
        ] = True,
        after: Annotated[
            str | None, Query(max_length=200, description="place of the page, as the header Link has it")
        ] = None,
    ) -> analyst.Rows:
        """List the alerts of a watch, all or only some, in pages.

        The header ``Link`` has the next page, ``X-Total-Count`` the number of all alerts that were asked for. The
        numbers of all alerts of the watch are in ``X-Status-Counts`` (by status of the change), ``X-Mark-Counts``,
        ``X-Kind-Counts``, ``X-Target-Counts`` and ``X-Rule-Counts``, as JSON.
        """
        try:
            with reading.connect() as conn:
                check_watch(conn, chosen.watch)
                page = analyst.list_alert_page(conn, chosen, limit, sort, after)
                numbers = analyst.count_alerts_by(conn, chosen) if counts else None
        except InvalidCursor as error:
            raise HTTPException(422, str(error)) from error
        if numbers is not None:
            response.headers.update(_describe(numbers))
        link_next(request, response, page.following)
        return page.rows


def _describe(numbers: analyst.AlertCounts) -> dict[str, str]:
    """Describe numbers of alerts as headers."""
    by = {
        "Status": numbers.by_change_status,
        "Mark": numbers.by_mark,
        "Kind": numbers.by_kind,
        "Target": numbers.by_target,
        "Rule": numbers.by_rule,
    }
    return {"X-Total-Count": str(numbers.chosen)} | {
        f"X-{name}-Counts": json.dumps(dict(counted)) for name, counted in by.items()
    }


def _read_filter(
    watch: str,
    change_status: Annotated[list[analyst.ChangeStatus] | None, Query()] = None,
    mark: Annotated[list[analyst.AlertMark] | None, Query(description="where the alert stands")] = None,
    target: Annotated[list[str] | None, Query()] = None,
    kind: Annotated[list[str] | None, Query(description="kind of change")] = None,
    rule: Annotated[list[str] | None, Query()] = None,
    since: Annotated[AwareDatetime | None, Query(description="only changes from then on")] = None,
    until: Annotated[AwareDatetime | None, Query(description="only changes before then")] = None,
    bbox: BoxText = None,
) -> analyst.AlertFilter:
    return analyst.AlertFilter(
        watch,
        statuses=change_status or tuple(analyst.ChangeStatus),
        marks=mark or tuple(analyst.AlertMark),
        targets=target,
        kinds=kind,
        rules=rule,
        since=since,
        until=until,
        box=parse_box(bbox),
    )


def _add_many(routes: APIRouter, intake: ReviewIntake | None) -> None:
    @routes.post(
        "/alerts/marks",
        responses={200: {"model": schemas.MarksMade}, **REFUSALS},
        openapi_extra=schemas.describe_json_body(ManyMarksBody),
    )
    async def mark_alerts(request: Request) -> dict[str, Any]:
        """Mark many alerts at once: all of them, or none if one cannot be marked. Repeating it changes nothing."""
        engine = _require_intake(intake).engine
        body = await _parse(request, ManyMarksBody)
        new = await run_in_threadpool(_mark_all, engine, body)
        return {"mark": body.mark, "marked": new, "unchanged": len(set(body.alerts)) - new}


def _require_intake(intake: ReviewIntake | None) -> ReviewIntake:
    if intake is None:
        raise HTTPException(403, "this server takes no marks of alerts; start it with SEGWATCH_REVIEW_TOKEN")
    require_scope(Scope.ACKNOWLEDGE)
    return intake


Body = TypeVar("Body", bound=BaseModel)


async def _parse(request: Request, model: type[Body]) -> Body:
    received = await read_body(request, _MAX_BYTES)
    try:
        return model.model_validate_json(received)
    except ValidationError as error:
        raise HTTPException(422, describe_errors(error)) from error


def _mark_all(engine: Engine, body: ManyMarksBody) -> int:
    """Mark alerts in the order of their ids, so that two requests never wait for each other in a circle."""
    person = body.person or current_reader().name
    try:
        with engine.begin() as conn:
            return sum(
                _mark_seen(conn, one, body.mark, person=person, note=body.note, until=body.until)
                for one in sorted(set(body.alerts))
            )
    except NotFound as error:
        raise HTTPException(404, f"{error}; no alert was marked") from error
    except MarkRefused as error:
        raise HTTPException(422, str(error)) from error


def _mark(engine: Engine, alert_id: UUID, body: MarkBody) -> bool:
    try:
        with engine.begin() as conn:
            return _mark_seen(conn, alert_id, body.mark, person=body.person, note=body.note, until=body.until)
    except NotFound as error:
        raise HTTPException(404, str(error)) from error
    except MarkRefused as error:
        raise HTTPException(422, str(error)) from error


def _mark_seen(
    conn: Connection, alert_id: UUID, mark: Mark, *, person: str, note: str, until: datetime | None
) -> bool:
    if not may_see_alert(conn, current_sight(), alert_id):
        raise alerts.alert_not_found(alert_id)
    return alerts.mark(conn, alert_id, mark, person=person, note=note, until=until)
