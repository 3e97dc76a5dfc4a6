"""A series folded anew from a late scene on.

A late scene changes what later ones mean: an object may have been there earlier, a split may be a merge undone.
Everything from its acquisition on is folded again in order, from the states just before it, so that any order
of arrival ends in what the order of acquisition gives (DESIGN, invariant 2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
import shapely

from segwatch.geo.tracking.replay import advance
from segwatch.geo.types import TrackedObservation, TrackingSettings, TrackingStep, TrackState


@dataclass(frozen=True, slots=True)
class Look:
    """One observation to fold, in its series' order."""

    observation: TrackedObservation
    settings: TrackingSettings
    baseline: bool
    """Whether it is the first of the series."""


def refold(
    before: Iterable[TrackState], looks: Sequence[Look], *, series_id: UUID, origin: tuple[float, float]
) -> list[TrackingStep]:
    """Fold observations in order, each over the objects that meet its footprint.

    Args:
        before: states of the series' objects before the first of them, disappeared ones included.
        looks: from the late observation to the newest.
        series_id: part of new tracks' ids.
        origin: longitude and latitude of the series' equal-area projection.
    """
    known = {state.track_id: state for state in before}
    steps = []
    for look in looks:
        step = advance(
            _meeting(known, look.observation),
            look.observation,
            look.settings,
            series_id=series_id,
            origin=origin,
            baseline=look.baseline,
        )
        known.update((state.track_id, state) for state in step.states)
        steps.append(step)
    return steps


def _meeting(known: Mapping[UUID, TrackState], observation: TrackedObservation) -> list[TrackState]:
    present = [state for state in known.values() if state.merged_into is None]
    shapely.prepare(observation.footprint)
    outlines = np.empty(len(present), dtype=object)
    outlines[:] = [state.geometry for state in present]
    meets = shapely.intersects(observation.footprint, outlines)
    return [state for state, near in zip(present, meets, strict=True) if near]
