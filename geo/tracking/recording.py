"""One observation being folded in: what is known, and what is recorded of it."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID, uuid5

import shapely
from pyproj import CRS
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import geodesic_m2
from segwatch.geo.tracking import ground, transitions
from segwatch.geo.tracking.ground import Cut, Ground, NewGround
from segwatch.geo.tracking.transitions import Geometries
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

#: Side of the cells, metres, that new tracks are named by.
_PLACE_M = 100.0


@dataclass(slots=True)
class Object:
    """One living object as this observation meets it."""

    state: TrackState
    whole: BaseGeometry
    """Its outline, local CRS."""
    visible: BaseGeometry
    """The part within the footprint, local CRS."""
    share: float
    """Visible share of its area."""


@dataclass(slots=True)
class Continued:
    """An object that goes on, before it is known whether its outline changed."""

    one: Object
    new: TrackState
    outline: BaseGeometry | None
    """The new outline in the local CRS where that is at hand."""


@dataclass(slots=True)
class Record:
    """One observation and what it does to its series, collected. Detections are named by their index."""

    observation: TrackedObservation
    settings: TrackingSettings
    series_id: UUID
    crs: CRS
    new: NewGround
    since: datetime | None = None
    min_polygon_m2: float = 0.0
    footprint: BaseGeometry = field(init=False)
    """Local CRS."""
    unseen: Ground = field(init=False)
    own: Ground = field(init=False)
    """As of ``new``."""
    shapes: Geometries = field(init=False)
    """Detections in the local CRS."""
    cut: Cut = field(init=False)
    """Their pieces on ground that was seen before: what is linked and compared."""
    states: dict[UUID, TrackState] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    lineage: list[Lineage] = field(default_factory=list)
    tracks: list[UUID | None] = field(init=False)
    """Of each detection."""
    shown: dict[int, set[UUID]] = field(default_factory=lambda: defaultdict(set))
    """Every track that pieces of a detection show; more than one until they are joined."""
    absorbed: dict[UUID, UUID] = field(default_factory=dict)
    """Tracks that new ground joined -> the track that they are part of."""
    born: Counter[tuple[str, int, int]] = field(default_factory=Counter)
    """New tracks by place."""

    def __post_init__(self) -> None:
        self.footprint = transitions.local(self.observation.footprint, self.crs)
        shapely.prepare(self.footprint)
        self.unseen = Ground(self.new.unseen)
        self.own = self.unseen if self.new.own is self.new.unseen else Ground(self.new.own)
        outlines = [one.geometry for one in self.observation.detections]
        self.shapes = transitions.local_all(outlines, self.crs)
        footprint, tolerance_m = self.observation.footprint, self.settings.tolerance_m
        self.cut = ground.cut(outlines, self.shapes, footprint, self.unseen, self.crs, tolerance_m)
        self.tracks = [None] * len(self.shapes)

    def step(self) -> TrackingStep:
        """Everything collected, in a stable order."""
        return TrackingStep(
            self.observation.id,
            self.observation.scene_id,
            tuple(self.states[identity] for identity in sorted(self.states)),
            tuple(sorted(self.changes, key=lambda one: (one.track_id, one.kind))),
            tuple(sorted(self.lineage, key=lambda one: (one.parent, one.child))),
            tuple(track and self.absorbed.get(track, track) for track in self.tracks),
            self.new.own,
        )

    def now(self, state: TrackState) -> TrackState:
        """The state after what was folded so far."""
        return self.states.get(state.track_id, state)

    def of_pieces(self, pieces: Sequence[int]) -> list[int]:
        """The detections of some pieces, each once."""
        return list(dict.fromkeys(self.cut.source[piece] for piece in pieces))

    def show(self, index: int, track_id: UUID) -> None:
        """The detection, or a piece of it, shows the track."""
        self.tracks[index] = track_id
        self.shown[index].add(track_id)

    def outline(self, found: list[int], rests: Sequence[BaseGeometry] = ()) -> BaseGeometry:
        """Detections and what could not be seen, EPSG:4326."""
        rest = shapely.union_all([part for part in rests if not part.is_empty]) if rests else Polygon()
        return transitions.composite(rest, [self.observation.detections[index].geometry for index in found])

    def begin(self, found: list[int]) -> TrackState:
        """A track that begins with these detections, named by the scene and the place where it was first seen.

        The place is coarse, so that a reprocessed scene, which shows the same object a little differently or
        beside others, most often gives it the same name.
        """
        at = self.observation.acquired_at
        target = self.observation.detections[found[0]].target
        middle = shapely.centroid(self.shapes[found[0]])
        place = (target, math.floor(middle.x / _PLACE_M), math.floor(middle.y / _PLACE_M))
        count = self.born[place]
        self.born[place] += 1
        name = "/".join(map(str, ("track", self.observation.scene_id, *place, count)))
        start = TrackState(uuid5(self.series_id, name), target, Polygon(), 0.0, 0.0, at, at, at)
        return self.see(start, found, self.outline(found), 1.0)

    def see(self, old: TrackState, found: list[int], outline: BaseGeometry, share: float) -> TrackState:
        """The state after a sighting."""
        at = self.observation.acquired_at
        for index in found:
            self.show(index, old.track_id)
        seen = [self.observation.detections[index] for index in found]
        state = replace(
            old,
            geometry=outline,
            area_m2=self._area_m2(outline, found),
            score=score(seen),
            last_seen=at,
            last_looked=at,
            misses=0,
            missed_since=None,
            visible_share=share,
            alive=True,
        )
        self.states[state.track_id] = state
        return state

    def _area_m2(self, outline: BaseGeometry, found: list[int]) -> float:
        first = self.observation.detections[found[0]]
        return first.area_m2 if outline is first.geometry else geodesic_m2(outline)

    def change(
        self,
        old: TrackState,
        kind: ChangeKind,
        *,
        gained: BaseGeometry | None = None,
        lost: BaseGeometry | None = None,
        began: bool = False,
        valid_at: datetime | None = None,
        baseline: bool = False,
    ) -> None:
        """Note a change of a track whose new state is in :attr:`states`; ``began``: there was nothing before."""
        new = self.states[old.track_id]
        self.changes.append(
            Change(
                track_id=old.track_id,
                kind=kind,
                target=old.target,
                valid_at=valid_at or self.observation.acquired_at,
                before_m2=0.0 if began else old.area_m2,
                after_m2=new.area_m2 if new.alive else 0.0,
                gained=gained,
                lost=lost,
                score=new.score,
                baseline=baseline or self.inherited(old),
            )
        )

    def inherited(self, state: TrackState) -> bool:
        """Whether nobody but the series before has looked at the object so far."""
        return self.since is not None and state.last_looked < self.since

    def as_if_seen(self, old: TrackState, outline: BaseGeometry) -> TrackState:
        """The state before, as it had been if new ground had been seen: what is found there is no change.

        Of an object that only the series before had looked at, what this one sees otherwise is told as baseline.
        """
        unknown = self.unseen if self.inherited(old) else self.own
        geometry = ground.as_if_seen(old.geometry, outline, unknown)
        return old if geometry is None else replace(old, geometry=geometry, area_m2=geodesic_m2(geometry))

    def on_seen(self, outline: BaseGeometry) -> BaseGeometry:
        """The part on ground that was seen before, or all of it where that is nothing."""
        if not self.unseen.meets(outline):
            return outline
        part = self.unseen.off(outline)
        return outline if part.is_empty else part


def score(seen: Sequence[Detection | TrackState]) -> float:
    """Mean score, weighted by area."""
    total = sum(one.area_m2 for one in seen)
    if not total:
        return sum(one.score for one in seen) / len(seen)
    return sum(one.score * one.area_m2 for one in seen) / total
