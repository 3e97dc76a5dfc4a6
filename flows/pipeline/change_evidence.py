"""Measure the spectral evidence of changes: on their ground, in the observation that shows them and in the one before.

The observation before is the last one that saw at least :data:`MIN_CLEAR` of the ground, among the last ones that meet
the footprint of this one. It depends on earlier observations alone, so folding a series again gives the same evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from uuid import UUID

import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection

from segwatch.db import publishing, second_opinion
from segwatch.geo.spectral.cells import compare_places
from segwatch.geo.tracking.alert_rules import JudgedChange
from segwatch.geo.tracking.past import find_past
from segwatch.geo.types.belief import MAX_PAST
from segwatch.geo.types.evidence import ChangeEvidence, IndexCells, SpectralEvidence
from segwatch.geo.types.tracking import PastObservation, TrackedObservation, TrackingStep
from segwatch.geo.types.watch import AlertRule

#: Share of the ground that the observation before must have seen.
MIN_CLEAR = 0.8

_Earlier = TrackedObservation | PastObservation


@dataclass(frozen=True, slots=True)
class MeasuredChange:
    """The evidence of one change."""

    before_id: UUID | None
    """The observation before; None = none of the last ones saw the ground."""
    evidence: ChangeEvidence


@dataclass(slots=True)
class EvidenceOfChanges:
    """Evidence of the changes of some steps; changes without evidence are missing."""

    found: dict[UUID, MeasuredChange] = field(default_factory=dict)
    """By change id."""

    def add_to(
        self, conn: Connection, rules: Iterable[AlertRule], changes: Sequence[JudgedChange]
    ) -> list[JudgedChange]:
        """Add their evidence to judged changes, for the conditions of rules and for messages.

        That of changes that an earlier observation raised is loaded. Without rules, nobody needs it.
        """
        if not any(rules):
            return list(changes)
        ids = [publishing.make_change_id(one.scene_id, one.change) for one in changes]
        earlier = second_opinion.load_evidence(conn, set(ids) - set(self.found))
        known = earlier | {identity: one.evidence for identity, one in self.found.items()}
        return [
            replace(one, evidence=known.get(identity)) for identity, one in zip(ids, changes, strict=True)
        ]

    def save(self, conn: Connection) -> None:
        """Store the evidence of changes that are stored already."""
        second_opinion.save_changes(
            conn, ((identity, one.before_id, one.evidence) for identity, one in self.found.items())
        )


def measure_changes(
    conn: Connection,
    observations: Sequence[TrackedObservation],
    steps: Sequence[TrackingStep],
    past: Sequence[PastObservation],
) -> EvidenceOfChanges:
    """Measure the changes of consecutive steps.

    Parameters
    ----------
    observations
        Those that were folded, in order.
    steps
        One for each of them.
    past
        The last observations before them, with which they were folded.
    """
    measured = EvidenceOfChanges()
    cells: dict[UUID, IndexCells | None] = {}
    earlier: list[_Earlier] = list(past)
    for observation, step in zip(observations, steps, strict=True):
        before = find_past(earlier, observation.footprint) if step.changes else []
        earlier.append(observation)
        if not step.changes or _load(conn, cells, observation.id) is None:
            continue
        load = partial(_load, conn, cells)
        after = load(observation.id)
        found = _find_detections(observation, step)
        outlines = {state.track_id: state.geometry for state in step.states}
        for change in step.changes:
            ground = change.ground(outlines.get(change.track_id))
            before_id = None if ground is None else _find_before(ground, before)
            before_cells = None if before_id is None else load(before_id)
            means = ({}, {}) if ground is None else compare_places(ground, before_cells, after)
            evidence = _build(means, found.get(change.track_id))
            identity = publishing.make_change_id(step.scene_id, change)
            measured.found[identity] = MeasuredChange(before_id, evidence)
        if len(cells) > 2 * MAX_PAST:
            cells.clear()  # a long series that is folded again must not fill the memory
    return measured


def _load(conn: Connection, cells: dict[UUID, IndexCells | None], identity: UUID) -> IndexCells | None:
    if identity not in cells:
        cells[identity] = second_opinion.load_cells(conn, identity)
    return cells[identity]


def _find_before(ground: BaseGeometry, earlier: Sequence[_Earlier]) -> UUID | None:
    """The newest observation that saw enough of the ground."""
    whole = ground.area
    for one in reversed(earlier):
        if shapely.intersection(ground, one.footprint).area >= MIN_CLEAR * whole:
            return one.id
    return None


def _find_detections(observation: TrackedObservation, step: TrackingStep) -> Mapping[UUID, SpectralEvidence]:
    """Track -> evidence of the largest of its detections."""
    found: dict[UUID, SpectralEvidence] = {}
    linked = zip(step.detection_tracks, observation.detections, strict=True)
    for track, detection in sorted(linked, key=lambda one: one[1].area_m2):
        if track is not None and detection.evidence is not None:
            found[track] = detection.evidence
    return found


def _build(
    means: tuple[Mapping[str, float], Mapping[str, float]], detection: SpectralEvidence | None
) -> ChangeEvidence:
    before, after = (tuple(sorted(part.items())) for part in means)
    return ChangeEvidence(before, after, detection)
