"""Assessments over HTTP: every reader sees the accuracy; readers with the scope review label samples.

What the map says of a sample is hidden until it is labelled, so that the label does not follow it.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Engine

from segwatch.db import analyst, assessments
from segwatch.db.errors import LabelRefused, NotFound
from segwatch.db.readers import may_see_assessment
from segwatch.db.tokens import Scope
from segwatch.flows.web import schemas
from segwatch.flows.web.guards.access import current_sight, require_scope
from segwatch.flows.web.guards.bodies import read_body
from segwatch.flows.web.guards.refusals import REFUSALS
from segwatch.flows.web.known_watches import check_watch
from segwatch.flows.web.reviews import ReviewIntake
from segwatch.geo.text.spelling import describe_errors
from segwatch.geo.types.assessment import Label

_MAX_BYTES = 2**20
_OFF = "this server takes no labels; start it with SEGWATCH_REVIEW_TOKEN"


class LabelBody(BaseModel):
    """Body of ``POST /api/samples/SAMPLE/labels``."""

    model_config = ConfigDict(extra="forbid")

    label: Label
    labeller: str = Field(max_length=assessments.MAX_NAME_LENGTH)


def make_router(reading: Engine, intake: ReviewIntake | None) -> APIRouter:
    """Make the routes ``GET /accuracy`` and, with an intake, ``GET /samples`` and ``POST /samples/ID/labels``."""
    routes = APIRouter()

    @routes.get("/accuracy", responses={200: {"model": schemas.WatchAccuracy}, **REFUSALS})
    def read_accuracy(watch: str) -> dict[str, Any]:
        """Estimate accuracy and areas of a watch's targets with 95 % intervals; no targets: not assessed."""
        with reading.connect() as conn:
            check_watch(conn, watch)
            found = analyst.read_accuracy(conn, watch)
        return {**asdict(found), "words": analyst.describe_accuracy(found)}

    @routes.get("/samples", responses={200: {"model": schemas.Samples}, **REFUSALS})
    async def list_samples(watch: str) -> dict[str, Any]:
        """List the samples of the newest assessment of a watch, in the order in which to label them."""
        if intake is None:
            raise HTTPException(403, _OFF)
        require_scope(Scope.REVIEW)
        return await run_in_threadpool(_list, intake.engine, watch)

    @routes.post(
        "/samples/{sample_id}/labels",
        status_code=201,
        responses={200: {"model": schemas.LabelMade}, 201: {"model": schemas.LabelMade}, **REFUSALS},
        openapi_extra=schemas.describe_json_body(LabelBody),
    )
    async def add_label(sample_id: UUID, request: Request, response: Response) -> dict[str, Any]:
        """Label a sample; 200 instead of 201 if the label was already in force."""
        if intake is None:
            raise HTTPException(403, _OFF)
        require_scope(Scope.REVIEW)
        received = await read_body(request, _MAX_BYTES)
        try:
            body = LabelBody.model_validate_json(received)
        except ValidationError as error:
            raise HTTPException(422, describe_errors(error)) from error
        made = await run_in_threadpool(_add, intake.engine, sample_id, body)
        response.status_code = 201 if made.created else 200
        return {"sample_id": sample_id, "label": body.label, "stratum": made.stratum, "agrees": made.agrees}

    return routes


def _list(engine: Engine, watch: str) -> dict[str, Any]:
    with engine.connect() as conn:
        found = assessments.find(conn, watch) if current_sight().may_read(watch) else None
        if found is None:
            raise HTTPException(
                404, f"watch {watch} has no assessment; draw one: segwatch assess start {watch}"
            )
        gsd_m = assessments.load_series(conn, watch).gsd_m
        return {"assessment_id": found, "gsd_m": gsd_m, "samples": assessments.list_samples(conn, found)}


def _add(engine: Engine, sample_id: UUID, body: LabelBody) -> assessments.AddedLabel:
    try:
        with engine.begin() as conn:
            if not may_see_assessment(conn, current_sight(), sample_id):
                raise assessments.sample_not_found(sample_id)
            return assessments.add_label(conn, sample_id, body.label, body.labeller)
    except NotFound as error:
        raise HTTPException(404, str(error)) from error
    except LabelRefused as error:
        raise HTTPException(422, str(error)) from error
