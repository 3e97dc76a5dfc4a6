"""Fold one observation into its series.

For each target: (1) compute the visible part of every living object, (2) link visible objects with detections,
(3) resolve each connected component: continue, split, merge, miss, (4) compare old and new geometry of the objects that
continue, (5) count misses and bring disappeared objects back, (6) let the remaining detections appear, as baseline
where the ground was not observed before.
"""

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

from segwatch.geo.area import extract_polygons
from segwatch.geo.crs import make_local_equal_area
from segwatch.geo.tracking.crossing import continue_across_border
from segwatch.geo.tracking.cutting import extract_observed_before
from segwatch.geo.tracking.ground import NewGround
from segwatch.geo.tracking.link import Edges, assign_one_to_one, find_components, group_pairs, link_overlaps
from segwatch.geo.tracking.overlay import (
    extract_gain,
    extract_unobserved,
    project_all,
    to_array,
)
from segwatch.geo.tracking.step_builder import Context, Continuation, Loss, StepBuilder, VisibleObject
from segwatch.geo.tracking.transitions import classify_changes
from segwatch.geo.types.tracking import ChangeKind, Lineage, TrackedObservation, TrackingStep, TrackState
from segwatch.geo.types.watch import TrackingSettings

Floats = NDArray[np.float64]

#: Objects with a larger visible share count as wholly visible: the rest is rounding along the footprint's edge.
_WHOLLY_VISIBLE = 1 - 1e-6
#: Share of a new detection on ground that an object lost, from which it is a part of that object.
_LOST_PART = 0.6


def fold_observation(
    live: Sequence[TrackState],
    observation: TrackedObservation,
    settings: TrackingSettings,
    *,
    series_id: UUID,
    origin: tuple[float, float],
    new: NewGround,
    since: datetime | None = None,
    min_polygon_m2: float = 0.0,
    context: Context | None = None,
) -> TrackingStep:
    """Compute what an observation changes in the objects that it may affect.

    Linking and comparing use the ground that was observed before, with detections cut at its border. Afterwards objects
    continue across the border without a change: they gain the new ground that a detection covers, and objects that one
    detection joins only through new ground become one, recorded as lineage without a change.

    Parameters
    ----------
    live
        Present states of the objects within :func:`segwatch.geo.tracking.ground.compute_search_area` of the footprint:
        disappeared ones, which may reappear, included; merged ones not. Objects elsewhere need not be given.
    observation
        The next one in the series' order; its detections lie within its footprint.
    settings
        Thresholds of the watch.
    series_id
        Namespace of new tracks' ids.
    origin
        Longitude and latitude of the centre of the series' equal-area projection, degrees.
    new
        The parts of the footprint that were not observed before.
    since
        When the series inherited tracks; None if it did not. What its first observation of an inherited object shows is
        the difference between two models, so it is baseline, and a single miss ends the object.
    min_polygon_m2
        Smaller detections were dropped (m²), so an observation without a detection does not exclude a smaller object.
    context
        What earlier observations tell; None = objects count as shown apart, and nothing was lost before.
    """
    fold = _Fold(
        observation,
        settings,
        series_id,
        make_local_equal_area(origin),
        new,
        since,
        min_polygon_m2,
        context or Context(),
    )
    states = sorted(live, key=lambda state: state.track_id)
    for target in sorted({one.target for one in states} | {one.target for one in observation.detections}):
        fold.fold_target(
            [state for state in states if state.target == target],
            [index for index, one in enumerate(observation.detections) if one.target == target],
        )
    return fold.build_step()


class _Fold(StepBuilder):
    """The steps of the fold; P pieces are cut detections on ground that was observed before."""

    __slots__ = ()

    def fold_target(self, states: list[TrackState], detections: list[int]) -> None:
        """Fold the objects and detections (indices) of one target."""
        living = self._measure_visible([state for state in states if state.alive])
        enough = [one for one in living if one.visible_share >= self.settings.visible_min]
        little = [one for one in living if one.visible_share < self.settings.visible_min]
        pieces = [piece for index in detections for piece in self.cut.pieces_of_detection[index]]
        edges = self._link([one.visible for one in enough], pieces)
        unlinked: list[int] = []
        continuations: list[Continuation] = []
        for component in find_components(len(enough), len(pieces), edges):
            objects = [enough[index] for index in component.objects]
            linked = [pieces[index] for index in component.detections]
            if not linked:
                self._record_miss(objects[0])
            elif not objects:
                unlinked += linked
            elif len(objects) == len(linked) == 1 and objects[0].visible_share >= 1.0:
                shown = self.list_detections(linked)
                continuations.append(self._continue(objects[0], shown, self.compose(shown)))
            else:
                continuations += self._resolve(objects, linked, component.tabulate_overlaps(edges))
        unlinked = self._assign_to_barely_visible(little, unlinked)
        self._reappear([state for state in states if not state.alive], unlinked)
        self._compare(continue_across_border(self, living, detections, continuations))
        for index in detections:
            if self.detection_tracks[index] is None:
                self._appear(index)

    # ---- steps 1 and 2: visible parts and links

    def _measure_visible(self, states: list[TrackState]) -> list[VisibleObject]:
        wholes = project_all([state.geometry for state in states], self.crs)
        visible = wholes.copy()
        partly = ~shapely.covers(self.footprint, wholes)
        visible[partly] = shapely.intersection(wholes[partly], self.footprint)
        areas = shapely.area(wholes)
        shares = np.divide(shapely.area(visible), areas, out=np.zeros(len(states)), where=areas > 0)
        shares[~partly | (shares > _WHOLLY_VISIBLE)] = 1.0
        return [
            VisibleObject(*one)
            for one in zip(states, wholes.tolist(), visible.tolist(), shares.tolist(), strict=True)
        ]

    def _link(self, visible: list[BaseGeometry], pieces: list[int]) -> Edges:
        return link_overlaps(
            to_array(visible),
            self.cut.pieces[pieces],
            link_min=self.settings.link_min,
            tolerance_m=self.settings.tolerance_m,
        )

    def _assign_to_barely_visible(self, little: list[VisibleObject], unlinked: list[int]) -> list[int]:
        """Assign pieces to objects too little of which is visible to compare them; return the remaining pieces."""
        edges = self._link([one.visible for one in little], unlinked)
        best = _find_best(edges.detections, edges.objects, edges.overlap_m2)
        for position, owner in best.items():
            self.assign(self.cut.detection_of_piece[unlinked[position]], little[owner].state.track_id)
        return [piece for position, piece in enumerate(unlinked) if position not in best]

    # ---- step 3: continue, split, merge

    def _resolve(
        self, objects: list[VisibleObject], pieces: list[int], overlap: Floats
    ) -> list[Continuation]:
        """Continue, split and merge the objects of one component with at least one object and one piece."""
        unobserved = [self._extract_unobserved(one) for one in objects]
        groups = self._group_pieces(unobserved, pieces, overlap)
        shared = np.stack([overlap[:, group].sum(axis=1) for group in groups], axis=1)
        kept = self._choose_keepers(objects, shared)

        owner = {column: row for row, column in kept.items()}
        ended: dict[int, list[int]] = defaultdict(list)
        for row in range(len(objects)):
            if row not in kept:
                ended[owner[_argmax(shared[row], list(owner))]].append(row)
        children: dict[int, list[int]] = defaultdict(list)
        for column in range(len(groups)):
            if column not in owner:
                children[_argmax(shared[:, column], list(kept))].append(column)
        continuations = []
        shown = [self.list_detections([pieces[position] for position in group]) for group in groups]
        for row, column in kept.items():
            geometry = self.compose(shown[column], [unobserved[index] for index in (row, *ended[row])])
            others = self._absorb_parts(objects[row], [objects[index] for index in ended[row]])
            if others or children[row]:
                parts = [shown[child] for child in children[row]]
                self._split_or_merge(objects[row], shown[column], geometry, others, parts)
            else:
                continuations.append(self._continue(objects[row], shown[column], geometry))
        return continuations

    def _absorb_parts(self, keeper: VisibleObject, others: list[VisibleObject]) -> list[VisibleObject]:
        """Absorb objects that no observation showed apart from the one they merge into; return the other ones.

        They were parts of one object, seen piece by piece, so nothing merged on the ground.
        """
        merged = []
        for other in others:
            if self.is_inherited(other.state) or self.context.were_apart(
                keeper.state.geometry, other.state.geometry, keeper.state.target
            ):
                merged.append(other)
            else:
                self.absorb(other.state, keeper.state.track_id)
        return merged

    def _extract_unobserved(self, one: VisibleObject) -> BaseGeometry:
        if one.visible_share >= 1.0:
            return Polygon()
        return extract_unobserved(
            one.state.geometry, self.observation.footprint, self.crs, self.settings.tolerance_m
        )

    def _group_pieces(
        self, unobserved: list[BaseGeometry], pieces: list[int], overlap: Floats
    ) -> list[list[int]]:
        """Group positions in ``pieces``: pieces of one detection, and pieces that an unobserved part connects.

        A cloud across the middle of a lake leaves two detections, which is no split.
        """
        pairs = _pair_equal([self.cut.detection_of_piece[piece] for piece in pieces])
        near = self.settings.tolerance_m / 2
        for row, rest in enumerate(unobserved):
            # parts less than a pixel apart count as one
            parts = shapely.buffer(project_all(extract_polygons(rest), self.crs), near)
            for hidden in shapely.get_parts(shapely.union_all(parts)):
                touching = [
                    int(position)
                    for position in np.flatnonzero(overlap[row] > 0)
                    if shapely.dwithin(hidden, self.cut.pieces[pieces[position]], near)
                ]
                pairs += [(touching[0], other) for other in touching[1:]]
        return group_pairs(len(pieces), pairs)

    def _choose_keepers(self, objects: list[VisibleObject], shared: Floats) -> dict[int, int]:
        """Return object -> group of pieces that keeps its identity."""
        if shared.shape[1] == 1:
            areas = [one.state.area_m2 for one in objects]
            return {max(range(len(objects)), key=lambda row: (areas[row], -row)): 0}
        return dict(assign_one_to_one(shared))

    def _continue(self, one: VisibleObject, detections: list[int], geometry: BaseGeometry) -> Continuation:
        """Record that an object continues as one object; :meth:`_compare` decides whether it changed."""
        after = self.record_sighting(one.state, detections, geometry, one.visible_share)
        alone = len(detections) == 1 and geometry is self.observation.detections[detections[0]].geometry
        return Continuation(one, after, self.projected[detections[0]] if alone else None)

    def _split_or_merge(
        self,
        one: VisibleObject,
        detections: list[int],
        geometry: BaseGeometry,
        ended: list[VisibleObject],
        children: list[list[int]],
    ) -> None:
        """Continue an object as ``detections``, end the objects merged into it and begin a track for each child."""
        old = one.state
        new = self.record_sighting(old, detections, geometry, one.visible_share)
        kind = ChangeKind.MERGED if ended else ChangeKind.SPLIT
        self._add_geometry_change(self.backdate(old, geometry), kind, geometry)
        at = self.observation.acquired_at
        for other in ended:
            state = replace(other.state, alive=False, merged_into=old.track_id, last_looked=at)
            self.states[state.track_id] = state
            self.add_change(other.state, ChangeKind.MERGED, lost=other.state.geometry)
            self.lineage.append(Lineage(state.track_id, new.track_id, ChangeKind.MERGED, at))
        for group in children:
            state = self.begin_track(group)
            gained = self.clip_to_observed_before(state.geometry)
            baseline = self.is_inherited(old)
            self.add_change(state, ChangeKind.SPLIT, is_new=True, gained=gained, baseline=baseline)
            self.lineage.append(Lineage(old.track_id, state.track_id, ChangeKind.SPLIT, at))

    # ---- step 4: grew, shrank, moved

    def _compare(self, continuations: list[Continuation]) -> None:
        """Add a change for each continuing object that grew, shrank or moved on ground observed before."""
        to_project = [index for index, one in enumerate(continuations) if one.projected is None]
        after = to_array([one.projected for one in continuations])
        after[to_project] = project_all(
            [continuations[index].after.geometry for index in to_project], self.crs
        )
        states = [self.backdate(one.before.state, one.after.geometry) for one in continuations]
        before = to_array([one.before.whole for one in continuations])
        backdated = [
            index for index, one in enumerate(continuations) if states[index] is not one.before.state
        ]
        before[backdated] = project_all([states[index].geometry for index in backdated], self.crs)
        min_change_m2 = np.zeros(len(continuations))
        min_change_m2[backdated] = self.min_polygon_m2
        kinds = classify_changes(
            before,
            after,
            np.array([one.area_m2 for one in states]),
            np.array([one.after.area_m2 for one in continuations]),
            self.settings,
            min_change_m2,
        )
        for state, one, kind in zip(states, continuations, kinds, strict=True):
            if kind is not None:
                self._add_geometry_change(state, kind, one.after.geometry)

    def _add_geometry_change(self, old: TrackState, kind: ChangeKind, geometry: BaseGeometry) -> None:
        self.add_change(
            old,
            kind,
            gained=extract_gain(old.geometry, geometry),
            lost=extract_gain(geometry, old.geometry),
        )

    # ---- step 5: misses and reappearances

    def _record_miss(self, one: VisibleObject) -> None:
        """Record that no detection shows the object; the miss counts if enough of the object was visible."""
        if one.visible_share < self.settings.gone_visible:
            return
        at = self.observation.acquired_at
        old = one.state
        state = replace(
            old,
            last_looked=at,
            misses=old.misses + 1,
            missed_since=old.missed_since or at,
            visible_share=one.visible_share,
        )
        gone = state.misses >= (1 if self.is_inherited(old) else self.settings.gone_after)
        self.states[state.track_id] = replace(state, alive=not gone)
        if gone:
            self.add_change(old, ChangeKind.DISAPPEARED, lost=old.geometry, valid_at=state.missed_since)

    def _reappear(self, gone: list[TrackState], unlinked: list[int]) -> None:
        """Bring disappeared objects back under their id where unlinked pieces overlap their last geometry."""
        projected = project_all([state.geometry for state in gone], self.crs)
        edges = self._link(projected.tolist(), unlinked)
        for component in find_components(len(gone), len(unlinked), edges):
            if not (component.objects and component.detections):
                continue
            back = [gone[index] for index in component.objects]
            pieces = [unlinked[position] for position in component.detections]
            overlap = component.tabulate_overlaps(edges)
            unobserved = (
                [self._extract_unobserved(one) for one in self._measure_visible(back)]
                if len(pieces) > 1
                else []
            )
            groups = self._group_pieces(unobserved, pieces, overlap)
            shared = np.stack([overlap[:, group].sum(axis=1) for group in groups], axis=1)
            for row, column in assign_one_to_one(shared):
                shown = self.list_detections([pieces[position] for position in groups[column]])
                new = self.record_sighting(back[row], shown, self.compose(shown), 1.0)
                gained = self.clip_to_observed_before(new.geometry)
                self.add_change(back[row], ChangeKind.REAPPEARED, is_new=True, gained=gained)

    # ---- step 6: appearances and baseline

    def _appear(self, detection: int) -> None:
        loss = self._find_loss(detection)
        state = self.begin_track([detection])
        if loss is not None:
            self._split_late(loss, state)
            return
        gained = self._find_appeared_part(state)
        self.add_change(
            state,
            ChangeKind.APPEARED,
            is_new=True,
            gained=state.geometry if gained is None else gained,
            baseline=gained is None,
        )

    def _find_loss(self, detection: int) -> Loss | None:
        """Find the loss of a living object of which most of a detection covers: a part that was missed until now."""
        one = self.observation.detections[detection]
        for loss in self.context.losses:
            if loss.target != one.target or not shapely.intersects(loss.region, one.geometry):
                continue
            if shapely.intersection(loss.region, one.geometry).area >= _LOST_PART * one.geometry.area:
                return loss
        return None

    def _split_late(self, loss: Loss, state: TrackState) -> None:
        """Record that a part of an object is seen for the first time since it was split off."""
        old = self.states.get(loss.track_id, loss.state)
        self.states.setdefault(loss.track_id, old)
        if not any(one.track_id == old.track_id and one.kind is ChangeKind.SPLIT for one in self.changes):
            self.add_change(old, ChangeKind.SPLIT, lost=loss.region, valid_at=loss.valid_at)
        self.add_change(state, ChangeKind.SPLIT, is_new=True, gained=state.geometry, valid_at=loss.valid_at)
        self.lineage.append(Lineage(old.track_id, state.track_id, ChangeKind.SPLIT, loss.valid_at))

    def _find_appeared_part(self, state: TrackState) -> BaseGeometry | None:
        """Find the part on ground that was observed before without the object; None if the object is baseline.

        A part below the minimum of a detection or of a change may have existed before without being detected.
        """
        if self.new.new_to_series is self.observation.footprint:
            return None
        if not self.new_to_series.intersects(state.geometry):
            return state.geometry
        part, certain_m2 = extract_observed_before(
            state.geometry, self.new_to_series, self.crs, self.settings.tolerance_m
        )
        least = max(self.min_polygon_m2, min(self.settings.min_change_m2, state.area_m2 / 2))
        return part if certain_m2 >= least else None


def _pair_equal(values: Sequence[int]) -> list[tuple[int, int]]:
    """Pair the position of each repeated value with the position of its first occurrence."""
    first: dict[int, int] = {}
    pairs = [(first.setdefault(value, position), position) for position, value in enumerate(values)]
    return [pair for pair in pairs if pair[0] != pair[1]]


def _argmax(values: Floats, candidates: Sequence[int]) -> int:
    """Return the candidate index with the largest value, the first of equals."""
    return max(candidates, key=lambda index: (values[index], -index))


def _find_best(keys: NDArray[np.intp], values: NDArray[np.intp], weights: Floats) -> dict[int, int]:
    """Return key -> its value of largest weight."""
    order = np.argsort(weights, kind="stable")
    return dict(zip(keys[order].tolist(), values[order].tolist(), strict=True))
