"""A series folded anew from a late scene on.

A late scene changes what later ones mean: an object may have been there earlier, a split may be a merge undone.
Everything from its acquisition on is folded again in order, from the states just before it, so that any order
of arrival ends in what the order of acquisition gives (DESIGN, invariant 2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID, uuid5

import shapely
from shapely.geometry.base import BaseGeometry

from segwatch.geo.tracking.ground import NewGround, SeenGround, reach
from segwatch.geo.tracking.replay import advance
from segwatch.geo.tracking.transitions import array
from segwatch.geo.types.tracking import GroundPiece, TrackedObservation, TrackingStep, TrackState
from segwatch.geo.types.watch import TrackingSettings


@dataclass(frozen=True, slots=True)
class Look:
    """One observation to fold, in its series' order."""

    observation: TrackedObservation
    settings: TrackingSettings
    first: bool = False
    """Whether it is the first of the series: then it takes over the objects of the one before."""
    min_polygon_m2: float = 0.0
    """What is smaller is no detection."""
    new: NewGround | None = None
    """What of it had never been seen, where that is at hand."""


def refold(
    before: Iterable[TrackState],
    looks: Sequence[Look],
    *,
    series_id: UUID,
    origin: tuple[float, float],
    since: datetime | None = None,
    seen: Iterable[GroundPiece] = (),
) -> list[TrackingStep]:
    """Fold observations in order, each over the objects that meet its footprint and the ground seen before it.

    Args:
        before: states of the series' objects before the first of them, disappeared ones included; where the first
            look is the series' first, those it took over from another (:func:`taken_over`).
        looks: from the late observation to the newest.
        series_id: part of new tracks' ids.
        origin: longitude and latitude of the series' equal-area projection.
        since: when the series took over another's objects, if it did.
        seen: ground seen before the first of them, at least where their footprints are.
    """
    known = {state.track_id: state for state in before}
    ground = SeenGround(seen)
    steps = []
    for look in looks:
        new = look.new or ground.new(look.observation.footprint)
        step = advance(
            _meeting(known, reach(look.observation.footprint, look.settings.tolerance_m, new)),
            look.observation,
            look.settings,
            series_id=series_id,
            origin=origin,
            new=new,
            since=since,
            min_polygon_m2=look.min_polygon_m2,
        )
        ground.add(GroundPiece(look.observation.id, step.first_seen))
        if look.first:
            step = opening(step, known.values())
        known.update((state.track_id, state) for state in step.states)
        steps.append(step)
    return steps


def taken_over(states: Iterable[TrackState], series_id: UUID, since: datetime) -> dict[UUID, TrackState]:
    """The objects of an earlier series as the first ones of a new one, by their earlier identity.

    They count as looked at before the new series began, so that its first look at each is told from later ones.
    """
    before = since - timedelta(microseconds=1)
    return {
        state.track_id: replace(
            state,
            track_id=uuid5(series_id, f"continues/{state.track_id}"),
            last_looked=min(state.last_looked, before),
        )
        for state in states
    }


def opening(step: TrackingStep, before: Iterable[TrackState]) -> TrackingStep:
    """A series' first step, with the objects that it took over and did not meet."""
    met = {state.track_id for state in step.states}
    every = [*step.states, *(state for state in before if state.track_id not in met)]
    return replace(step, states=tuple(sorted(every, key=lambda state: state.track_id)))


def _meeting(known: Mapping[UUID, TrackState], where: BaseGeometry) -> list[TrackState]:
    present = [state for state in known.values() if state.merged_into is None]
    shapely.prepare(where)
    meets = shapely.intersects(where, array([state.geometry for state in present]))
    return [state for state, near in zip(present, meets, strict=True) if near]
