"""One object over HTTP, for the panel of the map: the same numbers as in the views."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, HTTPException
from sqlalchemy import Connection, Engine

from segwatch.db import analyst
from segwatch.db.errors import NotFound
from segwatch.flows.web import schemas
from segwatch.flows.web.guards.refusals import REFUSALS
from segwatch.geo.assessment.calibration import apply_calibration
from segwatch.geo.text.opinions import (
    describe_agreement,
    describe_change_evidence,
    describe_detection_evidence,
)


def make_router(reading: Engine) -> APIRouter:
    """Make the route ``GET /objects/TRACK?at=``."""
    routes = APIRouter()

    @routes.get("/objects/{track_id}", responses={200: {"model": schemas.ObjectRow}, **REFUSALS})
    def read_object(track_id: UUID, at: str) -> dict[str, Any]:
        """Return how sure an object was at a time, its last change and its newest detection until then, as known now.

        ``confidence`` is the raw one, ``confidence_calibrated`` the one corrected with labels; null: not calibrated.
        ``words`` says for people what does not depend on the model: spectral evidence, and the agreement of the shadow
        segmenter.
        """
        try:
            with reading.connect() as conn:
                found = analyst.read_object_panel(conn, track_id, at)
                calibrated = _calibrate(conn, found.state)
        except NotFound as error:
            raise HTTPException(404, str(error)) from error
        shown = {name: value for name, value in found.state.items() if name != "is_current_series"}
        return shown | {
            "confidence_calibrated": calibrated,
            "last_change": found.last_change,
            "detection": found.detection,
            "words": _describe(found),
        }

    return routes


def _calibrate(conn: Connection, state: dict[str, Any]) -> float | None:
    if state["confidence"] is None or not state["is_current_series"]:
        return None
    return next(
        (
            apply_calibration(one.calibration, state["confidence"])
            for one in analyst.list_calibrations(conn, state["watch"])
            if (one.target, one.subject) == (state["target"], "object")
        ),
        None,
    )


def _describe(found: analyst.ObjectPanel) -> dict[str, str]:
    detection = found.detection or {}
    words = {
        "spectral evidence": describe_detection_evidence(detection.get("evidence")),
        "second opinion": describe_agreement(detection.get("shadow_share"), detection.get("shadow_iou")),
    }
    if found.last_change:
        words["evidence of the change"] = describe_change_evidence(found.last_change["evidence"])
    return words
