"""Watches: what to observe, how to track it and when to alert."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from shapely.geometry.base import BaseGeometry

from segwatch.geo.types.source import Profile
from segwatch.geo.types.tracking import ChangeKind


class PolygonStyle(enum.StrEnum):
    """Polygon style; every edge stays within half a pixel of the mask's."""

    #: along pixel edges
    EDGES = "edges"
    #: fewer vertices: stairs become slopes
    SIMPLE = "simple"
    #: rounded corners, with more vertices
    SMOOTH = "smooth"


@dataclass(frozen=True, slots=True)
class TrackingSettings:
    """Thresholds of the tracking steps."""

    visible_min: float = 0.2
    """Objects with a smaller visible share are left unchanged, 0..1."""
    link_min: float = 0.3
    """Minimum overlap of an object and a detection, as a share of the smaller area, 0..1."""
    gone_visible: float = 0.8
    """Minimum visible share for a miss to count, 0..1."""
    gone_after: int = 2
    """Counted misses in a row after which an object disappears."""
    min_change_m2: float = 1000.0
    """Minimum symmetric difference of a change, m²."""
    min_change_ratio: float = 0.1
    """Minimum symmetric difference of a change, as a share of the old area."""
    tolerance_m: float = 10.0
    """Registration tolerance, metres; one pixel."""


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Daily hours during which messages are held back."""

    begin: str
    """``HH:MM``."""
    end: str
    """``HH:MM``; earlier than ``begin`` means on the next day."""
    timezone: str = "UTC"
    """IANA time zone."""


@dataclass(frozen=True, slots=True)
class Digest:
    """Schedule of a rule that sends its alerts together, one message per channel."""

    at: str | None = None
    """``HH:MM``, daily; None = every full hour."""
    timezone: str = "UTC"
    """IANA time zone."""


@dataclass(frozen=True, slots=True)
class Escalation:
    """Channels to notify of an alert that nobody has marked."""

    after_minutes: float
    """Minutes after the earliest send time of the alert."""
    channels: tuple[str, ...]


class AlertStatus(enum.StrEnum):
    """Least evidence of a change that raises an alert."""

    #: alert on the first evidence; one message follows when the change is confirmed or refuted
    PROVISIONAL = "provisional"
    #: alert once the change is confirmed
    CONFIRMED = "confirmed"


@dataclass(frozen=True, slots=True)
class EvidenceCondition:
    """A limit of one value of spectral evidence."""

    index: str
    """Name of the index, such as ``mndwi``."""
    measure: str
    """``inside``, ``ring``, ``contrast``, ``before``, ``after`` or ``difference``."""
    operator: str
    """``>``, ``>=``, ``<`` or ``<=``."""
    limit: float


@dataclass(frozen=True, slots=True)
class AlertRule:
    """Which changes alert, and how they are sent.

    A revision stored before rules had ``status`` and ``confidence`` keeps alerting on the first evidence: the defaults
    here. Watch files have other defaults, see :mod:`segwatch.flows.config.watchfile`.
    """

    name: str
    kinds: tuple[ChangeKind, ...]
    min_area_m2: float = 0.0
    """Minimum area gained or lost, m²."""
    min_score: float = 0.0
    """Minimum score of the change, 0..1."""
    include_baseline: bool = False
    """Whether baseline changes alert."""
    channels: tuple[str, ...] = ()
    """Webhook URLs, and ``apprise:NAME`` for named services."""
    min_growth: float = 0.0
    """Minimum change of area, as a share of the area before; a new object always passes."""
    region: BaseGeometry | None = None
    """Polygon or MultiPolygon (EPSG:4326) that the change must intersect."""
    region_distance_m: float = 0.0
    """Maximum distance from ``region``, metres."""
    once: bool = False
    """Whether only an object's first matching change alerts."""
    quiet: QuietHours | None = None
    """None = messages are sent at any time."""
    most_per_hour: int | None = None
    """Rate limit per channel, messages per hour; further messages wait. None = unlimited."""
    escalation: Escalation | None = None
    """None = no escalation."""
    digest: Digest | None = None
    """None = one message per alert."""
    status: AlertStatus = AlertStatus.PROVISIONAL
    """Least status of a change that alerts."""
    confidence: float = 0.0
    """Least confidence of a change that alerts, 0..1."""
    evidence: tuple[EvidenceCondition, ...] = ()
    """Conditions on spectral evidence that must all hold."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """A standing instruction; text and targets together identify its revision."""

    text: str
    targets: tuple[str, ...] = ()
    """Labels of targets 1..M, in the order in which the model returns them; further targets become ``target N``."""

    def label(self, index: int) -> str:
        """Return the label of the target with this 0-based index."""
        return self.targets[index] if index < len(self.targets) else f"target {index + 1}"


@dataclass(frozen=True, slots=True)
class Watch:
    """Instruction, AOI, source and schedule, with tracking settings and alert rules."""

    name: str
    instruction: Instruction
    area: BaseGeometry
    """AOI: EPSG:4326 Polygon or MultiPolygon."""
    profile: Profile
    catalog: str
    """URL of the STAC catalog."""
    start: datetime
    """Scenes acquired before this are ignored."""
    end: datetime | None = None
    """Scenes acquired after this are ignored; None = no end."""
    schedule: str | None = None
    """Cron expression, UTC; None = not scheduled."""
    priority: int = 100
    """Higher values are leased first."""
    min_polygon_m2: float = 500.0
    """Smaller polygons are dropped, m²."""
    connectivity: int = 4
    """4 or 8; with 8, regions that touch only at a corner are one object."""
    outlines: PolygonStyle = PolygonStyle.EDGES
    max_cloud_cover: float = 1.0
    """Scenes that are clear over less than ``1 - max_cloud_cover`` of the AOI are skipped, 0..1."""
    max_failed_tiles: float = 0.2
    """Maximum share of failed tiles; beyond it the observation fails, 0..1."""
    tracking: TrackingSettings = TrackingSettings()
    rules: tuple[AlertRule, ...] = ()
    catalog_name: str = ""
    """Name of the catalog, so that its scenes keep their identity when its URL changes; empty = the URL is its name."""
    fallback: str = ""
    """URL of another catalog of the same scenes, searched while the first is down or silent; empty = none."""
    evidence: bool = True
    """Whether spectral evidence is measured where the profile has bands for it."""
    shadow: str | None = None
    """Shadow segmenter: ``spectral``, ``sam3``, ``segearth-r2``, or ``none``; None = that of the settings."""
