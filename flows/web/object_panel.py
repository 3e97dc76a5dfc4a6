"""Objects over HTTP: one for the panel of the map, and those of a time; the same numbers as in the views."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.encoders import jsonable_encoder
from pydantic import AwareDatetime
from sqlalchemy import Connection, Engine

from segwatch.db import analyst
from segwatch.db.errors import InvalidCursor, NotFound
from segwatch.flows.web import schemas
from segwatch.flows.web.guards.refusals import REFUSALS
from segwatch.flows.web.known_watches import check_watch
from segwatch.flows.web.parameters import parse_box
from segwatch.flows.web.schemas import GEOJSON, GeoJsonResponse
from segwatch.geo.assessment.calibration import apply_calibration
from segwatch.geo.text.opinions import (
    describe_agreement,
    describe_change_evidence,
    describe_detection_evidence,
    describe_observations,
)

_MAX_OBJECTS = 10_000


def make_router(reading: Engine) -> APIRouter:
    """Make the routes ``GET /objects/TRACK?at=`` and ``GET /objects?watch=&at=``."""
    routes = APIRouter()
    _add_objects_of_a_time(routes, reading)

    @routes.get("/objects/{track_id}", responses={200: {"model": schemas.ObjectRow}, **REFUSALS})
    def read_object(
        track_id: UUID,
        at: Annotated[str, Query(description="time, such as 2026-03-01T12:00:00Z; default: now")] = "now",
    ) -> dict[str, Any]:
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


def _add_objects_of_a_time(routes: APIRouter, reading: Engine) -> None:
    @routes.get(
        "/objects",
        response_class=GeoJsonResponse,
        responses={**schemas.describe_content(GEOJSON, "A page of GeoJSON features"), **REFUSALS},
    )
    def list_objects(
        request: Request,
        watch: str,
        at: Annotated[AwareDatetime, Query(description="when the objects were on the ground")],
        known_at: Annotated[
            AwareDatetime | None, Query(description="as it was known then; default: now")
        ] = None,
        bbox: Annotated[str | None, Query(description="west,south,east,north in degrees")] = None,
        limit: Annotated[
            int, Query(ge=1, description=f"most objects of a page, up to {_MAX_OBJECTS}")
        ] = 1000,
        after: Annotated[
            str | None, Query(max_length=200, description="from the link to the next page")
        ] = None,
    ) -> GeoJsonResponse:
        """List the objects of a watch that were on the ground at a time, as now known or as known at another time.

        Pages follow each other by track id and keep to the time at which the first one was known.
        """
        try:
            bounds = None if bbox is None else parse_box(bbox.split(","))
            with reading.connect() as conn:
                check_watch(conn, watch)
                page = analyst.list_objects_as_of(
                    conn,
                    watch,
                    at,
                    known_at=known_at,
                    bounds=bounds,
                    limit=min(limit, _MAX_OBJECTS),
                    after=after,
                )
        except (InvalidCursor, ValueError) as error:
            raise HTTPException(422, str(error)) from error
        following = page.next and str(request.url.include_query_params(after=page.next))
        links = [] if following is None else [{"rel": "next", "type": GEOJSON, "href": following}]
        made = GeoJsonResponse(
            {
                "type": "FeatureCollection",
                "known_at": page.known_at.isoformat(),
                "numberReturned": len(page.rows),
                "links": links,
                "features": [_make_feature(row) for row in page.rows],
            }
        )
        if following is not None:
            made.headers["Link"] = f'<{following}>; rel="next"'
        return made


def _make_feature(row: dict[str, Any]) -> dict[str, Any]:
    properties = {name: value for name, value in row.items() if name != "geom"}
    feature = {"type": "Feature", "id": row["track_id"], "geometry": row["geom"], "properties": properties}
    encoded: dict[str, Any] = jsonable_encoder(feature)
    return encoded


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
    detection, change = found.detection, found.last_change
    words = {}
    if found.state["confidence"] is not None:
        words["observations"] = _describe_counts(found.state)
    if change is not None:
        if change["confidence"] is not None:
            words["observations of the change"] = _describe_counts(change)
        words["evidence of the change"] = describe_change_evidence(change["evidence"])
    if detection is None:
        return words | {
            "spectral evidence": describe_detection_evidence(None),
            "second opinion": describe_agreement(None, None),
        }
    # the newest detection may be older than the state that is shown, such as that of an object that was missed since
    seen = f"newest detection, {detection['acquired_at']:%Y-%m-%d}"
    return words | {
        "spectral evidence": f"{describe_detection_evidence(detection['evidence'])} ({seen})",
        "second opinion": describe_agreement(
            detection["shadow_share"], detection["shadow_iou"], detection["shadow_reason"]
        ),
    }


def _describe_counts(row: dict[str, Any]) -> str:
    return describe_observations(row["observations_for"], row["observations_against"])
