"""Observations, tracks and changes."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime
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
