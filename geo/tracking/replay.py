"""Fold one observation into its series (DESIGN: tracking, step by step)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import polygonal_parts
from segwatch.geo.crs import local_equal_area
from segwatch.geo.tracking import crossing, ground, transitions
from segwatch.geo.tracking.ground import NewGround
from segwatch.geo.tracking.link import Edges, assign, components, grouped, link
from segwatch.geo.tracking.recording import Continued, Object, Record
from segwatch.geo.tracking.transitions import array
from segwatch.geo.types.tracking import ChangeKind, Lineage, TrackedObservation, TrackingStep, TrackState
from segwatch.geo.types.watch import TrackingSettings

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
    new: NewGround,
    since: datetime | None = None,
    min_polygon_m2: float = 0.0,
) -> TrackingStep:
    """What the observation does to the objects that meet its footprint.

    What is found on ground that no earlier observation saw is baseline. The fold is done on the ground that had been
    seen, with the detections cut at its border; then objects go on across the border without a change: they gain the
    new ground that a detection covers, and those that one detection joins only through new ground become one, which
    lineage tells and no change does.

    Args:
        live: present states of the series' objects within :func:`ground.reach` of the footprint, disappeared ones
            (which may reappear) included, merged ones not. Objects elsewhere need not be given.
        observation: the next one in the series' order; its detections lie within its footprint.
        settings: the watch's numbers.
        series_id: part of new tracks' ids.
        origin: longitude and latitude of the series' equal-area projection.
        new: what of the footprint had never been seen clearly.
        since: for a series that took over another's objects, when; what its first look at one of them shows is the
            difference of two models, not of the ground, and one miss is enough to say that it sees none there.
        min_polygon_m2: what is smaller is no detection, so that ground seen without one may hold it.
    """
    fold = _Fold(observation, settings, series_id, local_equal_area(origin), new, since, min_polygon_m2)
    states = sorted(live, key=lambda state: state.track_id)
    for target in sorted({one.target for one in states} | {one.target for one in observation.detections}):
        fold.target(
            [state for state in states if state.target == target],
            [index for index, one in enumerate(observation.detections) if one.target == target],
        )
    return fold.step()


class _Fold(Record):
    """Links what is found to what is known, and tells what that means."""

    __slots__ = ()

    def target(self, states: list[TrackState], found: list[int]) -> None:
        """Fold the objects and detections (indices) of one target."""
        living = self._meet([state for state in states if state.alive])
        clear = [one for one in living if one.share >= self.settings.visible_min]
        dim = [one for one in living if one.share < self.settings.visible_min]
        pieces = [piece for index in found for piece in self.cut.of[index]]
        edges = self._link([one.visible for one in clear], pieces)
        free = []
        continued: list[Continued] = []
        for component in components(len(clear), len(pieces), edges):
            members = [clear[index] for index in component.objects]
            seen = [pieces[index] for index in component.detections]
            if not seen:
                self._missed(members[0])
            elif not members:
                free += seen
            elif len(members) == len(seen) == 1 and members[0].share >= 1.0:
                shown = self.of_pieces(seen)
                continued.append(self._go_on(members[0], shown, self.outline(shown)))
            else:
                continued += self._resolve(members, seen, component.overlaps(edges))
        free = self._attribute(dim, free)
        self._reappear([state for state in states if not state.alive], free)
        self._compare(crossing.across(self, living, found, continued))
        for index in found:
            if self.tracks[index] is None:
                self._appear(index)

    def _meet(self, states: list[TrackState]) -> list[Object]:
        wholes = transitions.local_all([state.geometry for state in states], self.crs)
        visible = wholes.copy()
        partly = ~shapely.covers(self.footprint, wholes)
        visible[partly] = shapely.intersection(wholes[partly], self.footprint)
        areas = shapely.area(wholes)
        shares = np.divide(shapely.area(visible), areas, out=np.zeros(len(states)), where=areas > 0)
        shares[~partly | (shares > _WHOLE)] = 1.0
        return [
            Object(*one)
            for one in zip(states, wholes.tolist(), visible.tolist(), shares.tolist(), strict=True)
        ]

    def _link(self, visible: list[BaseGeometry], pieces: list[int]) -> Edges:
        numbers = self.settings
        found = self.cut.pieces[pieces]
        return link(array(visible), found, link_min=numbers.link_min, tolerance_m=numbers.tolerance_m)

    def _attribute(self, dim: list[Object], free: list[int]) -> list[int]:
        """Hand pieces on the little that is seen of an object to it, unchanged; those left over."""
        edges = self._link([one.visible for one in dim], free)
        best = _best(edges.detections, edges.objects, edges.overlap_m2)
        for position, owner in best.items():
            self.show(self.cut.source[free[position]], dim[owner].state.track_id)
        return [piece for position, piece in enumerate(free) if position not in best]

    def _reappear(self, gone: list[TrackState], free: list[int]) -> None:
        """Bring disappeared objects back under their id."""
        outlines = transitions.local_all([state.geometry for state in gone], self.crs)
        edges = self._link(outlines.tolist(), free)
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
                self._come_back(back[row], self.of_pieces([found[position] for position in groups[column]]))

    def _come_back(self, state: TrackState, found: list[int]) -> None:
        new = self.see(state, found, self.outline(found), 1.0)
        self.change(state, ChangeKind.REAPPEARED, began=True, gained=self.on_seen(new.geometry))

    def _appear(self, index: int) -> None:
        state = self.begin([index])
        gained = self._appeared_on(state)
        self.change(
            state,
            ChangeKind.APPEARED,
            began=True,
            gained=state.geometry if gained is None else gained,
            baseline=gained is None,
        )

    def _appeared_on(self, state: TrackState) -> BaseGeometry | None:
        """Ground that was seen before without the object; None where it is baseline.

        Less than a detection may have, or than a change must have, may have been there unnoticed.
        """
        numbers = self.settings
        if self.new.own is self.observation.footprint:
            return None
        if not self.own.meets(state.geometry):
            return state.geometry
        part, far_m2 = ground.seen_before(state.geometry, self.own, self.crs, numbers.tolerance_m)
        least = max(self.min_polygon_m2, min(numbers.min_change_m2, state.area_m2 / 2))
        return part if far_m2 >= least else None

    def _missed(self, one: Object) -> None:
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
        gone = state.misses >= (1 if self.inherited(old) else self.settings.gone_after)
        self.states[state.track_id] = replace(state, alive=not gone)
        if gone:
            self.change(old, ChangeKind.DISAPPEARED, lost=old.geometry, valid_at=state.missed_since)

    def _resolve(self, members: list[Object], pieces: list[int], overlap: Floats) -> list[Continued]:
        """Continue, split and merge within one component of at least one object and one piece."""
        rests = [self._hidden(one) for one in members]
        groups = self._behind_clouds(rests, pieces, overlap)
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
        shown = [self.of_pieces([pieces[position] for position in group]) for group in groups]
        for row, column in kept.items():
            seen = shown[column]
            outline = self.outline(seen, [rests[index] for index in (row, *ended[row])])
            if ended[row] or children[row]:
                others = [members[index] for index in ended[row]]
                self._reshape(members[row], seen, outline, others, [shown[child] for child in children[row]])
            else:
                continued.append(self._go_on(members[row], seen, outline))
        return continued

    def _hidden(self, one: Object) -> BaseGeometry:
        if one.share >= 1.0:
            return Polygon()
        return transitions.hidden(
            one.state.geometry, self.observation.footprint, self.crs, self.settings.tolerance_m
        )

    def _behind_clouds(
        self, rests: list[BaseGeometry], pieces: list[int], overlap: Floats
    ) -> list[list[int]]:
        """Positions in ``pieces``, grouped: pieces of one object that meet where nothing was known are one.

        A cloud across the middle of a lake leaves two detections, and no split; nor do two pieces of one detection.
        """
        pairs = _of_one([self.cut.source[piece] for piece in pieces])
        near = self.settings.tolerance_m / 2
        for row, rest in enumerate(rests):
            # parts of it that are less than a pixel apart are one
            parts = shapely.buffer(transitions.local_all(polygonal_parts(rest), self.crs), near)
            for hidden in shapely.get_parts(shapely.union_all(parts)):
                touching = [
                    int(position)
                    for position in np.flatnonzero(overlap[row] > 0)
                    if shapely.dwithin(hidden, self.cut.pieces[pieces[position]], near)
                ]
                pairs += [(touching[0], other) for other in touching[1:]]
        return grouped(len(pieces), pairs)

    def _keepers(self, members: list[Object], shared: Floats) -> dict[int, int]:
        """Object -> group of detections that carries its identity on."""
        if shared.shape[1] == 1:
            areas = [one.state.area_m2 for one in members]
            return {max(range(len(members)), key=lambda row: (areas[row], -row)): 0}
        return dict(assign(shared))

    def _go_on(self, one: Object, found: list[int], outline: BaseGeometry) -> Continued:
        """The object is still one thing; :meth:`_compare` says whether it changed."""
        new = self.see(one.state, found, outline, one.share)
        alone = len(found) == 1 and outline is self.observation.detections[found[0]].geometry
        return Continued(one, new, self.shapes[found[0]] if alone else None)

    def _compare(self, continued: list[Continued]) -> None:
        """Note which of the objects that go on grew, shrank or moved, on ground that was seen before."""
        rest = [index for index, one in enumerate(continued) if one.outline is None]
        after = array([one.outline for one in continued])
        after[rest] = transitions.local_all([continued[index].new.geometry for index in rest], self.crs)
        states = [self.as_if_seen(one.one.state, one.new.geometry) for one in continued]
        before = array([one.one.whole for one in continued])
        across = [index for index, one in enumerate(continued) if states[index] is not one.one.state]
        before[across] = transitions.local_all([states[index].geometry for index in across], self.crs)
        least = np.zeros(len(continued))
        least[across] = self.min_polygon_m2
        kinds = transitions.compare(
            before,
            after,
            np.array([one.area_m2 for one in states]),
            np.array([one.new.area_m2 for one in continued]),
            self.settings,
            least,
        )
        for state, one, kind in zip(states, continued, kinds, strict=True):
            if kind is not None:
                self._reshaped(state, kind, one.new.geometry)

    def _reshaped(self, old: TrackState, kind: ChangeKind, outline: BaseGeometry) -> None:
        self.change(
            old,
            kind,
            gained=transitions.gained(old.geometry, outline),
            lost=transitions.gained(outline, old.geometry),
        )

    def _reshape(
        self,
        one: Object,
        found: list[int],
        outline: BaseGeometry,
        ended: list[Object],
        children: list[list[int]],
    ) -> None:
        """The object goes on as ``found``; ``ended`` objects became part of it, ``children`` came off it."""
        old = one.state
        new = self.see(old, found, outline, one.share)
        self._reshaped(
            self.as_if_seen(old, outline), ChangeKind.MERGED if ended else ChangeKind.SPLIT, outline
        )
        at = self.observation.acquired_at
        for other in ended:
            state = replace(other.state, alive=False, merged_into=old.track_id, last_looked=at)
            self.states[state.track_id] = state
            self.change(other.state, ChangeKind.MERGED, lost=other.state.geometry)
            self.lineage.append(Lineage(state.track_id, new.track_id, ChangeKind.MERGED, at))
        for group in children:
            state = self.begin(group)
            gained = self.on_seen(state.geometry)
            self.change(state, ChangeKind.SPLIT, began=True, gained=gained, baseline=self.inherited(old))
            self.lineage.append(Lineage(old.track_id, state.track_id, ChangeKind.SPLIT, at))


def _of_one(sources: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of positions that are pieces of one detection."""
    first: dict[int, int] = {}
    pairs = [(first.setdefault(source, position), position) for position, source in enumerate(sources)]
    return [pair for pair in pairs if pair[0] != pair[1]]


def _largest(values: Floats, candidates: Sequence[int]) -> int:
    """The candidate index with the largest value, the first of equals."""
    return max(candidates, key=lambda index: (values[index], -index))


def _best(keys: NDArray[np.intp], values: NDArray[np.intp], weights: Floats) -> dict[int, int]:
    """Key -> its value of the largest weight."""
    order = np.argsort(weights, kind="stable")
    return dict(zip(keys[order].tolist(), values[order].tolist(), strict=True))
