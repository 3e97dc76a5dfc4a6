"""Fold one observation into its series (DESIGN: tracking, step by step)."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID, uuid5

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import geodesic_m2, polygonal_parts
from segwatch.geo.crs import local_equal_area
from segwatch.geo.tracking import transitions
from segwatch.geo.tracking.link import Edges, assign, components, link
from segwatch.geo.tracking.transitions import Geometries
from segwatch.geo.types import (
    Change,
    ChangeKind,
    Detection,
    Lineage,
    TrackedObservation,
    TrackingSettings,
    TrackingStep,
    TrackState,
)

Floats = NDArray[np.float64]

#: Side of the cells, metres, that new tracks are named by.
_PLACE_M = 100.0
#: Objects visible to more than this share are whole: what is left is rounding along the footprint's edge.
_WHOLE = 1 - 1e-6


def advance(
    live: Sequence[TrackState],
    observation: TrackedObservation,
    settings: TrackingSettings,
    *,
    series_id: UUID,
    origin: tuple[float, float],
    baseline: bool,
    since: datetime | None = None,
) -> TrackingStep:
    """What the observation does to the objects that meet its footprint.

    Args:
        live: present states of the series' objects that intersect the footprint, disappeared ones (which may
            reappear) included, merged ones not. Objects elsewhere need not be given.
        observation: the next one in the series' order; its detections lie within its footprint.
        settings: the watch's numbers.
        series_id: part of new tracks' ids.
        origin: longitude and latitude of the series' equal-area projection.
        baseline: whether it is the series' first observation.
        since: for a series that took over another's objects, when; what its first look at one of them shows is the
            difference of two models, not of the ground, and one miss is enough to say that it sees none there.
    """
    fold = _Fold(observation, settings, series_id, local_equal_area(origin), baseline, since)
    states = sorted(live, key=lambda state: state.track_id)
    for target in sorted({one.target for one in states} | {one.target for one in observation.detections}):
        fold.target(
            [state for state in states if state.target == target],
            [index for index, one in enumerate(observation.detections) if one.target == target],
        )
    return fold.step()


@dataclass(slots=True)
class _Object:
    """One living object as this observation meets it."""

    state: TrackState
    whole: BaseGeometry
    """Its outline, local CRS."""
    visible: BaseGeometry
    """The part within the footprint, local CRS."""
    share: float
    """Visible share of its area."""


@dataclass(slots=True)
class _Continued:
    """An object that goes on, before it is known whether its outline changed."""

    one: _Object
    new: TrackState
    outline: BaseGeometry | None
    """The new outline in the local CRS where that is at hand."""


@dataclass(slots=True)
class _Fold:
    """One observation being folded in; collects what changes."""

    observation: TrackedObservation
    settings: TrackingSettings
    series_id: UUID
    crs: CRS
    baseline: bool
    since: datetime | None = None
    footprint: BaseGeometry = field(init=False)
    shapes: Geometries = field(init=False)
    """Detections in the local CRS."""
    states: dict[UUID, TrackState] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    lineage: list[Lineage] = field(default_factory=list)
    tracks: list[UUID | None] = field(init=False)
    born: Counter[tuple[str, int, int]] = field(default_factory=Counter)
    """New tracks by place."""

    def __post_init__(self) -> None:
        self.footprint = transitions.local(self.observation.footprint, self.crs)
        shapely.prepare(self.footprint)
        self.shapes = transitions.local_all([one.geometry for one in self.observation.detections], self.crs)
        self.tracks = [None] * len(self.shapes)

    def step(self) -> TrackingStep:
        """Everything collected, in a stable order."""
        return TrackingStep(
            self.observation.id,
            self.observation.scene_id,
            tuple(self.states[identity] for identity in sorted(self.states)),
            tuple(sorted(self.changes, key=lambda one: (one.track_id, one.kind))),
            tuple(sorted(self.lineage, key=lambda one: (one.parent, one.child))),
            tuple(self.tracks),
        )

    def target(self, states: list[TrackState], found: list[int]) -> None:
        """Fold the objects and detections (indices) of one target."""
        living = self._meet([state for state in states if state.alive])
        clear = [one for one in living if one.share >= self.settings.visible_min]
        dim = [one for one in living if one.share < self.settings.visible_min]
        edges = self._link([one.visible for one in clear], found)
        free = []
        continued: list[_Continued] = []
        for component in components(len(clear), len(found), edges):
            members = [clear[index] for index in component.objects]
            seen = [found[index] for index in component.detections]
            if not seen:
                self._missed(members[0])
            elif not members:
                free += seen
            elif len(members) == len(seen) == 1 and members[0].share >= 1.0:
                continued.append(self._go_on(members[0], seen, self._outline(seen)))
            else:
                continued += self._resolve(members, seen, component.overlaps(edges))
        self._compare(continued)
        free = self._attribute(dim, free)
        free = self._reappear([state for state in states if not state.alive], free)
        for index in free:
            self._appear(index)

    def _meet(self, states: list[TrackState]) -> list[_Object]:
        wholes = transitions.local_all([state.geometry for state in states], self.crs)
        visible = wholes.copy()
        partly = ~shapely.covers(self.footprint, wholes)
        visible[partly] = shapely.intersection(wholes[partly], self.footprint)
        areas = shapely.area(wholes)
        shares = np.divide(shapely.area(visible), areas, out=np.zeros(len(states)), where=areas > 0)
        shares[~partly | (shares > _WHOLE)] = 1.0
        return [
            _Object(*one)
            for one in zip(states, wholes.tolist(), visible.tolist(), shares.tolist(), strict=True)
        ]

    def _link(self, visible: list[BaseGeometry], found: list[int]) -> Edges:
        numbers = self.settings
        return link(
            _array(visible), self.shapes[found], link_min=numbers.link_min, tolerance_m=numbers.tolerance_m
        )

    def _attribute(self, dim: list[_Object], free: list[int]) -> list[int]:
        """Hand detections on the little that is seen of an object to it, unchanged; those left over."""
        edges = self._link([one.visible for one in dim], free)
        best = _best(edges.detections, edges.objects, edges.overlap_m2)
        for position, owner in best.items():
            self.tracks[free[position]] = dim[owner].state.track_id
        return [index for position, index in enumerate(free) if position not in best]

    def _reappear(self, gone: list[TrackState], free: list[int]) -> list[int]:
        """Bring disappeared objects back under their id; the detections left over."""
        outlines = transitions.local_all([state.geometry for state in gone], self.crs)
        edges = self._link(outlines.tolist(), free)
        taken: set[int] = set()
        for component in components(len(gone), len(free), edges):
            if not (component.objects and component.detections):
                continue
            back = [gone[index] for index in component.objects]
            found = [free[position] for position in component.detections]
            overlap = component.overlaps(edges)
            rests = [self._hidden(one) for one in self._meet(back)] if len(found) > 1 else []
            groups = self._behind_clouds(rests, found, overlap)
            shared = np.stack([overlap[:, group].sum(axis=1) for group in groups], axis=1)
            for row, column in assign(shared):
                self._come_back(back[row], [found[position] for position in groups[column]])
                taken.update(found[position] for position in groups[column])
        return [index for index in free if index not in taken]

    def _come_back(self, state: TrackState, found: list[int]) -> None:
        new = self._see(state, found, self._outline(found), 1.0)
        self._change(state, ChangeKind.REAPPEARED, began=True, gained=new.geometry)

    def _appear(self, index: int) -> None:
        state = self._new(index)
        self._change(state, ChangeKind.APPEARED, began=True, gained=state.geometry)

    def _missed(self, one: _Object) -> None:
        """Nothing was found where the object was; it counts if enough of it was seen."""
        if one.share < self.settings.gone_visible:
            return
        at = self.observation.acquired_at
        old = one.state
        state = replace(
            old,
            last_looked=at,
            misses=old.misses + 1,
            missed_since=old.missed_since or at,
            visible_share=one.share,
        )
        gone = state.misses >= (1 if self._inherited(old) else self.settings.gone_after)
        self.states[state.track_id] = replace(state, alive=not gone)
        if gone:
            self._change(old, ChangeKind.DISAPPEARED, lost=old.geometry, valid_at=state.missed_since)

    def _resolve(self, members: list[_Object], found: list[int], overlap: Floats) -> list[_Continued]:
        """Continue, split and merge within one component of at least one object and one detection."""
        rests = [self._hidden(one) for one in members]
        groups = self._behind_clouds(rests, found, overlap)
        shared = np.stack([overlap[:, group].sum(axis=1) for group in groups], axis=1)
        kept = self._keepers(members, shared)

        owner = {column: row for row, column in kept.items()}
        ended: dict[int, list[int]] = defaultdict(list)
        for row in range(len(members)):
            if row not in kept:
                ended[owner[_largest(shared[row], list(owner))]].append(row)
        children: dict[int, list[int]] = defaultdict(list)
        for column in range(len(groups)):
            if column not in owner:
                children[_largest(shared[:, column], list(kept))].append(column)
        continued = []
        for row, column in kept.items():
            seen = [found[index] for index in groups[column]]
            outline = self._outline(seen, [rests[index] for index in (row, *ended[row])])
            if ended[row] or children[row]:
                others = [members[index] for index in ended[row]]
                pieces = [[found[index] for index in groups[child]] for child in children[row]]
                self._reshape(members[row], seen, outline, others, pieces)
            else:
                continued.append(self._go_on(members[row], seen, outline))
        return continued

    def _hidden(self, one: _Object) -> BaseGeometry:
        if one.share >= 1.0:
            return Polygon()
        return transitions.hidden(
            one.state.geometry, self.observation.footprint, self.crs, self.settings.tolerance_m
        )

    def _behind_clouds(self, rests: list[BaseGeometry], found: list[int], overlap: Floats) -> list[list[int]]:
        """Positions in ``found``, grouped: detections of one object that meet behind what was not seen are one.

        A cloud across the middle of a lake leaves two detections, and no split.
        """
        if len(found) == 1 or all(rest.is_empty for rest in rests):
            return [[position] for position in range(len(found))]
        pairs: list[tuple[int, int]] = []
        for row, rest in enumerate(rests):
            pieces = [transitions.local(part, self.crs) for part in polygonal_parts(rest)]
            for piece in pieces:
                touching = [
                    position
                    for position in np.flatnonzero(overlap[row] > 0)
                    if shapely.dwithin(piece, self.shapes[found[position]], self.settings.tolerance_m)
                ]
                pairs += [(int(touching[0]), int(other)) for other in touching[1:]]
        first, second = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
        # both sides index the same detections here: link each to itself so that lone ones are groups, too
        every = np.arange(len(found))
        joined = Edges(
            np.concatenate([every, first]),
            np.concatenate([every, second]),
            np.zeros(len(found) + len(pairs)),
        )
        return [list(one.detections) for one in components(len(found), len(found), joined)]

    def _keepers(self, members: list[_Object], shared: Floats) -> dict[int, int]:
        """Object -> group of detections that carries its identity on."""
        if shared.shape[1] == 1:
            areas = [one.state.area_m2 for one in members]
            return {max(range(len(members)), key=lambda row: (areas[row], -row)): 0}
        return dict(assign(shared))

    def _go_on(self, one: _Object, found: list[int], outline: BaseGeometry) -> _Continued:
        """The object is still one thing; :meth:`_compare` says whether it changed."""
        new = self._see(one.state, found, outline, one.share)
        alone = len(found) == 1 and outline is self.observation.detections[found[0]].geometry
        return _Continued(one, new, self.shapes[found[0]] if alone else None)

    def _compare(self, continued: list[_Continued]) -> None:
        """Note which of the objects that go on grew, shrank or moved."""
        rest = [index for index, one in enumerate(continued) if one.outline is None]
        after = _array([one.outline for one in continued])
        after[rest] = transitions.local_all([continued[index].new.geometry for index in rest], self.crs)
        kinds = transitions.compare(
            _array([one.one.whole for one in continued]),
            after,
            np.array([one.one.state.area_m2 for one in continued]),
            np.array([one.new.area_m2 for one in continued]),
            self.settings,
        )
        for one, kind in zip(continued, kinds, strict=True):
            if kind is not None:
                self._reshaped(one.one.state, kind, one.new.geometry)

    def _reshaped(self, old: TrackState, kind: ChangeKind, outline: BaseGeometry) -> None:
        self._change(
            old,
            kind,
            gained=transitions.gained(old.geometry, outline),
            lost=transitions.gained(outline, old.geometry),
        )

    def _reshape(
        self,
        one: _Object,
        found: list[int],
        outline: BaseGeometry,
        ended: list[_Object],
        children: list[list[int]],
    ) -> None:
        """The object goes on as ``found``; ``ended`` objects became part of it, ``children`` came off it."""
        old = one.state
        new = self._see(old, found, outline, one.share)
        self._reshaped(old, ChangeKind.MERGED if ended else ChangeKind.SPLIT, outline)
        at = self.observation.acquired_at
        for other in ended:
            state = replace(other.state, alive=False, merged_into=old.track_id, last_looked=at)
            self.states[state.track_id] = state
            self._change(other.state, ChangeKind.MERGED, lost=other.state.geometry)
            self.lineage.append(Lineage(state.track_id, new.track_id, ChangeKind.MERGED, at))
        for group in children:
            state = self._new(*group)
            self._change(state, ChangeKind.SPLIT, began=True, gained=state.geometry, out_of=old)
            self.lineage.append(Lineage(old.track_id, state.track_id, ChangeKind.SPLIT, at))

    def _outline(self, found: list[int], rests: Sequence[BaseGeometry] = ()) -> BaseGeometry:
        rest = shapely.union_all([part for part in rests if not part.is_empty]) if rests else Polygon()
        return transitions.composite(rest, [self.observation.detections[index].geometry for index in found])

    def _new(self, *found: int) -> TrackState:
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
        return self._see(start, list(found), self._outline(list(found)), 1.0)

    def _see(self, old: TrackState, found: list[int], outline: BaseGeometry, share: float) -> TrackState:
        """The state after a sighting."""
        at = self.observation.acquired_at
        for index in found:
            self.tracks[index] = old.track_id
        seen = [self.observation.detections[index] for index in found]
        state = replace(
            old,
            geometry=outline,
            area_m2=self._area_m2(outline, found),
            score=_score(seen),
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

    def _change(
        self,
        old: TrackState,
        kind: ChangeKind,
        *,
        gained: BaseGeometry | None = None,
        lost: BaseGeometry | None = None,
        began: bool = False,
        valid_at: datetime | None = None,
        out_of: TrackState | None = None,
    ) -> None:
        """Note a change of a track whose new state is in :attr:`states`.

        ``began``: there was nothing before; ``out_of``: what it was part of.
        """
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
                baseline=(self.baseline and (began or self.since is not None))
                or self._inherited(out_of or old),
            )
        )

    def _inherited(self, state: TrackState) -> bool:
        """Whether nobody but the series before has looked at the object so far."""
        return self.since is not None and state.last_looked < self.since


def _score(seen: Sequence[Detection]) -> float:
    """Mean score, weighted by area."""
    total = sum(one.area_m2 for one in seen)
    if not total:
        return sum(one.score for one in seen) / len(seen)
    return sum(one.score * one.area_m2 for one in seen) / total


def _array(geometries: Sequence[BaseGeometry | None]) -> Geometries:
    made = np.empty(len(geometries), dtype=object)
    made[:] = geometries
    return made


def _largest(values: Floats, candidates: Sequence[int]) -> int:
    """The candidate index with the largest value, the first of equals."""
    return max(candidates, key=lambda index: (values[index], -index))


def _best(keys: NDArray[np.intp], values: NDArray[np.intp], weights: Floats) -> dict[int, int]:
    """Key -> its value of the largest weight."""
    order = np.argsort(weights, kind="stable")
    return dict(zip(keys[order].tolist(), values[order].tolist(), strict=True))
