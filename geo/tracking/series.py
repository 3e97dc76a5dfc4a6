"""Fold the observations of a series in order of acquisition time.

A late scene changes what later scenes mean: an object may have existed earlier, a split may turn out to be a merge
undone. The caller therefore folds everything from the late scene on again, starting from the states just before it, so
that any order of arrival gives the result of the order of acquisition.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from uuid import UUID, uuid5

import shapely
from shapely.geometry.base import BaseGeometry

from segwatch.geo.crs import make_local_equal_area
from segwatch.geo.tracking.belief_model import Rates
from segwatch.geo.tracking.counting import Exposure, count_judgements, count_observation, update_beliefs
from segwatch.geo.tracking.fold import fold_observation
from segwatch.geo.tracking.ground import NewGround, ObservedGround, compute_search_area, widen_footprint
from segwatch.geo.tracking.holds import MIN_GAP
from segwatch.geo.tracking.judge import DOUBTED, Judge, to_past_changes
from segwatch.geo.tracking.light import measure_light
from segwatch.geo.tracking.overlay import project_all, to_array
from segwatch.geo.tracking.past import find_past
from segwatch.geo.tracking.region_views import ShownGround
from segwatch.geo.tracking.regions import Transition
from segwatch.geo.tracking.registration import (
    MAX_SHIFT_TOLERANCES,
    estimate_shift,
    is_within_reach,
    move_observation,
)
from segwatch.geo.tracking.registration_pixels import add_references, measure_shift
from segwatch.geo.tracking.step_builder import Context, Loss
from segwatch.geo.types.belief import Light, Shift, TargetCounts
from segwatch.geo.types.chips import Cell, ReferenceChip
from segwatch.geo.types.tracking import (
    Change,
    ChangeKind,
    GroundPiece,
    Judgement,
    OpenChange,
    PastObservation,
    TrackedObservation,
    TrackingStep,
    TrackState,
)
from segwatch.geo.types.watch import TrackingSettings


@dataclass(frozen=True, slots=True)
class FoldInput:
    """One observation to fold, with the settings that hold for it."""

    observation: TrackedObservation
    settings: TrackingSettings
    first: bool = False
    """Whether it is the first observation of the series; it then inherits the tracks of the series before."""
    min_polygon_m2: float = 0.0
    """Smaller detections were dropped, m²."""


def fold_series(
    before: Iterable[TrackState],
    inputs: Sequence[FoldInput],
    *,
    series_id: UUID,
    origin: tuple[float, float],
    since: datetime | None = None,
    observed_before: Iterable[GroundPiece] = (),
    counts_before: Iterable[TargetCounts] = (),
    open_before: Iterable[OpenChange] = (),
    past: Iterable[PastObservation] = (),
    references: Mapping[Cell, ReferenceChip] | None = None,
) -> list[TrackingStep]:
    """Fold observations in order, each over the objects that it may affect, and judge what changed.

    Parameters
    ----------
    before
        States of the series' objects just before the first of the observations, disappeared ones included. If that is
        the series' first observation: the tracks inherited from the series before (:func:`inherit_tracks`).
    inputs
        Observations in order of acquisition time, ties by scene id; from a late one to the newest.
    series_id
        Namespace of new tracks' ids.
    origin
        Longitude and latitude of the centre of the series' equal-area projection, degrees.
    since
        When the series inherited tracks; None if it did not.
    observed_before
        Ground observed before the first observation, at least where the footprints are.
    counts_before
        The series' counts after the observation before the first one.
    open_before
        Changes that were open after that observation, at least those whose region meets a footprint.
    past
        Observations before the first one, in order: at least the last
        :data:`~segwatch.geo.types.belief.MAX_PAST` whose footprint intersects that of each input, both as read.
    references
        For the cells of the observations' chips: the chip of the first observation before, with its shift.

    Returns
    -------
    list of TrackingStep
        One for each observation.
    """
    series = _Series(
        series_id,
        origin,
        since,
        {state.track_id: state for state in before},
        ObservedGround(observed_before),
        {one.target: one for one in counts_before},
        {_identify(one): one for one in open_before},
        list(past),
        dict(references or {}),
    )
    return [series.fold(item) for item in inputs]


@dataclass(slots=True)
class _Series:
    """A series after the observations folded so far."""

    series_id: UUID
    origin: tuple[float, float]
    since: datetime | None
    known: dict[UUID, TrackState]
    observed: ObservedGround
    counts: dict[str, TargetCounts]
    open_changes: dict[tuple[UUID, UUID, ChangeKind], OpenChange]
    past: list[PastObservation]
    references: dict[Cell, ReferenceChip]
    shown: dict[UUID, ShownGround] = field(default_factory=dict)
    """Past observations that were asked before, moved, by observation id."""
    folded: dict[UUID, ShownGround] = field(default_factory=dict)
    """Observations folded here that were not asked yet as past ones, likewise."""

    def fold(self, item: FoldInput) -> TrackingStep:
        """Fold the next observation and judge its step."""
        near, shift, doubt_m, new = self._register(item)
        past = find_past(self.past, item.observation.footprint)
        observation = move_observation(item.observation, shift)
        if new is None or not shift.is_zero:
            new = self.observed.find_new(observation.footprint)
        tolerance_m = item.settings.tolerance_m
        where = compute_search_area(observation.footprint, tolerance_m + doubt_m, new)
        live = _select_within(near, where)
        step = fold_observation(
            live,
            observation,
            replace(item.settings, tolerance_m=tolerance_m + doubt_m),
            series_id=self.series_id,
            origin=self.origin,
            new=new,
            since=self.since,
            min_polygon_m2=item.min_polygon_m2,
            context=self._tell(near, past, item),
        )
        self.observed.add(GroundPiece(observation.id, step.new_ground))
        step = self._judge(replace(step, shift=shift), observation, near, past, item)
        if item.first:
            step = _add_unaffected(step, self.known.values())
        self.known.update((state.track_id, state) for state in step.states)
        self.past.append(
            PastObservation(
                observation.id,
                observation.acquired_at,
                item.observation.footprint,
                item.observation.detections,
                shift,
                to_past_changes(step.changes),
            )
        )
        self.references = add_references(self.references, observation.chips, shift)
        return step

    def _register(self, item: FoldInput) -> tuple[dict[UUID, TrackState], Shift, float, NewGround | None]:
        """Select the states near an observation, and measure its shift on pixels, else on outlines.

        Returns
        -------
        near : dict
            Track id -> state.
        shift : Shift
            Zero without a source where neither is certain.
        doubt_m : float
            By how much the tolerance is widened then, metres.
        new : NewGround or None
            What of the footprint as read was not observed before; None where the outlines were not needed.
        """
        tolerance_m, footprint = item.settings.tolerance_m, item.observation.footprint
        # a box costs less than a widened footprint, and the fold selects again
        area = widen_footprint(shapely.envelope(footprint), MAX_SHIFT_TOLERANCES / 2 * tolerance_m)
        near = {state.track_id: state for state in _select_within(self.known, area)}
        measured = measure_shift(item.observation.chips, self.references)
        if measured.shift is not None and is_within_reach(measured.shift, tolerance_m):
            return near, measured.shift, 0.0, None
        new = self.observed.find_new(footprint)
        crs = make_local_equal_area(self.origin)
        states = list(near.values())
        shift = estimate_shift(item.observation, states, new.new_to_series, crs, tolerance_m)
        return near, shift, measured.uncertainty_m if shift.source == "none" else 0.0, new

    def _tell(self, near: dict[UUID, TrackState], past: list[PastObservation], item: FoldInput) -> Context:
        """Tell the fold what earlier observations show."""
        least_m = MIN_GAP * item.settings.tolerance_m

        def were_apart(first: BaseGeometry, second: BaseGeometry, target: str) -> bool:
            return any(self._show(one).shows_apart(first, second, target, least_m) for one in past)

        losses = tuple(
            Loss(near[one.change.track_id], one.judgement.evidence.region, one.change.valid_at)
            for _, one in sorted(self.open_changes.items())
            if one.change.kind is ChangeKind.SHRANK
            and one.judgement.evidence is not None
            and one.change.track_id in near
            and near[one.change.track_id].alive
        )
        return Context(were_apart, losses)

    def _judge(
        self,
        step: TrackingStep,
        observation: TrackedObservation,
        before: dict[UUID, TrackState],
        past: list[PastObservation],
        item: FoldInput,
    ) -> TrackingStep:
        """Update the beliefs of objects and changes, and the counts."""
        at, tolerance_m = observation.acquired_at, item.settings.tolerance_m
        gap_days = (at - past[-1].acquired_at).total_seconds() / 86_400 if past else 0.0

        @cache
        def rates(target: str) -> Rates:
            return Rates.estimate(self.counts.get(target) or TargetCounts(target), tolerance_m)

        step = update_beliefs(step, before, at, gap_days, rates)
        after = before | {state.track_id: state for state in step.states}
        lost, gained = (self._map_open(kind) for kind in (ChangeKind.SHRANK, ChangeKind.GREW))
        transition = Transition(step, before, after, at, observation.footprint, tolerance_m, lost, gained)
        changes = [one for one in step.changes if not one.baseline]
        near_open = self._find_open(observation.footprint)
        light = measure_light(observation.chips, self.references)
        shown = self.folded[observation.id] = ShownGround.of_observation(observation, step.shift, light)
        judge = Judge(
            transition,
            shown,
            [self._show(one) for one in past] if changes else [],
            rates,
            min_polygon_m2=item.min_polygon_m2,
            doubted=frozenset(
                (one.change.track_id, one.change.kind)
                for one in near_open
                if one.judgement.belief.confidence < DOUBTED
            ),
        )
        new = judge.judge_new()
        explained = judge.find_explained(new)
        again = [
            (one, judgement)
            for one in near_open
            if (judgement := judge.judge_open(one, explained)) is not None
        ]
        crs = make_local_equal_area(self.origin)
        footprint, fresh = shapely.area(project_all([observation.footprint, step.new_ground], crs)).tolist()
        exposure = Exposure(footprint, fresh, gap_days, light, item.min_polygon_m2)
        counts = count_observation(self.counts, transition, observation, exposure, crs)
        self.counts = count_judgements(counts, new, again)
        for change, judgement in [*((one.change, judgement) for one, judgement in again), *new]:
            self._record(change, judgement)
        judgements = sorted(
            (judgement for _, judgement in [*new, *again]),
            key=lambda one: (one.change_scene_id, one.track_id, one.kind),
        )
        return replace(step, judgements=tuple(judgements), counts=tuple(self.counts.values()))

    def _record(self, change: Change, judgement: Judgement) -> None:
        one = OpenChange(change, judgement.change_scene_id, judgement)
        if judgement.is_open:
            self.open_changes[_identify(one)] = one
        else:
            self.open_changes.pop(_identify(one), None)

    def _map_open(self, kind: ChangeKind) -> dict[UUID, BaseGeometry]:
        """Return the region of an open change of a kind by track; of several, the last in their stable order."""
        return {
            one.change.track_id: one.judgement.evidence.region
            for _, one in sorted(self.open_changes.items())
            if one.change.kind is kind and one.judgement.evidence is not None
        }

    def _show(self, one: PastObservation) -> ShownGround:
        if one.id not in self.shown:
            light = self._list_lights().get(one.id)
            folded = self.folded.pop(one.id, None)
            self.shown[one.id] = (
                folded.become_past(one.changes, light) if folded else ShownGround.of_past(one, light)
            )
        return self.shown[one.id]

    def _list_lights(self) -> dict[UUID, Light]:
        """Return the light of earlier observations, by id; every target's counts hold the same."""
        return dict(next((one.lights for one in self.counts.values()), ()))

    def _find_open(self, footprint: BaseGeometry) -> list[OpenChange]:
        """Find the open changes whose region the footprint meets, in a stable order."""
        every = [self.open_changes[key] for key in sorted(self.open_changes)]
        evidence = [one.judgement.evidence for one in every]
        regions = to_array([one.region if one else None for one in evidence])
        meets = shapely.intersects(footprint, regions)
        return [one for one, is_near in zip(every, meets, strict=True) if is_near]


def _identify(one: OpenChange) -> tuple[UUID, UUID, ChangeKind]:
    return one.scene_id, one.change.track_id, one.change.kind


def inherit_tracks(states: Iterable[TrackState], series_id: UUID, since: datetime) -> dict[UUID, TrackState]:
    """Inherit the objects of the series before as the first states of a new series.

    They count as last observed before the new series began, so that its first observation of each is recognised: the
    difference it shows comes from the change of model, not from the ground.

    Returns
    -------
    dict
        Track id in the series before -> state under its new track id.
    """
    just_before = since - timedelta(microseconds=1)
    return {
        state.track_id: replace(
            state,
            track_id=uuid5(series_id, f"continues/{state.track_id}"),
            last_looked=min(state.last_looked, just_before),
        )
        for state in states
    }


def _add_unaffected(step: TrackingStep, before: Iterable[TrackState]) -> TrackingStep:
    """Add the inherited states that a series' first observation did not change, so that the series records them."""
    changed = {state.track_id for state in step.states}
    every = [*step.states, *(state for state in before if state.track_id not in changed)]
    return replace(step, states=tuple(sorted(every, key=lambda state: state.track_id)))


def _select_within(known: Mapping[UUID, TrackState], area: BaseGeometry) -> list[TrackState]:
    """Select the unmerged states whose geometry intersects an area."""
    present = [state for state in known.values() if state.merged_into is None]
    shapely.prepare(area)
    near = shapely.intersects(area, to_array([state.geometry for state in present]))
    return [state for state, is_near in zip(present, near, strict=True) if is_near]
