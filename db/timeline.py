"""The valid times of a track's states: which of them holds when, after all observations so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from segwatch.geo.types.tracking import TrackingStep, TrackState


@dataclass(frozen=True, slots=True)
class Entry:
    """What one observation made of one track."""

    observation_id: UUID
    start: datetime
    """Valid time from which the state holds."""
    state: TrackState
    change: str | None
    """Kind of the change that came with it."""


@dataclass(frozen=True, slots=True)
class Segment:
    """An entry and how long it holds."""

    entry: Entry
    end: datetime | None
    """Valid time up to which it holds; None while it does."""


def compute_valid_from(state: TrackState, step: TrackingStep, acquired_at: datetime) -> datetime:
    """A disappearance holds from the first miss on, anything else from this acquisition on."""
    if state.alive:
        return acquired_at
    ends = [one.valid_at for one in step.changes if one.track_id == state.track_id]
    return min([acquired_at, *(end for end in ends if end >= state.first_seen)])


def build_entries(step: TrackingStep, acquired_at: datetime) -> dict[UUID, Entry]:
    """What a step made of each track that it touched."""
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
    """Entries in the order of their observations -> segments in the order of valid time.

    A new entry holds from its start on: what began later or at the same time gives way, what began before
    ends there.
    """
    segments: list[Segment] = []
    for entry in of_track:
        while segments and segments[-1].entry.start >= entry.start:
            segments.pop()
        if segments:
            segments[-1] = Segment(segments[-1].entry, entry.start)
        segments.append(Segment(entry, None))
    return segments
