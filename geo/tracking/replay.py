"""Fold one observation into its series (DESIGN: tracking, step by step)."""

from __future__ import annotations

from collections import defaultdict
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
from segwatch.geo.tracking.link import Component, Edges, Geometries, assign, components, link
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
    """
    fold = _Fold(observation, settings, series_id, local_equal_area(origin), baseline)
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
    visible: BaseGeometry
    """Its part within the footprint, local CRS."""
    share: float
    """Visible share of its area."""


@dataclass(slots=True)
class _Fold:
    """One observation being folded in; collects what changes."""

    observation: TrackedObservation
    settings: TrackingSettings
    series_id: UUID
    crs: CRS
    baseline: bool
    footprint: BaseGeometry = field(init=False)
    shapes: list[BaseGeometry] = field(init=False)
    """Detections in the local CRS."""
    states: dict[UUID, TrackState] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    lineage: list[Lineage] = field(default_factory=list)
    tracks: list[UUID | None] = field(init=False)

    def __post_init__(self) -> None:
        self.footprint = transitions.local(self.observation.footprint, self.crs)
        shapely.prepare(self.footprint)
        self.shapes = [transitions.local(one.geometry, self.crs) for one in self.observation.detections]
        self.tracks = [None] * len(self.shapes)

    def step(self) -> TrackingStep:
        """Everything collected, in a stable order."""
        return TrackingStep(
            self.observation.id,
            tuple(self.states[identity] for identity in sorted(self.states)),
            tuple(sorted(self.changes, key=lambda one: (one.track_id, one.kind))),
            tuple(sorted(self.lineage, key=lambda one: (one.parent, one.child))),
            tuple(self.tracks),
        )

    def target(self, states: list[TrackState], found: list[int]) -> None:
        """Fold the objects and detections (indices) of one target."""
        living = [self._meet(state) for state in states if state.alive]
        clear = [one for one in living if one.share >= self.settings.visible_min]
        dim = [one for one in living if one.share < self.settings.visible_min]
        edges = self._link([one.visible for one in clear], found)
        free = []
        for component in components(len(clear), len(found), edges):
            members = [clear[index] for index in component.objects]
            if not component.detections:
                self._missed(members[0])
            elif not members:
                free += [found[index] for index in component.detections]
            else:
                self._resolve(members, [found[index] for index in component.detections], component, edges)
        free = self._attribute(dim, free)
        free = self._reappear([state for state in states if not state.alive], free)
        for index in free:
            self._appear(index)

    def _meet(self, state: TrackState) -> _Object:
        whole = transitions.local(state.geometry, self.crs)
        if self.footprint.covers(whole):
            return _Object(state, whole, 1.0)
        visible = whole.intersection(self.footprint)
        share = visible.area / whole.area if whole.area else 0.0
        return _Object(state, visible, 1.0 if share > _WHOLE else share)

    def _link(self, visible: list[BaseGeometry], found: list[int]) -> Edges:
        shapes = _array([self.shapes[index] for index in found])
        numbers = self.settings
        return link(_array(visible), shapes, link_min=numbers.link_min, tolerance_m=numbers.tolerance_m)

    def _attribute(self, dim: list[_Object], free: list[int]) -> list[int]:
        """Hand detections on the little that is seen of an object to it, unchanged; those left over."""
        edges = self._link([one.visible for one in dim], free)
        best = _best(edges.detections, edges.objects, edges.overlap_m2)
        for position, owner in best.items():
            self.tracks[free[position]] = dim[owner].state.track_id
        return [index for position, index in enumerate(free) if position not in best]

    def _reappear(self, gone: list[TrackState], free: list[int]) -> list[int]:
        """Bring disappeared objects back under their id; the detections left over."""
        edges = self._link([transitions.local(state.geometry, self.crs) for state in gone], free)
        if not len(edges.objects):
            return free
        linked = np.unique(edges.objects)
        back = [gone[index] for index in linked]
        overlap = np.zeros((len(back), len(free)))
        overlap[np.searchsorted(linked, edges.objects), edges.detections] = edges.overlap_m2
        groups = self._behind_clouds([self._hidden(self._meet(state)) for state in back], free, overlap)
        shared = np.stack([overlap[:, group].sum(axis=1) for group in groups], axis=1)
        taken: set[int] = set()
        for row, column in assign(shared):
            state, found = back[row], [free[position] for position in groups[column]]
            self._see(state, found, self._outline(found), 1.0)
            self._change(
                state, ChangeKind.REAPPEARED, began=True, gained=self.states[state.track_id].geometry
            )
            taken.update(found)
        return [index for index in free if index not in taken]

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
        gone = state.misses >= self.settings.gone_after
        self.states[state.track_id] = replace(state, alive=not gone)
        if gone:
            self._change(old, ChangeKind.DISAPPEARED, lost=old.geometry, valid_at=state.missed_since)

    def _resolve(self, members: list[_Object], found: list[int], component: Component, edges: Edges) -> None:
        """Continue, split and merge within one component of at least one object and one detection."""
        inside = np.isin(edges.objects, component.objects)
        rows = np.searchsorted(component.objects, edges.objects[inside])
        columns = np.searchsorted(component.detections, edges.detections[inside])
        overlap = np.zeros((len(members), len(found)))
        overlap[rows, columns] = edges.overlap_m2[inside]

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
        for row, column in kept.items():
            self._continue(
                members[row],
                [found[index] for index in groups[column]],
                [members[index] for index in ended[row]],
                [[found[index] for index in groups[child]] for child in children[row]],
                [rests[index] for index in (row, *ended[row])],
            )

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

    def _continue(
        self,
        one: _Object,
        found: list[int],
        ended: list[_Object],
        children: list[list[int]],
        rests: list[BaseGeometry],
    ) -> None:
        """The object goes on as ``found``; ``ended`` objects became part of it, ``children`` came off it."""
        old = one.state
        outline = self._outline(found, rests)
        new = self._see(old, found, outline, one.share)
        kind = transitions.compare(old.geometry, outline, self.crs, self.settings)
        kind = ChangeKind.MERGED if ended else ChangeKind.SPLIT if children else kind
        if kind is not None:
            self._change(
                old,
                kind,
                gained=transitions.gained(old.geometry, outline),
                lost=transitions.gained(outline, old.geometry),
            )
        at = self.observation.acquired_at
        for other in ended:
            state = replace(other.state, alive=False, merged_into=old.track_id, last_looked=at)
            self.states[state.track_id] = state
            self._change(other.state, ChangeKind.MERGED, lost=other.state.geometry)
            self.lineage.append(Lineage(state.track_id, new.track_id, ChangeKind.MERGED, at))
        for group in children:
            state = self._new(*group)
            self._change(state, ChangeKind.SPLIT, began=True, gained=state.geometry)
            self.lineage.append(Lineage(old.track_id, state.track_id, ChangeKind.SPLIT, at))

    def _outline(self, found: list[int], rests: Sequence[BaseGeometry] = ()) -> BaseGeometry:
        rest = shapely.union_all([part for part in rests if not part.is_empty]) if rests else Polygon()
        return transitions.composite(rest, [self.observation.detections[index].geometry for index in found])

    def _new(self, *found: int) -> TrackState:
        """A track that begins with these detections."""
        at = self.observation.acquired_at
        first = self.observation.detections[found[0]]
        identity = uuid5(self.series_id, f"track/{self.observation.id}/{found[0]}")
        start = TrackState(identity, first.target, Polygon(), 0.0, 0.0, at, at, at)
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
            area_m2=geodesic_m2(outline),
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

    def _change(
        self,
        old: TrackState,
        kind: ChangeKind,
        *,
        gained: BaseGeometry | None = None,
        lost: BaseGeometry | None = None,
        began: bool = False,
        valid_at: datetime | None = None,
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
                baseline=self.baseline and kind is ChangeKind.APPEARED,
            )
        )


def _score(seen: Sequence[Detection]) -> float:
    """Mean score, weighted by area."""
    total = sum(one.area_m2 for one in seen)
    if not total:
        return sum(one.score for one in seen) / len(seen)
    return sum(one.score * one.area_m2 for one in seen) / total


def _array(geometries: Sequence[BaseGeometry]) -> Geometries:
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
