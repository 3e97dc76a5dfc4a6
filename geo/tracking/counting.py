"""Update the beliefs of objects and the counts of a series after one observation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import numpy as np
import shapely
from pyproj import CRS

from segwatch.geo.spectral.likelihood import log_likelihood_ratio
from segwatch.geo.tracking.belief_model import Rates, find_score_bin
from segwatch.geo.tracking.overlay import project_all
from segwatch.geo.tracking.regions import Transition, is_near_minimum
from segwatch.geo.types.belief import (
    DEFAULT_CONFIDENCE,
    MAX_LIGHTS,
    Belief,
    BeliefStatus,
    Light,
    TargetCounts,
    round_confidence,
)
from segwatch.geo.types.tracking import (
    Change,
    ChangeKind,
    Detection,
    Judgement,
    OpenChange,
    TrackedObservation,
    TrackingStep,
    TrackState,
)

#: Below this confidence an object is refuted.
_REFUTED = 0.05
#: Maximum number of objects of one observation whose boundaries are compared.
_MAX_COMPARED = 50
_SECONDS_PER_DAY = 86_400.0

RatesOf = Callable[[str], Rates]


def update_beliefs(
    step: TrackingStep,
    before: Mapping[UUID, TrackState],
    observation: TrackedObservation,
    gap_days: float,
    rates: RatesOf,
) -> TrackingStep:
    """Update the belief of each object that the observation detected or missed, by forward filtering.

    Parameters
    ----------
    step
        Of the observation, with the beliefs of before.
    before
        States before the observation.
    observation
        What was observed.
    gap_days
        Days since the observation before.
    rates
        Rates of a target.
    """
    parents = {one.child: one.parent for one in step.lineage if one.kind is ChangeKind.SPLIT}
    new = {one.track_id for one in step.changes if one.kind is ChangeKind.APPEARED and not one.baseline}
    at, found = observation.acquired_at, _group_by_track(step, observation)
    states = []
    for state in step.states:
        old = before.get(state.track_id) or before.get(parents.get(state.track_id, state.track_id))
        numbers = rates(state.target)
        there = _predict(old, state.track_id in new, at, gap_days, numbers)
        if state.last_seen == at:
            factor = _weigh_detections(found.get(state.track_id, ()), numbers)
            states.append(replace(state, belief=_update(old, there, True, numbers, state, factor)))
        elif old is not None and state.misses > old.misses:
            states.append(replace(state, belief=_update(old, there, False, numbers, state)))
        else:
            states.append(state)
    return replace(step, states=tuple(states))


def _group_by_track(step: TrackingStep, observation: TrackedObservation) -> dict[UUID, list[Detection]]:
    found: dict[UUID, list[Detection]] = {}
    for track_id, one in zip(step.detection_tracks, observation.detections, strict=True):
        if track_id is not None:
            found.setdefault(track_id, []).append(one)
    return found


def _weigh_detections(detections: Sequence[Detection], rates: Rates) -> float:
    """Return how much likelier what is known of an object's detections is for a true one: score and spectral evidence.

    Means weighted by area, as where a region is judged by what covers it.
    """
    areas = np.array([one.area_m2 for one in detections])
    if not areas.sum():
        return 1.0
    scores = np.array([one.score for one in detections])
    spectral = np.array([log_likelihood_ratio(one.target, one.evidence) for one in detections])
    score, ratio = (float((values * areas).sum() / areas.sum()) for values in (scores, spectral))
    return rates.weigh_score(score) * math.exp(ratio)


def _predict(old: TrackState | None, is_new: bool, at: datetime, gap_days: float, rates: Rates) -> float:
    """Predict the probability that an object is there, before the observation is taken into account."""
    if old is None or not old.belief.observations_for:
        density = rates.births * max(gap_days, 1.0) if is_new else rates.objects
        return density / (density + rates.false_alarms / rates.detection)
    days = max((at - old.last_looked).total_seconds() / _SECONDS_PER_DAY, 0.0)
    return old.belief.confidence * math.exp(-rates.deaths * days)


def _update(
    old: TrackState | None, there: float, hit: bool, rates: Rates, state: TrackState, factor: float = 1.0
) -> Belief:
    """Update a belief by a detection or a miss (Bayes); ``factor``: how much likelier the detection is a true one."""
    before = old.belief if old is not None else Belief()
    if hit and not before.observations_for:
        confidence = there * factor / (there * factor + 1 - there)
    else:
        place_km2 = state.area_m2 / 1e6
        false = min(max(-math.expm1(-rates.false_alarms * place_km2), 1e-6), 0.5)
        seen = (rates.detection * factor, false) if hit else (1 - rates.detection, 1 - false)
        confidence = there * seen[0] / (there * seen[0] + (1 - there) * seen[1])
    confidence = round_confidence(confidence)
    supporting = before.observations_for + hit
    status = BeliefStatus.PROVISIONAL
    if confidence >= DEFAULT_CONFIDENCE:
        status = BeliefStatus.CONFIRMED
    elif confidence < _REFUTED:
        status = BeliefStatus.REFUTED
    return Belief(confidence, status, supporting, before.observations_against + (not hit))


@dataclass(frozen=True, slots=True)
class Exposure:
    """How much one observation showed."""

    footprint_m2: float
    new_m2: float
    gap_days: float
    """Days since the last observation of the same ground."""
    light: Light | None = None
    """In which light it showed the ground; None = not measured."""
    min_polygon_m2: float = 0.0
    """Smaller detections were dropped, m²."""


def count_observation(
    counts: Mapping[str, TargetCounts],
    transition: Transition,
    observation: TrackedObservation,
    exposure: Exposure,
    crs: CRS,
) -> dict[str, TargetCounts]:
    """Add to the counts what one observation shows of the detector: hits, misses, ground, jitter.

    Returns
    -------
    dict
        By target, for every target of the series so far.
    """
    step = transition.step
    targets = {*counts, *(one.target for one in observation.detections), *(one.target for one in step.states)}
    jitter = _measure_jitter(transition, crs)
    lights = next((one.lights for one in counts.values()), ())
    if exposure.light is not None:
        lights = (*lights, (observation.id, exposure.light))[-MAX_LIGHTS:]
    updated = {}
    for target in sorted(targets):
        states = [one for one in step.states if one.target == target and one.merged_into is None]
        hits, misses = _count_hits(states, transition, exposure.min_polygon_m2)
        seen = hits + misses
        one = counts.get(target) or TargetCounts(target)
        moved = jitter.get(target, [])
        updated[target] = replace(
            one,
            lights=lights,
            true_scores=_count_scores(one.true_scores, states, transition),
            hits=one.hits + hits,
            misses=one.misses + misses,
            km2_scenes=one.km2_scenes + exposure.footprint_m2 / 1e6,
            km2_days=one.km2_days + exposure.footprint_m2 / 1e6 * exposure.gap_days,
            object_days=one.object_days + seen * exposure.gap_days,
            objects=one.objects
            + sum(
                change.baseline and change.kind is ChangeKind.APPEARED and change.target == target
                for change in step.changes
            ),
            first_km2=one.first_km2 + exposure.new_m2 / 1e6,
            jitter_m2=one.jitter_m2 + sum(moved),
            jitter_objects=one.jitter_objects + len(moved),
        )
    return updated


def _count_hits(
    states: Iterable[TrackState], transition: Transition, min_polygon_m2: float
) -> tuple[float, float]:
    """Count detected and missed objects that were known before, weighted by the belief that they are there.

    Objects near the minimum size tell nothing about the detector: they may have been found and dropped.
    """
    hits = misses = 0.0
    for state in states:
        old = transition.before.get(state.track_id)
        if old is None or not old.alive or is_near_minimum(old.area_m2, min_polygon_m2):
            continue
        if state.last_seen == transition.acquired_at and state.visible_share >= 0.8:
            hits += state.belief.confidence
        elif state.misses > old.misses:
            misses += state.belief.confidence
    return hits, misses


def _count_scores(
    counted: tuple[float, ...], states: Iterable[TrackState], transition: Transition
) -> tuple[float, ...]:
    """Count the scores of objects that were known before and are detected now, weighted by the belief in them."""
    found = list(counted)
    for state in states:
        if state.track_id in transition.before and state.last_seen == transition.acquired_at:
            found[find_score_bin(state.score)] += state.belief.confidence
    return tuple(found)


def _measure_jitter(transition: Transition, crs: CRS) -> dict[str, list[float]]:
    """Measure squared displacements of the boundaries, m², of wholly visible objects without a change, by target."""
    changed = {one.track_id for one in transition.step.changes}
    fresh = transition.step.new_ground
    shapely.prepare(fresh)
    pairs = [
        (old, state)
        for state in transition.step.states
        if state.track_id not in changed
        and state.last_seen == transition.acquired_at
        and state.visible_share >= 1.0
        and (old := transition.before.get(state.track_id)) is not None
        and old.alive
        and not shapely.intersects(fresh, state.geometry)
    ][:_MAX_COMPARED]
    before = project_all([old.geometry for old, _ in pairs], crs)
    after = project_all([new.geometry for _, new in pairs], crs)
    apart = shapely.area(shapely.symmetric_difference(before, after)) if pairs else np.zeros(0)
    length = np.maximum(shapely.length(before), 1e-9) if pairs else np.ones(0)
    found: dict[str, list[float]] = {}
    displaced = np.minimum(apart / length, transition.tolerance_m) ** 2
    for (_, new), moved in zip(pairs, displaced.tolist(), strict=True):
        found.setdefault(new.target, []).append(moved)
    return found


def count_judgements(
    counts: Mapping[str, TargetCounts],
    new: Sequence[tuple[Change, Judgement]],
    again: Sequence[tuple[OpenChange, Judgement]],
) -> dict[str, TargetCounts]:
    """Add what the judgements of one observation say about births, deaths, turns and false alarms.

    A new change counts by its confidence, an earlier one by the difference that the observation made.
    """
    updated = dict(counts)
    differences = [(change, 0.0, judgement) for change, judgement in new]
    differences += [(one.change, one.judgement.belief.confidence, judgement) for one, judgement in again]
    known = {id(judgement) for _, judgement in new}
    for change, old, judgement in differences:
        gain = judgement.belief.confidence - old
        one = updated.get(change.target) or TargetCounts(change.target)
        match change.kind:
            case ChangeKind.APPEARED:
                first = 1.0 if id(judgement) in known else 0.0
                false = list(one.false_scores)
                false[find_score_bin(change.score)] += first - gain
                one = replace(
                    one,
                    births=one.births + gain,
                    false_alarms=one.false_alarms + first - gain,
                    false_scores=tuple(false),
                )
            case ChangeKind.DISAPPEARED:
                one = replace(one, deaths=one.deaths + gain)
            case _:
                one = replace(one, turns=one.turns + gain)
        updated[change.target] = one
    return updated
