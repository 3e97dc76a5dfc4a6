"""Observations, detections, tracks and changes."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import shapely
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from segwatch.geo.types.belief import Belief, Evidence, RegionView, Shift, TargetCounts
from segwatch.geo.types.chips import Chip
from segwatch.geo.types.evidence import IndexCells, ShadowResult, SpectralEvidence, TargetPresence


class ObservationState(enum.StrEnum):
    """State of an observation; the normal path is ``pending -> leased -> inferred -> observed``."""

    PENDING = "pending"
    LEASED = "leased"
    #: predictions are stored; waits for its place in the series' order, not yet visible to analysts
    INFERRED = "inferred"
    #: published: detections, footprint, tracks and changes are visible
    OBSERVED = "observed"
    #: nothing was observed (clouds, no data, no overlap); ``reason`` says which
    SKIPPED = "skipped"
    #: abandoned after the allowed attempts; see ``reason`` and ``attempts``
    FAILED = "failed"


class ChangeKind(enum.StrEnum):
    """Kinds of change of a track."""

    APPEARED = "appeared"
    GREW = "grew"
    SHRANK = "shrank"
    MOVED = "moved"
    SPLIT = "split"
    MERGED = "merged"
    DISAPPEARED = "disappeared"
    REAPPEARED = "reappeared"


ChangeKey = tuple[UUID, UUID, ChangeKind]
"""What identifies a change in its series: id of the scene that raised it, track id and kind."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One polygon of one observation."""

    target: str
    geometry: BaseGeometry
    """EPSG:4326 Polygon, or MultiPolygon where the antimeridian splits it."""
    score: float
    """Mean probability over the polygon, 0..1; not calibrated."""
    area_m2: float
    """Geodesic area, m²."""
    evidence: SpectralEvidence | None = None
    """Spectral evidence; None = not measured."""


@dataclass(frozen=True, slots=True)
class ObservationResult:
    """Result of predicting one instruction on one scene."""

    footprint: BaseGeometry
    """Observed footprint: AOI ∩ valid data - clouds, shadows and failed tiles, EPSG:4326."""
    detections: tuple[Detection, ...]
    answer: str = ""
    """Text that the model returned."""
    tiles: int = 0
    tiles_failed: int = 0
    clear_share: float = 0.0
    """Observed share of the AOI, 0..1."""
    bytes_read: int = 0
    compute_seconds: float = 0.0
    """Time in the model, seconds."""
    chips: tuple[Chip, ...] = ()
    """Pictures of fixed cells of the ground, to register the observation by."""
    cells: IndexCells | None = None
    """Spectral indices over the AOI; None where the source has no bands for them."""
    shadow: ShadowResult | None = None
    """Comparison with the shadow segmenter; None = the watch has none."""
    presence: tuple[TargetPresence, ...] = ()
    """Presence of each target; empty if the segmenter has no such output."""


@dataclass(frozen=True, slots=True)
class TrackedObservation:
    """Input of the tracking core: one observation of a series."""

    id: UUID
    scene_id: UUID
    """The acquisition, stable across reprocessing; the ids of new tracks derive from it."""
    acquired_at: datetime
    footprint: BaseGeometry
    """Observed footprint, EPSG:4326."""
    detections: tuple[Detection, ...]
    chips: tuple[Chip, ...] = ()
    """Pictures of fixed cells of the ground, to register the observation by."""


@dataclass(frozen=True, slots=True)
class GroundPiece:
    """The part of an observation's footprint that no earlier observation of its series had covered."""

    observation_id: UUID
    geometry: BaseGeometry
    """EPSG:4326; disjoint from the pieces of the series' other observations."""
    inherited: bool = False
    """Whether the observation belongs to the series that this one continues; such pieces count as observed first."""


@dataclass(frozen=True, slots=True)
class TrackState:
    """State of one object after an observation."""

    track_id: UUID
    target: str
    geometry: BaseGeometry
    """Composite geometry: (old geometry - observed footprint) ∪ detections within it, EPSG:4326."""
    area_m2: float
    """Geodesic area, m²."""
    score: float
    """Mean score of the detections in the geometry, weighted by area, 0..1."""
    first_seen: datetime
    """Acquisition time of the first observation with a detection."""
    last_seen: datetime
    """Acquisition time of the last observation with a detection."""
    last_looked: datetime
    """Acquisition time of the last observation that covered enough of the object to count."""
    misses: int = 0
    """Counted misses in a row."""
    missed_since: datetime | None = None
    """Acquisition time of the first of these misses."""
    visible_share: float = 1.0
    """Share of the object's area that its last observation covered, 0..1."""
    alive: bool = True
    """False once the object disappeared, after which it may reappear, or merged into another."""
    merged_into: UUID | None = None
    """Track that it merged into, for good."""
    belief: Belief = field(default_factory=Belief)
    """Belief that the object is there, given all observations until now."""


@dataclass(frozen=True, slots=True)
class Change:
    """One transition of one track."""

    track_id: UUID
    kind: ChangeKind
    target: str
    valid_at: datetime
    """Time of the change on the ground: the acquisition time, or that of the first miss for ``disappeared``."""
    before_m2: float
    """Geodesic area before, m²; 0 for a new object."""
    after_m2: float
    """Geodesic area after, m²; 0 for an object that ended."""
    gained: BaseGeometry | None
    """Area gained, EPSG:4326; None = none."""
    lost: BaseGeometry | None
    """Area lost, EPSG:4326; None = none."""
    score: float
    baseline: bool = False
    """True if nothing happened on the ground: the place was observed for the first time, or the object by a new
    model."""

    def ground(self, outline: BaseGeometry | None) -> BaseGeometry | None:
        """Return the area gained and lost, or ``outline`` (the whole object) if neither is known; EPSG:4326."""
        parts = [part for part in (self.gained, self.lost) if part is not None and not part.is_empty]
        return shapely.union_all(parts) if parts else outline


@dataclass(frozen=True, slots=True)
class Judgement:
    """Belief of one change after one observation."""

    change_scene_id: UUID
    """Scene that raised the change; with track and kind it identifies the change."""
    track_id: UUID
    kind: ChangeKind
    belief: Belief
    earliest: datetime
    """Begin of the interval in which the change happened."""
    latest: datetime
    """End of that interval."""
    views: tuple[RegionView, ...] = ()
    """The observations it rests on, in order of acquisition time."""
    evidence: Evidence | None = None
    """What later observations are compared with; None once the change is decided, or cannot be judged."""

    @property
    def is_open(self) -> bool:
        """Whether later observations may change it."""
        return self.evidence is not None


@dataclass(frozen=True, slots=True)
class OpenChange:
    """A change that later observations may confirm or refute."""

    change: Change
    scene_id: UUID
    """Scene that raised it."""
    judgement: Judgement
    """The newest one, still open."""
    ground: BaseGeometry
    """What it gained and lost, else the whole object, EPSG:4326; observations that are far from it do not judge it."""


@dataclass(frozen=True, slots=True)
class PastChange:
    """A change that an earlier observation raised, as far as later ones are judged by it."""

    track_id: UUID
    kind: ChangeKind


@dataclass(frozen=True, slots=True)
class PastObservation:
    """An earlier observation of the series, by which new changes are judged."""

    id: UUID
    acquired_at: datetime
    footprint: BaseGeometry
    """Observed footprint as it was read, EPSG:4326."""
    detections: tuple[Detection, ...]
    """As they were read; only those within reach of what is folded are needed."""
    shift: Shift = field(default_factory=Shift)
    """By which footprint and detections are moved."""
    changes: tuple[PastChange, ...] = ()
    """Changes that it raised."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """``child`` split off ``parent``, or ``parent`` merged into ``child``."""

    parent: UUID
    child: UUID
    kind: ChangeKind
    valid_at: datetime


@dataclass(frozen=True, slots=True)
class TrackingStep:
    """Everything that one observation changed in its series."""

    observation_id: UUID
    scene_id: UUID
    """The acquisition, whichever processing of it was observed."""
    states: tuple[TrackState, ...]
    """New or changed states only; all other objects are unchanged."""
    changes: tuple[Change, ...]
    lineage: tuple[Lineage, ...]
    detection_tracks: tuple[UUID | None, ...]
    """Track of each detection, in the observation's order; None where a detection has none."""
    new_ground: BaseGeometry = field(default_factory=Polygon)
    """Part of the footprint that no earlier observation of the series had covered, EPSG:4326; empty where there
    is none."""
    shift: Shift = field(default_factory=Shift)
    """By which footprint and detections were moved before they were folded."""
    judgements: tuple[Judgement, ...] = ()
    """Beliefs of the new changes, and of earlier open changes that the observation shows."""
    counts: tuple[TargetCounts, ...] = ()
    """The series' counts after the observation, by target."""
