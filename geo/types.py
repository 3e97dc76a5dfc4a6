"""Frozen value types that cross folder borders. Standard library, numpy and shapely only.

Geometries are shapely geometries in EPSG:4326 (longitude, latitude), valid and oriented, unless a
docstring says otherwise. Times are timezone-aware UTC. Areas are geodesic square metres.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import UUID

import shapely
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry


class ObservationState(enum.StrEnum):
    """Where one observation stands. ``pending -> leased -> inferred -> observed`` is the good path."""

    PENDING = "pending"
    LEASED = "leased"
    #: answered by the model, waiting for its place in the series' order; not yet shown to analysts
    INFERRED = "inferred"
    #: published: detections, footprint, tracks and changes are visible
    OBSERVED = "observed"
    #: nothing could be seen (cloud, nodata, no overlap); ``reason`` says which
    SKIPPED = "skipped"
    #: gave up after the allowed attempts; ``reason`` and ``attempts`` say why
    FAILED = "failed"


class ChangeKind(enum.StrEnum):
    """Transitions of a track."""

    APPEARED = "appeared"
    GREW = "grew"
    SHRANK = "shrank"
    MOVED = "moved"
    SPLIT = "split"
    MERGED = "merged"
    DISAPPEARED = "disappeared"
    REAPPEARED = "reappeared"


class Outlines(enum.StrEnum):
    """How polygons are drawn; no edge is further than half a pixel from where the mask has it."""

    #: along pixel edges
    EDGES = "edges"
    #: with fewer vertices, stairs being slopes
    SIMPLE = "simple"
    #: with rounder corners, and more vertices for it
    SMOOTH = "smooth"


@dataclass(frozen=True, slots=True)
class BandRef:
    """One band of one asset."""

    asset: str
    """Asset key in the STAC item."""
    index: int = 1
    """1-based band number inside the asset's file."""
    minus: BandRef | None = None
    """Another band that is taken off, after scaling: of decibels that is a ratio."""
    low: float | None = None
    """Value rendered as 0, where it is not the profile's."""
    high: float | None = None
    """Value rendered as 255, where it is not the profile's."""


@dataclass(frozen=True, slots=True)
class CloudMask:
    """How a collection marks pixels that show no ground."""

    band: BandRef
    unclear_values: tuple[int, ...] = ()
    """Class values that mean cloud, cirrus or shadow."""
    unclear_bits: tuple[int, ...] = ()
    """Bit numbers (0 = least significant); any of them set means cloud, cirrus or shadow."""
    invalid_values: tuple[int, ...] = ()
    """Class values that mean no data."""


@dataclass(frozen=True, slots=True)
class AssetAccess:
    """How a source lets assets be read; the secrets themselves are settings."""

    method: str
    """``planetary-computer``, ``bearer``, ``headers``, ``oauth2`` or ``s3``."""
    token_url: str = ""
    """Where tokens come from."""
    client_id: str = ""
    """Of ``oauth2``."""
    region: str = ""
    """Of ``s3``: where the buckets are."""
    endpoint: str = ""
    """Of ``s3``: the address of a store that is not Amazon's; buckets are the first part of its paths."""
    requester_pays: bool = False
    """Of ``s3``: who reads is billed for it."""
    redirect_hosts: tuple[str, ...] = ()
    """Hosts that assets may be redirected to, https only; they are sent no credentials."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How one collection's imagery is found and rendered to 8-bit RGB for the model."""

    name: str
    title: str
    collection: str
    """``*`` = any, of catalogs with a collection for each acquisition."""
    red: BandRef
    green: BandRef
    blue: BandRef
    low: float
    """Value (after scale and offset) rendered as 0."""
    high: float
    """Value (after scale and offset) rendered as 255."""
    gsd_m: float
    """Ground sample distance, metres, at which the model looks."""
    catalog: str | None = None
    """STAC API root; a watch may override it."""
    scale: float = 1.0
    offset: float = 0.0
    offset_from_baseline: str = ""
    """Processing baseline from which on ``offset`` applies (Sentinel-2: ``04.00``); empty = to every item."""
    nodata: float | None = None
    gamma: float = 1.0
    clouds: CloudMask | None = None
    license: str = ""
    attribution: str = ""
    decibels: bool = False
    """Whether values become 10 log10 of themselves after scaling, as radar backscatter is shown."""
    access: AssetAccess | None = None
    """None = anybody may read."""
    rescan_days: float | None = None
    """Items of acquisitions longer ago are not expected to come any more, but for the daily comparison of everything;
    None = they are at any time. For catalogs whose items do not say when they were updated."""
    hosts: tuple[str, ...] = ()
    """Host names assets may be read from, besides the catalog's own. ``*.example.org`` is allowed."""
    finest_m: float | None = None
    coarsest_m: float | None = None
    """Files with pixels (metres) between these are taken; None = an eighth of ``gsd_m``, and twice ``gsd_m``."""
    max_saturated: float = 0.8
    """Share of a picture's clear values that may be clipped to black or to white, 0..1; 1 = all."""

    @property
    def store(self) -> str:
        """The object store that its links are taken into; empty = the web links that items give."""
        access = self.access
        return f"s3 {access.endpoint or access.region}" if access and access.method == "s3" else ""

    def assets(self) -> tuple[str, ...]:
        """Asset keys an item must have, without repeats, in band order, the mask last."""
        bands = [*self.bands(), *([self.clouds.band] if self.clouds else [])]
        return tuple(dict.fromkeys(band.asset for band in bands))

    def bands(self) -> tuple[BandRef, ...]:
        """Bands that are read: red, green, blue, then those that are taken off."""
        shown = (self.red, self.green, self.blue)
        return (*shown, *(band.minus for band in shown if band.minus is not None))


#: Properties of different catalogs that say when an item was made, the best first.
MADE = ("s2:generation_time", "processing:datetime", "published", "created")


def made_of(properties: Mapping[str, Any]) -> str:
    """When an item was made, in its catalog's words; empty where that does not say."""
    given = (properties.get(name) for name in MADE)
    return next((str(value) for value in given if value not in (None, "")), "")


def baseline_number(baseline: str) -> tuple[int, ...]:
    """A processing baseline as it sorts; empty where it is unknown, before every other one."""
    return tuple(int(part) for part in re.findall(r"\d+", baseline))


@dataclass(frozen=True, slots=True)
class Item:
    """One version of one STAC item, reduced to what segwatch uses."""

    id: str
    collection: str
    href: str
    """Self link; the row-level link an analyst follows."""
    acquired_at: datetime
    updated_at: datetime | None
    platform: str
    relative_orbit: str
    """Relative orbit or path, empty when the catalog has none."""
    processing_baseline: str
    footprint: BaseGeometry
    assets: Mapping[str, str]
    """Asset key -> absolute href."""
    properties: Mapping[str, Any] = field(default_factory=dict)
    catalog: str = ""
    """Identity of the catalog, see :mod:`segwatch.geo.identity`: ids are unique within one only. Empty = unknown."""
    store: str = ""
    """As :attr:`Profile.store` of the profile that the links were chosen for."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One acquisition over a watch's area: items of one collection of one catalog, platform pass and solar day."""

    collection: str
    platform: str
    relative_orbit: str
    solar_day: date
    acquired_at: datetime
    """Earliest acquisition time of the items."""
    items: tuple[Item, ...]
    """Sorted by id."""
    footprint: BaseGeometry
    catalog: str = ""
    """Identity of the catalog that all items were found in. Empty = unknown."""

    @property
    def key(self) -> str:
        """Identity of the acquisition, stable across reprocessing of its items. Two catalogs never share one.

        The last four parts hold no slash of their own, so what stands before them is the catalog.
        """
        names = (self.collection, self.platform, self.relative_orbit)
        within = "/".join(one.replace("%", "%25").replace("/", "%2F") for one in names)
        return "/".join(filter(None, (self.catalog, f"{within}/{self.solar_day.isoformat()}")))


@dataclass(frozen=True, slots=True)
class Watermark:
    """How far a catalog was searched."""

    reconciled_at: datetime | None = None
    """When everything it holds was last compared with what is known; None = never."""
    reconciling_to: datetime | None = None
    """Acquisition time up to which a comparison that goes on has come."""
    updated_to: datetime | None = None
    """Newest ``updated`` of the items seen; None = unknown, or some item has none."""


@dataclass(frozen=True, slots=True)
class TrackingSettings:
    """Numbers of DESIGN's tracking steps."""

    visible_min: float = 0.2
    link_min: float = 0.3
    gone_visible: float = 0.8
    gone_after: int = 2
    min_change_m2: float = 1000.0
    min_change_ratio: float = 0.1
    tolerance_m: float = 10.0
    """Registration tolerance; one pixel."""


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Hours of every day in which messages wait for their end."""

    begin: str
    """``HH:MM``."""
    end: str
    """``HH:MM``; before ``begin``: on the next day."""
    timezone: str = "UTC"
    """IANA name."""


@dataclass(frozen=True, slots=True)
class Digest:
    """How often the alerts of a rule come together, as one message a channel."""

    at: str | None = None
    """``HH:MM`` of every day; None = every full hour."""
    timezone: str = "UTC"
    """IANA name."""


@dataclass(frozen=True, slots=True)
class Escalation:
    """Who is told of an alert that nobody has looked at."""

    after_minutes: float
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AlertRule:
    """Which changes alert, and how loudly."""

    name: str
    kinds: tuple[ChangeKind, ...]
    min_area_m2: float = 0.0
    """Least area gained or lost by the change."""
    min_score: float = 0.0
    include_baseline: bool = False
    """Whether what is found on ground that is seen for the first time alerts."""
    channels: tuple[str, ...] = ()
    """Webhook URLs, and ``apprise:NAME`` of services."""
    min_growth: float = 0.0
    """Least difference of the areas before and after, as a share of the area before; what was not there grew by any."""
    region: BaseGeometry | None = None
    """Polygon or MultiPolygon that the changed ground must meet."""
    region_distance_m: float = 0.0
    """Metres from ``region`` at which it is still met."""
    once: bool = False
    """Only the first change of an object that matches."""
    quiet: QuietHours | None = None
    most_per_hour: int | None = None
    """Messages an hour and channel; further ones wait for the hours after."""
    escalation: Escalation | None = None
    digest: Digest | None = None
    """None = a message for each alert."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """A standing instruction. Its text and targets identify a revision."""

    text: str
    targets: tuple[str, ...] = ()
    """Labels of targets 1..M in the order the model answers; further ones are ``target N``."""

    def label(self, index: int) -> str:
        """Label of the ``index``-th target, 0-based."""
        return self.targets[index] if index < len(self.targets) else f"target {index + 1}"


@dataclass(frozen=True, slots=True)
class Watch:
    """Instruction x area x source x schedule, with tracking settings and alert rules."""

    name: str
    instruction: Instruction
    area: BaseGeometry
    """Polygon or MultiPolygon."""
    profile: Profile
    catalog: str
    start: datetime
    """Only scenes acquired from here on are observed."""
    end: datetime | None = None
    schedule: str | None = None
    """Cron expression, UTC."""
    priority: int = 100
    """Higher is leased first."""
    min_polygon_m2: float = 500.0
    connectivity: int = 4
    """4 or 8: whether regions that touch only at a corner are one object (8)."""
    outlines: Outlines = Outlines.EDGES
    max_cloud_cover: float = 1.0
    """Scenes whose clear share of the area is below ``1 - max_cloud_cover`` are skipped."""
    max_failed_tiles: float = 0.2
    """Past this share of failed tiles the observation fails."""
    tracking: TrackingSettings = TrackingSettings()
    rules: tuple[AlertRule, ...] = ()
    catalog_name: str = ""
    """Names the catalog, so that it stays the same one when its address changes; empty = its address names it."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One polygon of one observation."""

    target: str
    geometry: BaseGeometry
    """Polygon (or MultiPolygon where the antimeridian splits it)."""
    score: float
    """Mean probability over the polygon, 0..1."""
    area_m2: float


@dataclass(frozen=True, slots=True)
class ObservationResult:
    """What one instruction's answer on one scene comes to."""

    footprint: BaseGeometry
    """Observed footprint: area of interest ∩ valid data - cloud and shadow - failed tiles."""
    detections: tuple[Detection, ...]
    answer: str = ""
    """The model's text."""
    tiles: int = 0
    tiles_failed: int = 0
    clear_share: float = 0.0
    """Share of the area of interest observed, 0..1."""
    bytes_read: int = 0
    compute_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class TrackedObservation:
    """Input of the tracking core: one published answer, in the series' order."""

    id: UUID
    scene_id: UUID
    """The acquisition, the same however often it is reprocessed; identity of new tracks depends on it."""
    acquired_at: datetime
    footprint: BaseGeometry
    detections: tuple[Detection, ...]


@dataclass(frozen=True, slots=True)
class GroundPiece:
    """Ground that one observation was the first of its series to see clearly."""

    observation_id: UUID
    geometry: BaseGeometry
    """Disjoint from the pieces of the series' other observations."""
    inherited: bool = False
    """Whether the observation is of the series that this one took over from; it counts as seen before all others."""


@dataclass(frozen=True, slots=True)
class TrackState:
    """One object as it is known after an observation."""

    track_id: UUID
    target: str
    geometry: BaseGeometry
    """Composite geometry: (old - observed footprint) ∪ (new within it)."""
    area_m2: float
    score: float
    first_seen: datetime
    last_seen: datetime
    """Last observation with a detection."""
    last_looked: datetime
    """Last observation that saw enough of the object to decide."""
    misses: int = 0
    """Misses in a row that count."""
    missed_since: datetime | None = None
    """Time of the first of these misses."""
    visible_share: float = 1.0
    """Share of the object observed last time it was looked at."""
    alive: bool = True
    """False once disappeared or merged away; a disappeared one may reappear."""
    merged_into: UUID | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One transition of one track."""

    track_id: UUID
    kind: ChangeKind
    target: str
    valid_at: datetime
    """When it was so on the ground: acquisition time, or of the first miss for ``disappeared``."""
    before_m2: float
    after_m2: float
    gained: BaseGeometry | None
    lost: BaseGeometry | None
    score: float
    baseline: bool = False
    """True for what the first observation of a piece of ground, or of a new model at an object, shows: nothing happened
    then."""

    def ground(self, outline: BaseGeometry | None) -> BaseGeometry | None:
        """Ground gained and lost; the whole object's ``outline`` where neither is known."""
        parts = [part for part in (self.gained, self.lost) if part is not None and not part.is_empty]
        return shapely.union_all(parts) if parts else outline


@dataclass(frozen=True, slots=True)
class Lineage:
    """``child`` came out of ``parent`` (split) or ``parent`` ended in ``child`` (merge)."""

    parent: UUID
    child: UUID
    kind: ChangeKind
    valid_at: datetime


@dataclass(frozen=True, slots=True)
class TrackingStep:
    """What one observation did to a series."""

    observation_id: UUID
    scene_id: UUID
    """What was looked at, whichever look at it this is."""
    states: tuple[TrackState, ...]
    """New or changed states only; objects not listed are as before."""
    changes: tuple[Change, ...]
    lineage: tuple[Lineage, ...]
    detection_tracks: tuple[UUID | None, ...]
    """Track of each detection, in the observation's order."""
    first_seen: BaseGeometry = field(default_factory=Polygon)
    """Ground that no earlier observation of the series saw clearly; empty where there is none."""


class EventKind(enum.StrEnum):
    """What happened in the world."""

    EARTHQUAKE = "earthquake"
    FLOOD = "flood"
    WILDFIRE = "wildfire"
    CYCLONE = "cyclone"
    VOLCANO = "volcano"
    LANDSLIDE = "landslide"
    OIL_SPILL = "oil_spill"
    DROUGHT = "drought"
    TSUNAMI = "tsunami"


class EventLevel(enum.StrEnum):
    """How grave the publisher holds it to be; feeds without levels say nothing."""

    GREEN = "green"
    YELLOW = "yellow"
    ORANGE = "orange"
    RED = "red"


@dataclass(frozen=True, slots=True)
class EventName:
    """One of the names that a publisher has for an event."""

    source: str
    external_id: str
    since: datetime | None = None
    """When the message of this name was sent, where that is stated."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event as one feed tells it at one time."""

    source: str
    """``gdacs``, ``usgs``, ``eonet``, or ``cap:SENDER`` and ``georss:FEED``."""
    external_id: str
    """The feed's name for it; later revisions keep it."""
    kind: EventKind
    title: str
    occurred_at: datetime
    geometry: BaseGeometry
    """Point, points of a track, line or area."""
    updated_at: datetime | None = None
    ended_at: datetime | None = None
    level: EventLevel | None = None
    magnitude: float | None = None
    magnitude_unit: str = ""
    population: int | None = None
    """People exposed, by the feed's own rule."""
    link: str = ""
    cancelled: bool = False
    """The publisher took it back."""
    shaking: str = ""
    """Of an earthquake: address of contours of intensity, or of the document that links to them."""
    names: tuple[EventName, ...] = ()
    """All names that this entry gives the event: of the messages before it, of other networks. Entries that have one in
    common are revisions of one event, whatever order they arrive in. Empty = ``source`` and ``external_id`` alone."""


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A publisher takes an event back and says no more about it: no kind, or no place."""

    names: tuple[EventName, ...]
    """Of the event; at least one."""
    withdrawn_at: datetime


@dataclass(frozen=True, slots=True)
class RefusedEntry:
    """An entry of a feed that is no event, and why."""

    entry: str
    reason: str
