"""Watches: what operators ask to be observed, tracked and notified of."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from shapely.geometry.base import BaseGeometry

from segwatch.geo.types.source import Profile
from segwatch.geo.types.tracking import ChangeKind


class Outlines(enum.StrEnum):
    """How polygons are drawn; no edge is further than half a pixel from where the mask has it."""

    #: along pixel edges
    EDGES = "edges"
    #: with fewer vertices, stairs being slopes
    SIMPLE = "simple"
    #: with rounder corners, and more vertices for it
    SMOOTH = "smooth"


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
