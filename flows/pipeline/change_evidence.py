"""Measure the spectral evidence of changes: on their ground, before them and in the first observation that shows them.

The observation before is the last one that saw at least :data:`MIN_CLEAR` of the ground, among the last
:data:`~segwatch.geo.types.belief.MAX_PAST` before the change that meet the footprint of the observation that raised it,
by which the change is judged as well; where an object went, it is none after the object's last detection. The
observation after is the one that raised the change, or the first from the change's time on that saw as much of the
ground: a disappearance is raised ``gone_after`` misses late. Both depend on the observations up to the one that raised
the change alone, so folding a series again gives the same evidence.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import islice
from uuid import UUID

import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection

from segwatch.db import publishing, second_opinion
from segwatch.db.second_opinion import Neighbourhood, ObservedPlace
from segwatch.geo.spectral.cells import compare_places
from segwatch.geo.spectral.likelihood import shows_no_change
from segwatch.geo.tracking.alert_rules import JudgedChange
from segwatch.geo.tracking.past import find_past
from segwatch.geo.types.belief import MAX_PAST
from segwatch.geo.types.evidence import ChangeEvidence, IndexCells, SpectralEvidence
from segwatch.geo.types.tracking import Change, ChangeKind, TrackedObservation, TrackingStep, TrackState
from segwatch.geo.types.watch import AlertRule

#: Share of the ground that the observations before and after must have seen.
MIN_CLEAR = 0.8

_FIRST_SCENE, _LAST_SCENE = UUID(int=0), UUID(int=2**128 - 1)
_Place = tuple[datetime, UUID]
"""Place in the order of a series: acquisition time and scene id."""


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


class ChangeMeter:
    """Measures the changes of consecutive steps, while they are folded.

    Parameters
    ----------
    observations
        Those that are folded, in order.
    without
        Published observations that these replace.
    """

    def __init__(
        self,
        conn: Connection,
        series_id: UUID,
        observations: Sequence[TrackedObservation],
        without: Collection[UUID] = (),
    ) -> None:
        self.measured = EvidenceOfChanges()
        self._cells: dict[UUID, IndexCells | None] = {}
        self._load = partial(_load, conn, self._cells)
        self._places = {one.id: place for place, one in enumerate(observations)}
        self._order = _Order(conn, series_id, observations, frozenset({*without, *self._places}))

    def measure(
        self, observation: TrackedObservation, step: TrackingStep
    ) -> frozenset[tuple[UUID, ChangeKind]]:
        """Measure the changes of a step; return track and kind of those on whose ground nothing changed."""
        if not step.changes or self._load(observation.id) is None:
            return frozenset()
        place = self._places[observation.id]
        found = _find_detections(observation, step)
        states = {state.track_id: state for state in step.states}
        unchanged = set()
        for change in step.changes:
            state = states.get(change.track_id)
            ground = change.ground(None if state is None else state.geometry)
            before_id = None if ground is None else self._order.find_before(place, change, state, ground)
            means: tuple[Mapping[str, float], Mapping[str, float]] = ({}, {})
            if ground is not None:
                before = None if before_id is None else self._load(before_id)
                after = self._load(self._order.find_after(place, change, ground)) or self._load(
                    observation.id
                )
                means = compare_places(ground, before, after)
            if shows_no_change(change.target, *means):
                unchanged.add((change.track_id, change.kind))
            evidence = _build(means, found.get(change.track_id))
            identity = publishing.make_change_id(step.scene_id, change)
            self.measured.found[identity] = MeasuredChange(before_id, evidence)
        if len(self._cells) > 2 * MAX_PAST:
            self._cells.clear()  # a long series that is folded again must not fill the memory
        return frozenset(unchanged)


@dataclass(slots=True)
class _Order:
    """The observations of a series in order: those that are folded, after published ones that are loaded as needed."""

    conn: Connection
    series_id: UUID
    folded: Sequence[TrackedObservation]
    without: frozenset[UUID]
    """Published observations that are folded again or replaced."""
    _earlier: dict[tuple[int, _Place], list[ObservedPlace]] = field(default_factory=dict)
    _since: dict[tuple[int, datetime], list[ObservedPlace]] = field(default_factory=dict)

    def find_before(
        self, place: int, change: Change, state: TrackState | None, ground: BaseGeometry
    ) -> UUID | None:
        """Find the newest observation before a change that saw enough of its ground; ``place`` raised it."""
        raising = self.folded[place]
        end = (raising.acquired_at, raising.scene_id)
        if change.kind is ChangeKind.DISAPPEARED and state is not None:
            end = min(end, (state.last_seen, _LAST_SCENE))
        if change.valid_at < raising.acquired_at:
            end = min(end, (change.valid_at, _FIRST_SCENE))
        if (place, end) not in self._earlier:
            self._earlier[place, end] = self._list_before(place, end)
        return _find_clear(ground, self._earlier[place, end])

    def find_after(self, place: int, change: Change, ground: BaseGeometry) -> UUID:
        """Find the first observation that shows a change and enough of its ground, at the latest the raising one."""
        raising = self.folded[place]
        if change.valid_at >= raising.acquired_at:
            return raising.id
        key = place, change.valid_at
        if key not in self._since:
            self._since[key] = self._list_since(place, change.valid_at)
        return _find_clear(ground, self._since[key]) or raising.id

    def _list_before(self, place: int, end: _Place) -> list[ObservedPlace]:
        """List the last observations before ``end`` that meet the footprint of ``place``, newest first."""
        near = self._describe(place)
        stop = bisect_left(self.folded, end, hi=place, key=lambda one: (one.acquired_at, one.scene_id))
        found = [_to_place(one) for one in reversed(find_past(self.folded[:stop], near.footprint))]
        if len(found) < MAX_PAST:
            first = self.folded[0].acquired_at, self.folded[0].scene_id
            found += second_opinion.list_earlier(self.conn, near, min(end, first), MAX_PAST - len(found))
        return found

    def _list_since(self, place: int, since: datetime) -> list[ObservedPlace]:
        """List the first observations from a time on that meet the footprint of ``place`` before it, oldest first."""
        near = self._describe(place)
        first = self.folded[0].acquired_at, self.folded[0].scene_id
        found = []
        if since < first[0]:
            found = second_opinion.list_since(self.conn, near, since, first, MAX_PAST)
        start = bisect_left(self.folded, since, key=lambda one: one.acquired_at)
        folded = (one for one in self.folded[start:place] if near.footprint.intersects(one.footprint))
        return [*found, *map(_to_place, islice(folded, MAX_PAST - len(found)))]

    def _describe(self, place: int) -> Neighbourhood:
        return Neighbourhood(self.series_id, self.folded[place].footprint, self.without)


def _to_place(observation: TrackedObservation) -> ObservedPlace:
    return ObservedPlace(observation.id, observation.acquired_at, observation.footprint)


def _load(conn: Connection, cells: dict[UUID, IndexCells | None], identity: UUID) -> IndexCells | None:
    if identity not in cells:
        cells[identity] = second_opinion.load_cells(conn, identity)
    return cells[identity]


def _find_clear(ground: BaseGeometry, candidates: Iterable[ObservedPlace]) -> UUID | None:
    """The first observation that saw enough of the ground."""
    whole = ground.area
    for one in candidates:
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
