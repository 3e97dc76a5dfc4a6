"""Schemas of the JSON API, for its OpenAPI document.

Responses are the rows of the analyst views. Fields may be added to them; those that are listed here stay.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    objects: int | None = Field(description="null where counts=false was asked")
    hectares: float | None = Field(description="null where counts=false was asked")
    accuracy: list[str]


class MapBackground(BaseModel):
    """Raster tiles that the map shows below the imagery."""

    model_config = _STRICT

    tiles: str | None = Field(description="URL with {z}, {x} and {y}; null where none are set")
    attribution: str


class SceneSummary(BaseModel):
    """A scene of a watch."""

    scene_id: UUID
    acquired_at: AwareDatetime
    state: str
    attribution: str | None


class UnusedScene(BaseModel):
    """A scene or item that was not observed."""

    acquired_at: AwareDatetime | None
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
    shift_east_m: float | None = Field(
        description="by how much polygons were moved to the east, m, as the scene is displaced; null: not observed"
    )
    shift_north_m: float | None


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
    valid_at: AwareDatetime
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


class MarksMade(BaseModel):
    """How many alerts got a mark."""

    model_config = _STRICT

    mark: str
    marked: int
    unchanged: int = Field(description="alerts on which this mark was in force already")


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


class ObservedObject(BaseModel):
    """An object as one observation left it."""

    at: AwareDatetime
    scene: UUID
    observation_id: UUID
    item_href: str | None
    item_hrefs: list[str]
    alive: bool
    area_m2: float
    area_low_m2: float | None = Field(description="lower end of the 95 % interval; null: unknown, or gone")
    area_high_m2: float | None
    visible_share: float
    confidence: float | None
    status: str | None
    score: float
    model: str
    instruction: str
    evidence: dict[str, Any] | None
    change: str | None = Field(description="kind of the change that this observation showed; null: none")
    baseline: bool = Field(description="whether the object was there when its ground was first observed")


class Relative(BaseModel):
    """An object that another one came out of, or the other way round."""

    track_id: UUID
    kind: str
    at: AwareDatetime


class ObjectHistory(BaseModel):
    """An object over time."""

    track_id: UUID
    watch: str
    target: str
    observations: list[ObservedObject]
    parents: list[Relative]
    children: list[Relative]
    reviews: list[dict[str, Any]]


class ComparedTotal(BaseModel):
    """Objects of one target, change and status."""

    target: str
    change: str = Field(description="kind of change, baseline, unchanged, or not seen")
    status: str | None
    objects: int
    area_m2: float
    difference_m2: float


class Comparison(BaseModel):
    """What changed between two times."""

    model_config = ConfigDict(serialize_by_alias=True)

    since: str = Field(alias="from")
    to: str
    totals: list[ComparedTotal]
    not_seen_m2: dict[str, float | None] = Field(
        description="from and to; null: there is no scene up to then"
    )
    area_m2: float


class Found(BaseModel):
    """Something that a search found; places and coordinates have lon and lat, the others id, watch and bbox."""

    kind: Literal["place", "coordinates", "object", "alert", "watch"]
    label: str
    lon: float | None = None
    lat: float | None = None
    id: str | None = None
    watch: str | None = None
    bbox: list[float] | None = Field(
        None, description="west, south, east, north; west > east across 180 degrees"
    )


class NoAlert(BaseModel):
    """Why one scene raised no alert at a point."""

    scene: UUID | None
    observation_id: UUID | None
    acquired_at: AwareDatetime | None
    reason: str
    explanation: str


class WhyNot(BaseModel):
    """Why there is no alert at a point."""

    sentence: str
    scenes: list[NoAlert]
    of_all: int


class LastScene(BaseModel):
    """The newest observed scene."""

    acquired_at: AwareDatetime
    observed_at: AwareDatetime | None
    lag_seconds: float | None = Field(description="from acquisition to publication")


class QueueState(BaseModel):
    """Scenes that wait for a prediction, or have one running."""

    pending: int
    running: int
    oldest_at: AwareDatetime | None


class OutboxState(BaseModel):
    """Messages of a watch."""

    due: int
    failed: int = Field(description="given up unless somebody replays them")


class Cost(BaseModel):
    """What observing cost; null: nothing was published in this time."""

    gpu_seconds: float | None
    km2: float | None
    days: int


class PublicationLag(BaseModel):
    """From acquisition to publication, in seconds."""

    p50: float
    p95: float


class ExpectedAcquisitions(BaseModel):
    """Acquisitions of orbits that pass regularly."""

    seen: int
    missing: int = Field(description="expected, and not in the catalog")


class CatalogState(BaseModel):
    """The last search of a watch's catalog."""

    searched_at: AwareDatetime | None
    answered_at: AwareDatetime | None
    failures: int = Field(description="failed searches in a row")
    error: str | None
    publication_seconds: PublicationLag | None
    acquisitions: ExpectedAcquisitions
    missed_revisits: int | None = Field(
        description="revisits that every orbit has missed in a row; null: no orbit passes regularly"
    )
    silent: bool = Field(description="whether these are more than a catalog may miss")
    next_expected_at: AwareDatetime | None


class Registration(BaseModel):
    """How well scenes lie on each other."""

    shift_m: float | None = Field(
        description="shift of the newest observed scene, metres; null: not measured"
    )


class Rendering(BaseModel):
    """Renderings of this month."""

    judged: int
    saturated: int = Field(description="of these, saturated, constant or out of range")


class AlertAges(BaseModel):
    """Alerts by the time from acquisition to alert."""

    up_to_seconds: float | None = Field(description="upper limit of the class; null: none")
    alerts: int = Field(description="alerts above the limit of the class before")


class WatchOperation(BaseModel):
    """How a watch is doing."""

    watch: str
    state: Literal["active", "paused", "archived", "ended"]
    state_since: AwareDatetime | None
    schedule: str | None
    next_run: AwareDatetime | None
    last_scene: LastScene | None
    queue: QueueState
    failed: int
    failures: list[dict[str, Any]] = Field(
        description="reason, observations and last_at; the most frequent reasons"
    )
    failure_days: int
    outbox: OutboxState
    cost: Cost
    catalog: CatalogState
    registration: Registration
    rendering: Rendering
    alert_ages: list[AlertAges]


class Operations(BaseModel):
    """How all watches are doing."""

    now: AwareDatetime
    prefect_url: str | None = Field(description="address of Prefect's own pages")
    may_operate: bool
    watches: list[WatchOperation]


class OperationDone(BaseModel):
    """What an operation did."""

    watch: str
    action: str
    message: str
    count: int
    note: str | None = None


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


class TrialLimits(BaseModel):
    """What a trial may be; area and tiles are missing where the server takes none."""

    area_km2: float | None = None
    tiles: int | None = None
    pending: int = Field(description="trials of one reader that wait or run")
    hours: int = Field(description="after which a trial is deleted")


class SourceRow(BaseModel):
    """A source that instructions can be tried on."""

    id: str
    title: str
    collection: str
    gsd_m: float
    attribution: str | None
    license: str | None
    watches: list[str] = Field(description="that use it and that the reader may see; none: a shipped profile")
    scenes: int | None = Field(description="that the ledger knows; null: ask /api/catalog/check")
    first_at: AwareDatetime | None
    last_at: AwareDatetime | None
    bbox: list[float] | None = Field(
        description="west, south, east, north of a watch that uses it; west > east across 180 degrees"
    )


class Sources(BaseModel):
    """Sources, and whether the reader may try instructions on them."""

    may_try: bool
    why_not: str | None
    limits: TrialLimits
    sources: list[SourceRow]


class CatalogChecked(BaseModel):
    """Whether a source answers, and which scenes it has of an area."""

    source: str
    answers: bool
    has_collection: bool | None = Field(description="null: it did not answer")
    scenes: int | None = Field(description="null: not known")
    complete: bool = Field(description="false: the search ended before the catalog had listed all")
    by_month: dict[str, int] = Field(description="scenes by month of acquisition, YYYY-MM")
    first_at: AwareDatetime | None
    last_at: AwareDatetime | None
    rejected: int = Field(description="items that cannot be used")
    problem: str | None = Field(description="what is wrong; null: nothing")


class WatchPreview(BaseModel):
    """What saving a watch would do, as `segwatch apply` shows it."""

    watch: str
    is_new: bool
    changes: list[str]
    area_km2: float
    scenes: int | None = Field(description="that the catalog has now; null: not known")
    scenes_are_all: bool
    by_month: dict[str, int]
    catalog_note: str
    tiles_per_scene: int | None
    seconds_per_scene: float | None = Field(
        description="computing, from past observations; null: there are none"
    )
    bytes_per_scene: float
    is_measured: bool = Field(description="whether bytes_per_scene comes from past observations")
    messages_withdrawn: int
    targets: list[str]
    model: str | None
    demonstration: bool | None
    warnings: list[str]
    lines: list[str] = Field(description="the preview in words")


class WatchSaved(BaseModel):
    """A watch that was saved."""

    watch: str
    revision: UUID
    created: bool
    scheduled: bool
    note: str | None
    warnings: list[str]


class TrialProgress(BaseModel):
    """Tiles of a trial."""

    done: int
    total: int


class TrialScene(BaseModel):
    """The scene of a trial."""

    acquired_at: AwareDatetime
    item_hrefs: list[str]
    clear_share: float
    attribution: str | None


class TrialTotal(BaseModel):
    """What a trial found of one target."""

    target: str
    polygons: int
    area_m2: float
    presence: float | None = Field(
        description="probability that the scene shows it; null: the model does not tell"
    )


class TrialCost(BaseModel):
    """What a trial cost."""

    seconds: float = Field(description="reading and segmenting")
    bytes_read: int
    km2: float
    tiles: int
    tiles_failed: int


class TrialRow(BaseModel):
    """A trial; without its geometries in a list."""

    id: UUID
    state: Literal["queued", "running", "done", "failed"]
    requested_at: AwareDatetime
    started_at: AwareDatetime | None
    finished_at: AwareDatetime | None
    expires_at: AwareDatetime
    source: str
    source_title: str
    instruction: str
    targets: list[str]
    area: dict[str, Any]
    area_km2: float
    stage: str | None = Field(description="what is being done; null when it has ended")
    progress: TrialProgress | None
    reason: str | None = Field(description="why it failed")
    scene: TrialScene | None
    model: str | None
    demonstration: bool | None = Field(
        description="true: the shipped model, whose output is no basis for decisions"
    )
    totals: list[TrialTotal] | None
    cost: TrialCost | None
    observed: dict[str, Any] | None = Field(description="GeoJSON of the clear ground; the rest was not seen")
    unseen: dict[str, Any] | None = Field(
        description="GeoJSON of the rest; null: all was seen, or this is unknown"
    )
    polygons: dict[str, Any] | None = Field(description="GeoJSON FeatureCollection, the largest first")
    polygons_of_all: int | None = Field(description="how many were found; polygons may hold fewer")
    picture: str | None = Field(description="address of a JPEG, relative to the server's root")


class TrialList(BaseModel):
    """Trials of a reader."""

    trials: list[TrialRow]


class Announced(BaseModel):
    """What an announcement requested."""

    requested: list[str] = Field(description="watches whose catalogs will be searched")
    repeated: int = Field(description="events that were announced before, and requested nothing")


def describe_body(schema: dict[str, Any], *media_types: str) -> dict[str, Any]:
    """Describe the body of a request that its route reads by itself, for OpenAPI."""
    content = {one: {"schema": schema} for one in media_types}
    return {"requestBody": {"required": True, "content": content}}


def describe_json_body(model: type[BaseModel]) -> dict[str, Any]:
    """Describe a JSON body as a model, whose parts are not named: references lead nowhere in the whole document."""
    schema = model.model_json_schema()
    return describe_body(_inline(schema, schema.pop("$defs", {})), "application/json")


def _inline(schema: Any, named: Mapping[str, Any]) -> Any:
    """Put the named parts of a schema where it refers to them; no part may hold itself."""
    if isinstance(schema, list):
        return [_inline(one, named) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: _inline(value, named) for name, value in schema.items() if name != "$ref"}
    if "$ref" not in schema:
        return kept
    return _inline(named[schema["$ref"].rpartition("/")[2]], named) | kept


def describe_content(media_type: str, words: str) -> dict[int | str, dict[str, Any]]:
    """Describe a successful response that is not JSON."""
    return {200: {"description": words, "content": {media_type: {}}}}
