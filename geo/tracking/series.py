"""Fold the observations of a series in order of acquisition time.

A late scene changes what later scenes mean: an object may have existed earlier, a split may turn out to be a merge
undone. The caller therefore folds everything from the late scene on again, starting from the states just before it, so
that any order of arrival gives the result of the order of acquisition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
from segwatch.geo.tracking.ground import NewGround, ObservedGround, compute_search_area
from segwatch.geo.tracking.holds import MIN_GAP
from segwatch.geo.tracking.judge import DOUBTED, Judge, to_past_changes
from segwatch.geo.tracking.light import measure_light
from segwatch.geo.tracking.overlay import project_all, to_array
from segwatch.geo.tracking.past import find_past
from segwatch.geo.tracking.reach import PastReach, Reach
from segwatch.geo.tracking.region_views import ShownGround
from segwatch.geo.tracking.regions import Transition
from segwatch.geo.tracking.registration import (
    estimate_shift,
    is_within_reach,
    move_observation,
)
from segwatch.geo.tracking.registration_pixels import add_references, measure_shift
from segwatch.geo.tracking.step_builder import Context, Loss
from segwatch.geo.types.belief import Shift, TargetCounts
from segwatch.geo.types.chips import Cell, ReferenceChip
from segwatch.geo.types.tracking import (
    ChangeKind,
    GroundPiece,
    OpenChange,
    PastObservation,
    TrackedObservation,
    TrackingStep,
    TrackState,
)
from segwatch.geo.types.watch import TrackingSettings

FindUnchanged = Callable[[TrackedObservation, TrackingStep], frozenset[tuple[UUID, ChangeKind]]]


def _find_none(observation: TrackedObservation, step: TrackingStep) -> frozenset[tuple[UUID, ChangeKind]]:
    return frozenset()


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
    find_unchanged: FindUnchanged = _find_none,
) -> list[TrackingStep]:
    """Fold observations in order, each over the objects that it may affect, and judge what changed.

    Parameters
    ----------
    before
        States of the series' objects just before the first of the observations, disappeared ones included, at least
        those that meet a footprint widened by :func:`~segwatch.geo.tracking.reach.widen_to_reach`. If that is the
        series' first observation: the tracks inherited from the series before (:func:`inherit_tracks`).
    inputs
        Observations in order of acquisition time, ties by scene id; from a late one to the newest.
    series_id
        Namespace of new tracks' ids.
    origin
        Longitude and latitude of the centre of the series' equal-area projection, degrees.
    since
        When the series inherited tracks; None if it did not.
    observed_before
        Ground observed before the first observation, at least where the widened footprints are.
    counts_before
        The series' counts after the observation before the first one.
    open_before
        Changes that were open after that observation, at least those whose ground meets a widened footprint.
    past
        Observations before the first one, in order: at least the last
        :data:`~segwatch.geo.types.belief.MAX_PAST` whose footprint intersects that of each input, both as read, with
        the detections that :func:`~segwatch.geo.tracking.reach.widen_to_past` covers and the changes of the objects
        in ``before``.
    references
        For the cells of the observations' chips: the chip of the first observation before, with its shift.
    find_unchanged
        Receives each observation and its step before it is judged; returns track and kind of the changes on whose
        ground a spectral index says the same before and after
        (:func:`segwatch.geo.spectral.likelihood.shows_no_change`).

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
        find_unchanged,
    )
    return [series.fold(item) for item in inputs]


@dataclass(frozen=True, slots=True)
class _Around:
    """What an observation is folded over: what its series holds within its reach."""

    near: dict[UUID, TrackState]
    """States before the observation, without merged tracks."""
    open_changes: list[OpenChange]
    """In a stable order."""
    past: list[PastObservation]
    """Earlier observations that meet its footprint, oldest first."""
    show: Callable[[], list[ShownGround]]
    """Returns these as they count for the observation."""


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
    find_unchanged: FindUnchanged
    shown: dict[UUID, ShownGround] = field(default_factory=dict)
    """Past observations that were asked before, moved, by observation id."""
    folded: dict[UUID, ShownGround] = field(default_factory=dict)
    """Observations folded here that were not asked yet as past ones, likewise."""

    def fold(self, item: FoldInput) -> TrackingStep:
        """Fold the next observation and judge its step."""
        tolerance_m = item.settings.tolerance_m
        reach = Reach.of(item.observation.footprint, tolerance_m)
        near = self._select_near(reach)
        shift, doubt_m, new = self._register(near, item)
        observation = move_observation(item.observation, shift)
        if new is None or not shift.is_zero:
            new = self.observed.find_new(observation.footprint)
        live = _select_within(near, compute_search_area(observation.footprint, tolerance_m + doubt_m, new))
        around = self._look_around(reach, near, live)
        step = fold_observation(
            live,
            observation,
            replace(item.settings, tolerance_m=tolerance_m + doubt_m),
            series_id=self.series_id,
            origin=self.origin,
            new=new,
            since=self.since,
            min_polygon_m2=item.min_polygon_m2,
            context=_tell(around, tolerance_m),
        )
        self.observed.add(GroundPiece(observation.id, step.new_ground))
        step = self._judge(replace(step, shift=shift), observation, around, item)
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

    def _select_near(self, reach: Reach) -> dict[UUID, TrackState]:
        """Select the unmerged states within reach, in a stable order."""
        present = [self.known[track_id] for track_id in sorted(self.known)]
        present = [state for state in present if state.merged_into is None]
        covered = reach.covers(to_array([state.geometry for state in present]))
        return {state.track_id: state for state, is_near in zip(present, covered, strict=True) if is_near}

    def _register(
        self, near: Mapping[UUID, TrackState], item: FoldInput
    ) -> tuple[Shift, float, NewGround | None]:
        """Measure the shift of an observation on pixels, else on the outlines of the states near it.

        Returns
        -------
        shift : Shift
            Zero without a source where neither is certain.
        doubt_m : float
            By how much the tolerance is widened then, metres.
        new : NewGround or None
            What of the footprint as read was not observed before; None where the outlines were not needed.
        """
        tolerance_m = item.settings.tolerance_m
        measured = measure_shift(item.observation.chips, self.references)
        if measured.shift is not None and is_within_reach(measured.shift, tolerance_m):
            return measured.shift, 0.0, None
        new = self.observed.find_new(item.observation.footprint)
        crs = make_local_equal_area(self.origin)
        states = list(near.values())
        shift = estimate_shift(item.observation, states, new.new_to_series, crs, tolerance_m)
        return shift, measured.uncertainty_m if shift.source == "none" else 0.0, new

    def _look_around(self, reach: Reach, near: dict[UUID, TrackState], live: Sequence[TrackState]) -> _Around:
        every = [self.open_changes[key] for key in sorted(self.open_changes)]
        covered = reach.covers(to_array([one.ground for one in every]))
        past = find_past(self.past, reach.footprint)
        past_reach = PastReach(reach, shapely.STRtree(to_array([state.geometry for state in live])))

        @cache
        def show() -> list[ShownGround]:
            # every target's counts hold the same light
            lights = dict(next((one.lights for one in self.counts.values()), ()))
            return [self._show(one).limit(past_reach.covers, lights.get(one.id)) for one in past]

        return _Around(
            near, [one for one, is_near in zip(every, covered, strict=True) if is_near], past, show
        )

    def _judge(
        self,
        step: TrackingStep,
        observation: TrackedObservation,
        around: _Around,
        item: FoldInput,
    ) -> TrackingStep:
        """Update the beliefs of objects and changes, and the counts."""
        at, tolerance_m, before = observation.acquired_at, item.settings.tolerance_m, around.near
        gap_days = (at - around.past[-1].acquired_at).total_seconds() / 86_400 if around.past else 0.0

        @cache
        def rates(target: str) -> Rates:
            return Rates.estimate(self.counts.get(target) or TargetCounts(target), tolerance_m)

        step = update_beliefs(step, before, observation, gap_days, rates)
        after = before | {state.track_id: state for state in step.states}
        lost, gained = (
            _map_regions(around.open_changes, kind) for kind in (ChangeKind.SHRANK, ChangeKind.GREW)
        )
        transition = Transition(step, before, after, at, observation.footprint, tolerance_m, lost, gained)
        changes = [one for one in step.changes if not one.baseline]
        shown_open = _find_shown(around.open_changes, observation.footprint)
        light = measure_light(observation.chips, self.references)
        shown = self.folded[observation.id] = ShownGround.of_observation(observation, step.shift, light)
        judge = Judge(
            transition,
            shown,
            around.show() if changes else [],
            rates,
            min_polygon_m2=item.min_polygon_m2,
            doubted=frozenset(
                (one.change.track_id, one.change.kind)
                for one in shown_open
                if one.judgement.belief.confidence < DOUBTED
            ),
            unchanged=self.find_unchanged(item.observation, step),
        )
        new, again = judge.judge(shown_open)
        crs = make_local_equal_area(self.origin)
        footprint, fresh = shapely.area(project_all([observation.footprint, step.new_ground], crs)).tolist()
        exposure = Exposure(footprint, fresh, gap_days, light, item.min_polygon_m2)
        counts = count_observation(self.counts, transition, observation, exposure, crs)
        self.counts = count_judgements(counts, new, again)
        for one, judgement in again:
            self._record(replace(one, judgement=judgement))
        for change, judgement in new:
            if judgement.is_open:
                outline = after[change.track_id].geometry
                ground = change.ground(outline) or outline
                self._record(OpenChange(change, judgement.change_scene_id, judgement, ground))
        judgements = sorted(
            (judgement for _, judgement in [*new, *again]),
            key=lambda one: (one.change_scene_id, one.track_id, one.kind),
        )
        return replace(step, judgements=tuple(judgements), counts=tuple(self.counts.values()))

    def _record(self, one: OpenChange) -> None:
        if one.judgement.is_open:
            self.open_changes[_identify(one)] = one
        else:
            self.open_changes.pop(_identify(one), None)

    def _show(self, one: PastObservation) -> ShownGround:
        if one.id not in self.shown:
            folded = self.folded.pop(one.id, None)
            self.shown[one.id] = folded.become_past(one.changes) if folded else ShownGround.of_past(one)
        return self.shown[one.id]


def _tell(around: _Around, tolerance_m: float) -> Context:
    """Tell the fold what earlier observations show."""
    least_m, near = MIN_GAP * tolerance_m, around.near

    def were_apart(first: BaseGeometry, second: BaseGeometry, target: str) -> bool:
        return any(one.shows_apart(first, second, target, least_m) for one in around.show())

    losses = tuple(
        Loss(near[one.change.track_id], one.judgement.evidence.region, one.change.valid_at)
        for one in around.open_changes
        if one.change.kind is ChangeKind.SHRANK
        and one.judgement.evidence is not None
        and one.change.track_id in near
        and near[one.change.track_id].alive
    )
    return Context(were_apart, losses)


def _map_regions(open_changes: Iterable[OpenChange], kind: ChangeKind) -> dict[UUID, BaseGeometry]:
    """Return the region of an open change of a kind by track; of several, the last."""
    return {
        one.change.track_id: one.judgement.evidence.region
        for one in open_changes
        if one.change.kind is kind and one.judgement.evidence is not None
    }


def _find_shown(open_changes: Sequence[OpenChange], footprint: BaseGeometry) -> list[OpenChange]:
    """Find the open changes whose region a footprint meets."""
    evidence = [one.judgement.evidence for one in open_changes]
    meets = shapely.intersects(footprint, to_array([one.region if one else None for one in evidence]))
    return [one for one, is_shown in zip(open_changes, meets, strict=True) if is_shown]


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
