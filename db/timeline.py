"""Valid time of the states of a track: which state holds when, after all observations so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from segwatch.geo.types.tracking import TrackingStep, TrackState


@dataclass(frozen=True, slots=True)
class Entry:
    """State of a track after one observation."""

    observation_id: UUID
    start: datetime
    """Start of its valid time, UTC."""
    state: TrackState
    change: str | None
    """Kind of the change that began it, if any."""


@dataclass(frozen=True, slots=True)
class Segment:
    """An entry and the end of its valid time."""

    entry: Entry
    end: datetime | None
    """End of the valid time, UTC; None if it still lasts."""


def compute_valid_from(state: TrackState, step: TrackingStep, acquired_at: datetime) -> datetime:
    """Compute the start of the valid time: of a disappearance the first miss, else the acquisition time."""
    if state.alive:
        return acquired_at
    ends = [one.valid_at for one in step.changes if one.track_id == state.track_id]
    return min([acquired_at, *(end for end in ends if end >= state.first_seen)])


def build_entries(step: TrackingStep, acquired_at: datetime) -> dict[UUID, Entry]:
    """Build the entry of each track that a step touched."""
    kinds = {change.track_id: change.kind.value for change in reversed(step.changes)}
    return {
        state.track_id: Entry(
            step.observation_id,
            compute_valid_from(state, step, acquired_at),
            state,
            kinds.get(state.track_id),
        )
        for state in step.states
    }


def build_segments(of_track: Iterable[Entry]) -> list[Segment]:
    """Build segments in order of valid time from entries in order of their observations.

    A new entry replaces segments that start at or after its own start, and ends the segment before.
    """
    segments: list[Segment] = []
    for entry in of_track:
        while segments and segments[-1].entry.start >= entry.start:
            segments.pop()
        if segments:
            segments[-1] = Segment(segments[-1].entry, entry.start)
        segments.append(Segment(entry, None))
    return segments
