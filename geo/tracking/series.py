"""Fold the observations of a series in order of acquisition time.

A late scene changes what later scenes mean: an object may have existed earlier, a split may turn out to be a merge
undone. The caller therefore folds everything from the late scene on again, starting from the states just before it, so
that any order of arrival gives the result of the order of acquisition.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID, uuid5

import shapely
from shapely.geometry.base import BaseGeometry

from segwatch.geo.tracking.fold import fold_observation
from segwatch.geo.tracking.ground import NewGround, ObservedGround, compute_search_area
from segwatch.geo.tracking.overlay import to_array
from segwatch.geo.types.tracking import GroundPiece, TrackedObservation, TrackingStep, TrackState
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
    new: NewGround | None = None
    """What of its footprint was not observed before; computed where it is None."""


def fold_series(
    before: Iterable[TrackState],
    inputs: Sequence[FoldInput],
    *,
    series_id: UUID,
    origin: tuple[float, float],
    since: datetime | None = None,
    observed_before: Iterable[GroundPiece] = (),
) -> list[TrackingStep]:
    """Fold observations in order, each over the objects that it may affect.

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

    Returns
    -------
    list of TrackingStep
        One for each observation.
    """
    known = {state.track_id: state for state in before}
    observed = ObservedGround(observed_before)
    steps = []
    for item in inputs:
        new = item.new or observed.find_new(item.observation.footprint)
        step = fold_observation(
            _select_within(
                known, compute_search_area(item.observation.footprint, item.settings.tolerance_m, new)
            ),
            item.observation,
            item.settings,
            series_id=series_id,
            origin=origin,
            new=new,
            since=since,
            min_polygon_m2=item.min_polygon_m2,
        )
        observed.add(GroundPiece(item.observation.id, step.new_ground))
        if item.first:
            step = _add_unaffected(step, known.values())
        known.update((state.track_id, state) for state in step.states)
        steps.append(step)
    return steps


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
