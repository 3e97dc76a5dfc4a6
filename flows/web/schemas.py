"""Schemas of the JSON API, for its OpenAPI document.

Responses are the rows of the analyst views. Fields may be added to them; those that are listed here stay.
"""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from fastapi.responses import JSONResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

GEOJSON = "application/geo+json"
Degrees = float | None
_STRICT = ConfigDict(extra="forbid")

#: JSON Schema of a CloudEvent 1.0 with which a catalog announces STAC items.
CLOUD_EVENT: dict[str, Any] = {
    "type": "object",
    "required": ["specversion", "id", "source", "type", "data"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1, "maxLength": 500},
        "source": {"type": "string", "minLength": 1, "maxLength": 500},
        "type": {"type": "string", "minLength": 1, "maxLength": 500},
        "data": {
            "type": "object",
            "description": "a STAC item, a FeatureCollection of items, or an object with either as item or items",
        },
    },
}


class GeoJsonResponse(JSONResponse):
    """GeoJSON with its own media type."""

    media_type = GEOJSON


class Bounds(BaseModel):
    """Bounds in degrees (EPSG:4326); west > east across the antimeridian, null where there is no geometry."""

    west: Degrees
    south: Degrees
    east: Degrees
    north: Degrees


class Belief(BaseModel):
    """How sure segwatch is; null where it did not judge."""

    confidence: float | None = Field(description="raw probability, 0 to 1")
    observations_for: int | None
    observations_against: int | None


class WatchSummary(Bounds):
    """A watch with its counts."""

    watch: str
    instruction: str
    model: str | None
    observed: int
    skipped: int
    failed: int
    pending: int
    rejected: int
    objects: int
    hectares: float
    accuracy: list[str]


class SceneSummary(BaseModel):
    """A scene of a watch."""

    scene_id: UUID
    acquired_at: str = Field(description="as PostgreSQL writes it, which the map's tiles are asked with")
    state: str
    attribution: str | None


class UnusedScene(BaseModel):
    """A scene or item that was not observed."""

    acquired_at: str | None
    state: Literal["skipped", "failed", "rejected"]
    reason: str | None
    item_hrefs: list[str] | None
    of_all: int


class CoverageRow(BaseModel):
    """An observation, or a rejected item."""

    observation_id: UUID
    watch: str
    acquired_at: AwareDatetime | None
    state: str
    reason: str | None
    waits: str | None
    attempts: int
    clear_share: float | None
    detections: int | None
    item_hrefs: list[str] | None
    model: str | None
    discovered_at: AwareDatetime | None
    committed_at: AwareDatetime | None
    superseded_at: AwareDatetime | None


class CoveragePage(BaseModel):
    """A page of observations, latest acquisition first."""

    coverage: list[CoverageRow]
    next: str | None = Field(description="value of after for the next page; null: this is the last one")


class EventRow(Bounds):
    """An event, such as an earthquake or a flood."""

    event_id: UUID
    source: str
    external_id: str
    kind: str
    title: str
    occurred_at: AwareDatetime | None
    ended_at: AwareDatetime | None
    level: str | None
    magnitude: float | None
    magnitude_unit: str | None
    population: int | None
    cancelled: bool
    link: str | None
    recorded_at: AwareDatetime


class EventPage(BaseModel):
    """A page of events, the last recorded first."""

    events: list[EventRow]
    next: str | None = Field(description="value of after for the next page; null: this is the last one")


class AlertRow(Bounds, Belief):
    """An alert."""

    alert_id: UUID
    track_id: UUID
    rule: str
    kind: str
    target: str
    valid_at: str
    before_m2: float
    after_m2: float
    delivered_at: AwareDatetime | None
    status: Literal["open", "acknowledged", "snoozed", "resolved"]
    status_by: str | None
    status_note: str | None
    snoozed_until: AwareDatetime | None
    retracted_at: AwareDatetime | None
    retracted_because: str | None
    change_status: str | None
    confidence_calibrated: float | None
    accuracy: str


class MarkMade(BaseModel):
    """A mark that is in force."""

    model_config = _STRICT

    alert_id: UUID
    mark: str


class ReviewRow(BaseModel):
    """A verdict about an object."""

    review_id: UUID
    track_id: UUID
    target: str
    verdict: Literal["confirmed", "rejected", "edited"]
    reviewer: str | None
    reason: str
    decided_at: AwareDatetime
    holds: bool


class ReviewMade(BaseModel):
    """A verdict that is in force."""

    model_config = _STRICT

    review_id: UUID
    track_id: UUID
    verdict: str


class ObjectRow(Belief):
    """An object at a time."""

    track_id: UUID
    watch: str
    target: str
    status: str | None
    confidence_calibrated: float | None
    last_change: dict[str, Any] | None
    detection: dict[str, Any] | None
    words: dict[str, str]


class WatchAccuracy(BaseModel):
    """What is known about the accuracy of a watch's map."""

    watch: str
    assessment_id: UUID | None
    drawn_at: AwareDatetime | None
    targets: list[dict[str, Any]]
    words: list[str]


class Samples(BaseModel):
    """Samples of an assessment, in the order in which to label them."""

    assessment_id: UUID
    gsd_m: float
    samples: list[dict[str, Any]]


class LabelMade(BaseModel):
    """A label that is in force."""

    sample_id: UUID
    label: str
    stratum: str
    agrees: bool | None


class RecordedEvents(BaseModel):
    """What was done with the events of a message."""

    recorded: dict[str, int] = Field(
        description="number of events by what recording them did: new, revised, unchanged ..."
    )
    refused: list[dict[str, str]] = Field(description="entries that could not be read, each with the reason")


class Announced(BaseModel):
    """What an announcement requested."""

    requested: list[str] = Field(description="watches whose catalogs will be searched")
    repeated: int = Field(description="events that were announced before, and requested nothing")


def describe_body(schema: dict[str, Any], *media_types: str) -> dict[str, Any]:
    """Describe the body of a request that its route reads by itself, for OpenAPI."""
    content = {one: {"schema": schema} for one in media_types}
    return {"requestBody": {"required": True, "content": content}}


def describe_json_body(model: type[BaseModel]) -> dict[str, Any]:
    """Describe a JSON body as a model."""
    return describe_body(model.model_json_schema(), "application/json")


def describe_content(media_type: str, words: str) -> dict[int | str, dict[str, Any]]:
    """Describe a successful response that is not JSON."""
    return {200: {"description": words, "content": {media_type: {}}}}
