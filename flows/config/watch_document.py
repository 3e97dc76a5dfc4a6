"""The format of watch files: one pydantic model per section, with a description of every field.

:mod:`segwatch.flows.config.watchfile` validates files against it and publishes it as JSON Schema.
"""

from __future__ import annotations

import os
import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from segwatch.flows.alerting.channels import SERVICE
from segwatch.flows.config.times import Cron, Moment, Start, TimeOfDay, Zone
from segwatch.geo.text.redaction import require_public_url
from segwatch.geo.tracking.evidence_conditions import parse_condition
from segwatch.geo.types.belief import SETTLED_CONFIDENCE
from segwatch.geo.types.tracking import ChangeKind
from segwatch.geo.types.watch import AlertStatus, PolygonStyle

_VARIABLE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")
_URL = re.compile(r"^https?://[^\s/]+(/\S*)?$")
#: 30 days.
_MAX_ESCALATION_MINUTES = 43_200


def _expand(text: str) -> str:
    """Replace ``${NAME}`` by the environment variable of that name."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise ValueError(f"environment variable {name} is not set; set it or write the URL out")
        return os.environ[name]

    return _VARIABLE.sub(value, text)


def _check_catalog(text: str) -> str:
    expanded = _expand(text)
    if not _URL.match(expanded):
        raise ValueError("must be an http or https URL")
    return require_public_url(expanded).rstrip("/")


def _check_channel(text: str) -> str:
    expanded = _expand(text)
    if not SERVICE.match(expanded) and not _URL.match(expanded):
        raise ValueError("must be an http or https URL, or apprise:NAME of a service in SEGWATCH_SERVICES")
    return expanded


def _expand_digest(given: Any) -> Any:
    """Accept ``hourly`` and a time of day in place of the mapping."""
    if isinstance(given, str):
        return {} if given == "hourly" else {"at": given}
    if not isinstance(given, dict) or given.get("at") is None:
        raise ValueError(
            'write hourly, a time of day in quotes as "07:00" (UTC), or {at: "07:00", timezone: Europe/Paris}'
        )
    return given


Catalog = Annotated[str, AfterValidator(_check_catalog)]
Channel = Annotated[str, AfterValidator(_check_channel)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """Base of all sections: unknown fields, NaN and infinity are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class AreaSection(Section):
    """A polygon in EPSG:4326: exactly one of `bbox`, `geojson` and `file`."""

    bbox: tuple[float, float, float, float] | None = Field(
        None,
        description="West, south, east, north in degrees. Across the antimeridian, write west > east or east > 180.",
        examples=[[-99.1848, 47.0048, -99.1249, 47.0359]],
    )
    geojson: dict[str, Any] | None = Field(
        None,
        description="GeoJSON Polygon or MultiPolygon, or a Feature with one; longitude, latitude in degrees.",
    )
    file: str | None = Field(
        None,
        description="Path of a GeoJSON file with one geometry or one feature, relative to the watch file.",
        examples=["area.geojson"],
    )


class SourceSection(Section):
    """Where imagery comes from."""

    profile: str | None = Field(
        None,
        description="Name of the profile that finds and renders the collection; `segwatch source list` shows them. "
        "Required, unless `local` is given.",
        examples=["sentinel2-l2a-earthsearch"],
    )
    local: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
        description="Name of a source of local files, as `segwatch source add` registered it, in place of all other "
        "fields.",
        examples=["photos"],
    )
    catalog: Catalog | None = Field(
        None,
        description="URL of the STAC API or static catalog; ${NAME} is replaced by an environment variable. "
        "Default: the profile's catalog.",
        examples=["https://earth-search.aws.element84.com/v1"],
    )
    collection: str | None = Field(
        None,
        min_length=1,
        max_length=255,
        description="Id of the STAC collection, if the catalog gives it another one than the profile. "
        "Default: the profile's collection.",
        examples=["lakes-2024"],
    )
    catalog_name: str = Field(
        "",
        pattern=r"^([a-z0-9][a-z0-9-]{0,62})?$",
        description="Identity of the catalog, kept when its URL changes; catalogs of the same name are the same "
        "catalog. Default: the URL is the identity.",
    )
    fallback: Catalog | None = Field(
        None,
        description="URL of another catalog of the same scenes, with the same collection and assets. It is searched "
        "while the first does not answer, or has shown no scene of three revisits; no scene is observed twice.",
        examples=["https://mirror.example.org/stac"],
    )

    @model_validator(mode="after")
    def _names_one_source(self) -> Self:
        others = [
            name
            for name in ("profile", "catalog", "collection", "catalog_name", "fallback")
            if getattr(self, name)
        ]
        if self.local is not None and others:
            raise ValueError(f"local has its own {', '.join(others)}; take out one or the other")
        if self.local is None and self.profile is None:
            raise ValueError(
                "profile is missing; give the name of a profile, or local: NAME for files of your own"
            )
        return self


class TrackingSection(Section):
    """How detections of successive scenes become tracks and changes."""

    visible_min: Share = Field(
        0.2, description="Tracks with a smaller share of their area observed are left unchanged."
    )
    link_min: Share = Field(
        0.3, description="Least overlap, as a share of the smaller area, that links a detection to a track."
    )
    gone_visible: Share = Field(
        0.8, description="A miss counts only where at least this share of the track was observed."
    )
    gone_after: int = Field(2, ge=1, description="Misses in a row after which a track has disappeared.")
    min_change_m2: float = Field(
        1000.0, ge=0, description="Smallest growth or shrinkage that is reported, in m²."
    )
    min_change_ratio: float = Field(
        0.1,
        ge=0,
        description="Smallest growth or shrinkage that is reported, as a share of the track's area.",
    )
    tolerance_m: float | None = Field(
        None, gt=0, description="Registration tolerance in metres. Default: one pixel of the source."
    )


class NearSection(AreaSection):
    """A polygon, and a distance from it."""

    distance_m: float = Field(
        0.0, ge=0, le=100_000, description="Metres around the polygon in which changes match, too."
    )


class QuietSection(Section):
    """Hours of every day in which messages are held back until the end of the interval."""

    begin: TimeOfDay = Field(description="Start of the interval.", examples=["22:00"])
    end: TimeOfDay = Field(
        description="End of the interval; before `begin`, it is on the next day.", examples=["06:00"]
    )
    timezone: Zone = Field("UTC", description="IANA time zone of both times.", examples=["Europe/Paris"])

    @model_validator(mode="after")
    def _check_not_all_day(self) -> Self:
        if self.begin == self.end:
            raise ValueError("begin and end are the same; leave quiet hours out, or name two times")
        return self


class DigestSection(Section):
    """When the alerts of a rule are sent together, as one message per channel."""

    at: TimeOfDay | None = Field(
        None, description="Time of day. Default: every full hour.", examples=["07:00"]
    )
    timezone: Zone = Field("UTC", description="IANA time zone of `at`.", examples=["Europe/Paris"])


class EscalationSection(Section):
    """Who is notified of an alert that nobody has marked."""

    after_minutes: float = Field(
        gt=0,
        le=_MAX_ESCALATION_MINUTES,
        description="Minutes after the time at which the alert may first be sent.",
    )
    channels: tuple[Channel, ...] = Field(
        min_length=1, description="Channels that are notified then.", examples=[["apprise:on-call"]]
    )


class RuleSection(Section):
    """Which changes raise an alert, and where its messages go."""

    name: str = Field(description="Name of the rule, shown in its messages.")
    kinds: tuple[ChangeKind, ...] = Field(tuple(ChangeKind), description="Kinds of change that match.")
    min_area_m2: float = Field(0.0, ge=0, description="Smallest area gained or lost that matches, in m².")
    min_score: Share = Field(0.0, description="Smallest model score that matches.")
    min_growth: float = Field(
        0.0, ge=0, description="Smallest difference of area that matches, as a share of the area before."
    )
    status: AlertStatus = Field(
        AlertStatus.CONFIRMED,
        description="`confirmed` alerts once further observations confirm the change. `provisional` alerts on the "
        "first evidence, and one message follows when the change is confirmed or refuted. Default in playbooks: "
        "provisional.",
    )
    confidence: float | None = Field(
        None,
        ge=0,
        le=SETTLED_CONFIDENCE,
        description=f"Least confidence of a change that matches, 0 to {SETTLED_CONFIDENCE}. Default: 0.8 for "
        "`status: confirmed`, 0 for `status: provisional`.",
        examples=[0.9],
    )
    near: NearSection | None = Field(
        None, description="Match only changes that touch this polygon or come within a distance of it."
    )
    once: bool = Field(False, description="Alert on the first matching change of each object only.")
    include_baseline: bool = Field(
        False, description="Also alert on what is found where the area is observed for the first time."
    )
    channels: tuple[Channel, ...] = Field(
        (),
        description="Webhook URLs, or apprise:NAME of a service in SEGWATCH_SERVICES; ${NAME} is replaced by an "
        "environment variable. Without channels, alerts are recorded and not sent.",
        examples=[["https://hooks.example.org/segwatch", "apprise:on-call"]],
    )
    quiet: QuietSection | None = Field(None, description="Quiet hours: messages are sent when they end.")
    most_per_hour: int | None = Field(
        None, ge=1, description="Rate limit: messages per hour and channel; further ones wait."
    )
    escalate: EscalationSection | None = Field(
        None,
        description="Notify further channels of alerts that nobody marked in time. Any mark cancels it: acknowledged, "
        "snoozed, resolved or reopened.",
    )
    digest: (
        Annotated[
            DigestSection,
            BeforeValidator(_expand_digest, json_schema_input_type=str | DigestSection),
        ]
        | None
    ) = Field(
        None,
        description='Collect alerts into one message: "hourly", a time of day (UTC), or a mapping.',
        examples=["hourly", "07:00", {"at": "07:00", "timezone": "Europe/Paris"}],
    )

    evidence: dict[str, str] = Field(
        {},
        max_length=20,
        description="Conditions on spectral evidence, all of which must hold: an index (ndwi, mndwi, nbr, ndvi, "
        "vv, vh), alone or with _ring, _contrast (inside minus ring), _before, _after or _difference (after minus "
        "before), and a comparison with a number. A change without that evidence does not match.",
        examples=[{"mndwi": ">0", "mndwi_difference": ">0.2"}],
    )

    @field_validator("evidence")
    @classmethod
    def _check_evidence(cls, given: dict[str, str]) -> dict[str, str]:
        for name, comparison in given.items():
            parse_condition(name, comparison)
        return given

    @model_validator(mode="after")
    def _check_digest(self) -> Self:
        if self.digest and self.most_per_hour:
            raise ValueError("most_per_hour: a digest is one message; leave out most_per_hour or digest")
        return self

    @model_validator(mode="after")
    def _check_escalation(self) -> Self:
        if self.escalate and not self.channels:
            raise ValueError(
                "escalate: the rule has no channels of its own; name those that are notified first"
            )
        return self


class WatchDocument(Section):
    """A watch: what to look for, where, in which imagery, how often, and whom to alert."""

    version: Literal[1] = Field(description="Version of this format; files of a later format are refused.")
    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
        description="Unique name of the watch: small letters, digits and hyphens.",
        examples=["cottonwood-water"],
    )
    instruction: str = Field(
        min_length=3,
        max_length=500,
        description="What the model is asked to segment, in plain language.",
        examples=["segment the water"],
    )
    targets: tuple[str, ...] = Field(
        (),
        description="Labels of the kinds of thing that the instruction asks for, in the model's order.",
        examples=[["water"]],
    )
    area: AreaSection = Field(description="Area of interest (AOI).")
    source: SourceSection = Field(description="Where imagery comes from.")
    start: Start = Field(
        description="Only scenes acquired from then on are observed; with a time zone.",
        examples=["2024-01-01T00:00:00Z"],
    )
    end: Moment | None = Field(
        None, description="Only scenes acquired until then are observed; with a time zone. Default: no end."
    )
    schedule: Cron | None = Field(
        None,
        description="Cron expression of five fields in UTC, or an alias such as @daily. Default: run by hand only.",
        examples=["0 6 * * *"],
    )
    priority: int = Field(
        100, ge=0, le=1000, description="Observations of a higher priority are processed first."
    )
    min_polygon_m2: float = Field(500.0, ge=0, description="Smaller polygons are not reported, in m².")
    connectivity: Literal[4, 8] = Field(
        4, description="8 joins regions that touch only at a corner into one object; 4 keeps them apart."
    )
    outlines: PolygonStyle = Field(
        PolygonStyle.EDGES,
        description="How polygons are drawn: `edges` follows pixel edges, `simple` has fewer vertices, `smooth` "
        "has rounded corners; no edge moves by more than half a pixel.",
    )
    max_cloud_cover: Share = Field(
        1.0,
        description="Scenes with a larger share of the AOI not clear are skipped, and those in which nothing is clear.",
    )
    max_failed_tiles: Share = Field(
        0.2, description="An observation with a larger share of failed tiles fails."
    )
    tracking: TrackingSection = Field(
        TrackingSection(), description="How detections become tracks and changes."
    )
    rules: tuple[RuleSection, ...] = Field((), description="Alert rules.")
    evidence: bool = Field(
        True,
        description="Measure spectral indices of what was found, where the profile has bands for them. On Sentinel-2, "
        "this reads about half as many bytes again.",
    )
    shadow: Literal["spectral", "sam3", "segearth-r2", "none"] | None = Field(
        None,
        description="Shadow segmenter: its predictions on the same scenes are compared with the main segmenter's and "
        "never published. `spectral` needs no weights: thresholds of spectral indices; the checkpoint of `sam3` and "
        "`segearth-r2` is SEGWATCH_SHADOW_MODEL_PATH of the workers. Default: SEGWATCH_SHADOW.",
    )
