"""Fold observations of a series from what the ledger would load of those before them, without a database."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import shapely
from shapely.geometry.base import BaseGeometry

from segwatch.geo.tracking.judge import to_past_changes
from segwatch.geo.tracking.past import find_past
from segwatch.geo.tracking.reach import widen_to_past, widen_to_reach
from segwatch.geo.tracking.series import FoldInput, fold_series
from segwatch.geo.types.belief import Evidence, RegionView, TargetCounts
from segwatch.geo.types.tracking import (
    ChangeKind,
    GroundPiece,
    Judgement,
    OpenChange,
    PastObservation,
    TrackingStep,
    TrackState,
)

Key = tuple[UUID, UUID, ChangeKind]


def fold_loaded(
    inputs: Sequence[FoldInput],
    steps: Sequence[TrackingStep],
    start: int,
    stop: int,
    *,
    series_id: UUID,
    origin: tuple[float, float],
) -> list[TrackingStep]:
    """Fold ``inputs[start:stop]`` from what is loaded of the steps before ``start``: only what lies near them."""
    before, folded = steps[:start], inputs[start:stop]
    tolerance_m = max(one.settings.tolerance_m for one in folded)
    footprints = [one.observation.footprint for one in folded]
    whole = shapely.union_all(footprints)
    where = widen_to_reach(whole, tolerance_m)
    states = {state.track_id: state for step in before for state in step.states}
    near = [one for one in states.values() if one.merged_into is None and where.intersects(one.geometry)]
    return fold_series(
        sorted(near, key=lambda one: one.track_id),
        folded,
        series_id=series_id,
        origin=origin,
        observed_before=[
            GroundPiece(step.observation_id, step.new_ground)
            for step in before
            if where.intersects(step.new_ground)
        ],
        counts_before=[TargetCounts.from_json(one.to_json()) for one in before[-1].counts] if before else (),
        open_before=_load_open(before, where),
        past=_load_past(inputs[:start], before, footprints, whole, near, tolerance_m),
    )


def _load_open(before: Sequence[TrackingStep], where: BaseGeometry) -> list[OpenChange]:
    newest: dict[Key, Judgement] = {
        (one.change_scene_id, one.track_id, one.kind): one for step in before for one in step.judgements
    }
    found = []
    for step in before:
        outlines = {state.track_id: state.geometry for state in step.states}
        for change in step.changes:
            judgement = newest.get((step.scene_id, change.track_id, change.kind))
            ground = change.ground(outlines.get(change.track_id))
            if judgement is None or judgement.evidence is None or ground is None:
                continue
            if where.intersects(ground):
                found.append(OpenChange(change, step.scene_id, _store(judgement), ground))
    return found


def _store(judgement: Judgement) -> Judgement:
    """Write to JSON and read again."""
    assert judgement.evidence is not None
    views = tuple(RegionView.from_json(one.to_json()) for one in judgement.views)
    evidence = Evidence.from_json(judgement.evidence.to_json())
    return Judgement(
        judgement.change_scene_id,
        judgement.track_id,
        judgement.kind,
        judgement.belief,
        judgement.earliest,
        judgement.latest,
        views,
        evidence,
    )


def _load_past(
    inputs: Sequence[FoldInput],
    before: Sequence[TrackingStep],
    footprints: Sequence[BaseGeometry],
    whole: BaseGeometry,
    near: Sequence[TrackState],
    tolerance_m: float,
) -> list[PastObservation]:
    observations = [one.observation for one in inputs]
    met = {one.id for footprint in footprints for one in find_past(observations, footprint)}
    ground = widen_to_past(whole, [one.geometry for one in near], tolerance_m)
    tracks = {one.track_id for one in near}
    return [
        PastObservation(
            one.id,
            one.acquired_at,
            one.footprint,
            tuple(found for found in one.detections if ground.intersects(found.geometry)),
            step.shift,
            tuple(change for change in to_past_changes(step.changes) if change.track_id in tracks),
        )
        for one, step in zip(observations, before, strict=True)
        if one.id in met
    ]
