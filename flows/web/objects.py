"""What does not depend on the model about one object over HTTP, for the object panel of the map."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, HTTPException
from sqlalchemy import Engine

from segwatch.db import analyst
from segwatch.db.errors import NotFound
from segwatch.geo.text.opinions import (
    describe_agreement,
    describe_change_evidence,
    describe_detection_evidence,
)


def make_router(reading: Engine) -> APIRouter:
    """Make the route ``GET /objects/TRACK/opinion?at=``."""
    routes = APIRouter()

    @routes.get("/objects/{track_id}/opinion")
    def read_opinion(track_id: UUID, at: str) -> dict[str, Any]:
        """Return spectral evidence and the shadow segmenter's agreement about an object as it was at a time.

        ``words`` says both for people: the object in its newest detection up to that time, and its last change.
        """
        try:
            with reading.connect() as conn:
                found = analyst.read_second_opinion(conn, track_id, at)
        except NotFound as error:
            raise HTTPException(404, str(error)) from error
        return {"detection": found.detection, "change": found.change, "words": _describe(found)}

    return routes


def _describe(found: analyst.SecondOpinion) -> dict[str, str]:
    detection, change = found.detection or {}, found.change or {}
    words = {
        "spectral evidence": describe_detection_evidence(detection.get("evidence")),
        "second opinion": describe_agreement(detection.get("shadow_share"), detection.get("shadow_iou")),
    }
    if change:
        when = f"{change['kind']} {change['valid_at']:%Y-%m-%d}"
        words["evidence of the change"] = f"{when}: {describe_change_evidence(change['evidence'])}"
    return words
