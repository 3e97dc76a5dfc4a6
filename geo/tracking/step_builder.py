"""Collect what one observation does to its series: new states, changes and lineage."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID, uuid5

import shapely
from pyproj import CRS
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import compute_area_m2
from segwatch.geo.tracking import overlay
from segwatch.geo.tracking.cutting import CutDetections, IndexedArea, backdate_new_ground, cut_detections
from segwatch.geo.tracking.ground import NewGround
from segwatch.geo.tracking.overlay import Geometries
from segwatch.geo.types.tracking import (
    Change,
    ChangeKind,
    Detection,
    Lineage,
    TrackedObservation,
    TrackingStep,
    TrackState,
)
from segwatch.geo.types.watch import TrackingSettings

#: Side of the grid cells, metres, whose indices are part of a new track's id.
_ID_CELL_M = 100.0


@dataclass(slots=True)
class VisibleObject:
    """One living object and how much of it the observation covers."""

    state: TrackState
    whole: BaseGeometry
    """Its geometry in the equal-area CRS."""
    visible: BaseGeometry
    """The part within the observed footprint, equal-area CRS."""
    visible_share: float
    """Visible share of its area, 0..1."""


@dataclass(slots=True)
class Continuation:
    """An object that continues as one object, before it is decided whether it grew, shrank or moved."""

    before: VisibleObject
    after: TrackState
    projected: BaseGeometry | None
    """The new geometry in the equal-area CRS where it is at hand; None = still to be projected."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Ground that an object lost, which may have been a part that was missed after a split."""

    state: TrackState
    """Present state of the object, alive."""
    region: BaseGeometry
    """EPSG:4326."""
    valid_at: datetime

    @property
    def track_id(self) -> UUID:
        """Track of the object."""
        return self.state.track_id

    @property
    def target(self) -> str:
        """Target of the object."""
        return self.state.target


def _assume_apart(first: BaseGeometry, second: BaseGeometry, target: str) -> bool:
    del first, second, target
    return True


@dataclass(frozen=True, slots=True)
class Context:
    """What earlier observations tell about the changes of this one."""

    were_apart: Callable[[BaseGeometry, BaseGeometry, str], bool] = _assume_apart
    """Whether an earlier observation shows two objects (EPSG:4326) of a target apart."""
    losses: tuple[Loss, ...] = ()
    """Losses that are still open, in a stable order."""


@dataclass(slots=True)
class StepBuilder:
    """Context and results of folding one observation; detections are referred to by index."""

    observation: TrackedObservation
    settings: TrackingSettings
    series_id: UUID
    crs: CRS
    new: NewGround
    since: datetime | None = None
    min_polygon_m2: float = 0.0
    context: Context = field(default_factory=Context)
    footprint: BaseGeometry = field(init=False)
    """Observed footprint in the equal-area CRS."""
    never_observed: IndexedArea = field(init=False)
    """As in ``new``."""
    new_to_series: IndexedArea = field(init=False)
    """As in ``new``."""
    projected: Geometries = field(init=False)
    """(N,) detections in the equal-area CRS."""
    cut: CutDetections = field(init=False)
    """Their pieces on ground that was observed before: what is linked and compared."""
    states: dict[UUID, TrackState] = field(default_factory=dict)
    """New or changed states by track id."""
    changes: list[Change] = field(default_factory=list)
    lineage: list[Lineage] = field(default_factory=list)
    detection_tracks: list[UUID | None] = field(init=False)
    """Track of each detection; None = not assigned yet."""
    tracks_shown: dict[int, set[UUID]] = field(default_factory=lambda: defaultdict(set))
    """Detection -> all tracks that its pieces show; more than one until they are joined."""
    absorbed: dict[UUID, UUID] = field(default_factory=dict)
    """Track that ended because new ground joined it to another -> that other track."""
    new_tracks: Counter[tuple[str, int, int]] = field(default_factory=Counter)
    """Number of new tracks by target and grid cell."""

    def __post_init__(self) -> None:
        self.footprint = overlay.project(self.observation.footprint, self.crs)
        shapely.prepare(self.footprint)
        self.never_observed = IndexedArea(self.new.never_observed)
        same = self.new.new_to_series is self.new.never_observed
        self.new_to_series = self.never_observed if same else IndexedArea(self.new.new_to_series)
        geometries = [one.geometry for one in self.observation.detections]
        self.projected = overlay.project_all(geometries, self.crs)
        self.cut = cut_detections(
            geometries,
            self.projected,
            self.observation.footprint,
            self.never_observed,
            self.crs,
            self.settings.tolerance_m,
        )
        self.detection_tracks = [None] * len(self.projected)

    def build_step(self) -> TrackingStep:
        """Return everything collected, in a stable order."""
        return TrackingStep(
            self.observation.id,
            self.observation.scene_id,
            tuple(self.states[identity] for identity in sorted(self.states)),
            tuple(sorted(self.changes, key=lambda one: (one.track_id, one.kind))),
            tuple(sorted(self.lineage, key=lambda one: (one.parent, one.child))),
            tuple(track and self.absorbed.get(track, track) for track in self.detection_tracks),
            self.new.new_to_series,
        )

    def get_current(self, state: TrackState) -> TrackState:
        """Return the track's state after what was folded so far."""
        return self.states.get(state.track_id, state)

    def list_detections(self, pieces: Sequence[int]) -> list[int]:
        """List the detections that some pieces belong to, each once."""
        return list(dict.fromkeys(self.cut.detection_of_piece[piece] for piece in pieces))

    def assign(self, detection: int, track_id: UUID) -> None:
        """Assign a detection, or a piece of it, to a track."""
        self.detection_tracks[detection] = track_id
        self.tracks_shown[detection].add(track_id)

    def compose(self, detections: list[int], unobserved: Sequence[BaseGeometry] = ()) -> BaseGeometry:
        """Compose a geometry from detections and the unobserved parts of objects, EPSG:4326."""
        parts = [part for part in unobserved if not part.is_empty]
        rest = shapely.union_all(parts) if unobserved else Polygon()
        return overlay.compose(rest, [self.observation.detections[index].geometry for index in detections])

    def begin_track(self, detections: list[int]) -> TrackState:
        """Begin a track whose id derives from the scene and the grid cell of the first detection.

        The cells are coarse, so that a reprocessed scene, which shows the same object slightly differently, usually
        gives it the same id.
        """
        at = self.observation.acquired_at
        target = self.observation.detections[detections[0]].target
        middle = shapely.centroid(self.projected[detections[0]])
        cell = (target, math.floor(middle.x / _ID_CELL_M), math.floor(middle.y / _ID_CELL_M))
        count = self.new_tracks[cell]
        self.new_tracks[cell] += 1
        name = "/".join(map(str, ("track", self.observation.scene_id, *cell, count)))
        start = TrackState(uuid5(self.series_id, name), target, Polygon(), 0.0, 0.0, at, at, at)
        return self.record_sighting(start, detections, self.compose(detections), 1.0)

    def record_sighting(
        self, old: TrackState, detections: list[int], geometry: BaseGeometry, visible_share: float
    ) -> TrackState:
        """Record that detections show an object, which now has the given geometry (EPSG:4326)."""
        at = self.observation.acquired_at
        for index in detections:
            self.assign(index, old.track_id)
        state = replace(
            old,
            geometry=geometry,
            area_m2=self._compute_area_m2(geometry, detections),
            score=compute_mean_score([self.observation.detections[index] for index in detections]),
            last_seen=at,
            last_looked=at,
            misses=0,
            missed_since=None,
            visible_share=visible_share,
            alive=True,
        )
        self.states[state.track_id] = state
        return state

    def _compute_area_m2(self, geometry: BaseGeometry, detections: list[int]) -> float:
        first = self.observation.detections[detections[0]]
        return first.area_m2 if geometry is first.geometry else compute_area_m2(geometry)

    def add_change(
        self,
        old: TrackState,
        kind: ChangeKind,
        *,
        gained: BaseGeometry | None = None,
        lost: BaseGeometry | None = None,
        is_new: bool = False,
        valid_at: datetime | None = None,
        baseline: bool = False,
    ) -> None:
        """Add a change of a track whose new state is in :attr:`states`; ``is_new``: there was nothing before."""
        new = self.states[old.track_id]
        self.changes.append(
            Change(
                track_id=old.track_id,
                kind=kind,
                target=old.target,
                valid_at=valid_at or self.observation.acquired_at,
                before_m2=0.0 if is_new else old.area_m2,
                after_m2=new.area_m2 if new.alive else 0.0,
                gained=gained,
                lost=lost,
                score=new.score,
                baseline=baseline or self.is_inherited(old),
            )
        )

    def absorb(self, state: TrackState, keeper: UUID) -> None:
        """End a track as part of another, with lineage and without a change.

        A part that was split off by this very observation is forgotten: no track without a detection is left.
        """
        at = self.observation.acquired_at
        parents = [
            one.parent for one in self.lineage if (one.child, one.kind) == (state.track_id, ChangeKind.SPLIT)
        ]
        if parents:
            self._forget_part(state.track_id, parents[0], keeper)
            return
        self.states[state.track_id] = replace(state, alive=False, merged_into=keeper, last_looked=at)
        self.lineage.append(Lineage(state.track_id, keeper, ChangeKind.MERGED, at))
        self.absorbed[state.track_id] = keeper

    def _forget_part(self, part: UUID, parent: UUID, keeper: UUID) -> None:
        """Replace a part that was split off by the track that it belongs to; if that is its parent, nothing split."""
        del self.states[part]
        self.absorbed[part] = keeper
        self.changes = [one for one in self.changes if one.track_id != part]
        self.lineage = [one for one in self.lineage if part not in (one.parent, one.child)]
        if keeper != parent:
            self.lineage.append(Lineage(parent, keeper, ChangeKind.SPLIT, self.observation.acquired_at))
        elif not any((one.parent, one.kind) == (parent, ChangeKind.SPLIT) for one in self.lineage):
            split = (parent, ChangeKind.SPLIT)
            self.changes = [one for one in self.changes if (one.track_id, one.kind) != split]

    def is_inherited(self, state: TrackState) -> bool:
        """Return whether only the series before has observed the object so far."""
        return self.since is not None and state.last_looked < self.since

    def backdate(self, old: TrackState, geometry: BaseGeometry) -> TrackState:
        """Return the old state as if what ``geometry`` shows on new ground had been known then.

        For an inherited object only ground that neither series observed counts as new: other differences are recorded,
        as baseline changes.
        """
        new_ground = self.never_observed if self.is_inherited(old) else self.new_to_series
        backdated = backdate_new_ground(old.geometry, geometry, new_ground)
        return (
            old if backdated is None else replace(old, geometry=backdated, area_m2=compute_area_m2(backdated))
        )

    def clip_to_observed_before(self, geometry: BaseGeometry) -> BaseGeometry:
        """Clip a geometry (EPSG:4326) to ground that was observed before; return it whole if nothing is left."""
        if not self.never_observed.intersects(geometry):
            return geometry
        part = self.never_observed.erase(geometry)
        return geometry if part.is_empty else part


def compute_mean_score(parts: Sequence[Detection | TrackState]) -> float:
    """Compute the mean score, weighted by area."""
    total = sum(one.area_m2 for one in parts)
    if not total:
        return sum(one.score for one in parts) / len(parts)
    return sum(one.score * one.area_m2 for one in parts) / total
