"""Objects that go on across the border of ground that was never seen before.

What happens there is no change: an object gains what a detection shows of it on new ground, and objects that a
detection joins only through new ground become one. Lineage names those that ended so; nobody is alerted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import geodesic_m2
from segwatch.geo.polygons import clean
from segwatch.geo.tracking import transitions
from segwatch.geo.tracking.link import Edges, components
from segwatch.geo.tracking.recording import Continued, Object, Record, score
from segwatch.geo.tracking.transitions import array
from segwatch.geo.types.tracking import ChangeKind, Detection, Lineage, TrackState

#: Least contact, as a share of the tolerance squared: about a pixel along the border, and more than a corner.
_CONTACT = 0.9


def across(
    record: Record, living: list[Object], found: list[int], continued: list[Continued]
) -> list[Continued]:
    """Let objects of one target go on over new ground.

    Args:
        record: with what was found on ground seen before folded in.
        living: every object of the target that lives.
        found: its detections.
        continued: objects that go on, not yet compared.

    Returns:
        All that go on, to be compared.
    """
    fresh = {index: record.cut.fresh[index] for index in found if index in record.cut.fresh}
    if not (fresh and (living or record.states)):
        return continued
    known = {one.state.track_id: one for one in living}
    going = {one.new.track_id: one for one in continued}
    for tracks, detections in _joined(_reached(record, living, fresh)):
        _join(record, tracks, detections, known, going)
    return list(going.values())


def _reached(record: Record, living: list[Object], fresh: Mapping[int, BaseGeometry]) -> dict[int, set[UUID]]:
    """Detection with a part on new ground -> the tracks that it shows, and those that go on in it."""
    reached = {index: set(record.shown[index]) for index in fresh}
    # what was looked for in vain does not go on elsewhere
    there = [one for one in living if record.now(one.state).misses <= one.state.misses]
    for index, other in _contacts(record, there, fresh):
        state = record.now(there[other].state)
        reached[index].add(state.merged_into or state.track_id)
    return reached


def _contacts(
    record: Record, objects: Sequence[Object], fresh: Mapping[int, BaseGeometry]
) -> list[tuple[int, int]]:
    """Pairs of a detection and an object that it reaches over new ground.

    The object ends within the tolerance of the detection's part on new ground (``fresh``, EPSG:4326), and the
    observation does not show that it is there no more.
    """
    if not (fresh and objects):
        return []
    tolerance_m, footprint = record.settings.tolerance_m, record.observation.footprint
    numbers = list(fresh)
    bands = shapely.buffer(transitions.local_all(list(fresh.values()), record.crs), tolerance_m)
    wholes = array([one.whole for one in objects])
    first, second = shapely.STRtree(wholes).query(bands, predicate="intersects")
    hidden: dict[int, BaseGeometry] = {}
    pairs = []
    for band, other in zip(first.tolist(), second.tolist(), strict=True):
        outline, state = objects[other].state.geometry, record.now(objects[other].state)
        if (state.merged_into or state.track_id) in record.shown[numbers[band]]:
            continue
        if other not in hidden:
            hidden[other] = transitions.hidden(outline, footprint, record.crs, tolerance_m)
        detection = record.observation.detections[numbers[band]].geometry
        shown = clean(transitions.snapped(shapely.intersection, outline, detection))
        there = transitions.local_all([hidden[other], shown], record.crs)
        # several corners are no border
        met = shapely.get_parts(shapely.intersection(there, bands[band])).tolist()
        if max((part.area for part in met), default=0.0) >= _CONTACT * tolerance_m**2:
            pairs.append((numbers[band], other))
    return pairs


def _joined(reached: Mapping[int, Collection[UUID]]) -> list[tuple[list[UUID], list[int]]]:
    """Tracks and detections of each thing, sorted; given are the tracks that each detection reaches."""
    numbers = sorted(index for index, some in reached.items() if some)
    tracks = sorted({track for index in numbers for track in reached[index]})
    place = {track: index for index, track in enumerate(tracks)}
    pairs = [(place[track], row) for row, number in enumerate(numbers) for track in reached[number]]
    first, second = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    edges = Edges(first, second, np.zeros(len(pairs)))
    return [
        ([tracks[index] for index in one.objects], [numbers[row] for row in one.detections])
        for one in components(len(tracks), len(numbers), edges)
    ]


def _join(
    record: Record,
    tracks: list[UUID],
    detections: list[int],
    known: Mapping[UUID, Object],
    going: dict[UUID, Continued],
) -> None:
    """Make one of tracks and detections that meet on new ground; the track that was the largest goes on."""
    gains = _gains(record, detections)
    if len(tracks) == 1 and not gains:
        return
    before = [known[track].state if track in known else record.states[track] for track in tracks]
    now = [record.now(state) for state in before]
    areas = [known[track].state.area_m2 if track in known else 0.0 for track in tracks]
    first = areas.index(max(areas))
    new = replace(
        _united(now[first], [*now, *gains], record.settings.tolerance_m),
        score=score([*now, *gains]),
        last_seen=record.observation.acquired_at,
    )
    record.states[new.track_id] = new
    for index in detections:
        record.tracks[index] = record.tracks[index] or new.track_id
    for state in before:
        if state.track_id != new.track_id:
            _absorb(record, state, new.track_id)
            going.pop(state.track_id, None)
    if any(change.track_id == new.track_id for change in record.changes):
        _resize(record, new, new.area_m2 - now[first].area_m2)
        return
    one, old = known[new.track_id], _united(before[first], before, record.settings.tolerance_m)
    whole = transitions.local(old.geometry, record.crs)
    going[new.track_id] = Continued(Object(old, whole, one.visible, one.share), new, None)


def _gains(record: Record, detections: list[int]) -> list[Detection]:
    """What detections add to the tracks that they reach; what those show already they do not add."""
    gains = []
    for index in detections:
        one = record.observation.detections[index]
        if not record.shown[index]:
            gains.append(one)
        elif not any(track in record.states for track in record.shown[index]):
            # too little was seen of the object to tell its outline where it was known
            part = record.cut.fresh[index]
            gains.append(replace(one, geometry=part, area_m2=geodesic_m2(part)))
    return gains


def _united(state: TrackState, parts: Sequence[TrackState | Detection], tolerance_m: float) -> TrackState:
    """The state with the union of the parts as its outline."""
    if len(parts) == 1:
        return state
    outline = transitions.joined([one.geometry for one in parts], tolerance_m)
    return replace(state, geometry=outline, area_m2=geodesic_m2(outline))


def _absorb(record: Record, state: TrackState, keeper: UUID) -> None:
    """The track ends as a part of another."""
    at = record.observation.acquired_at
    record.states[state.track_id] = replace(state, alive=False, merged_into=keeper, last_looked=at)
    record.lineage.append(Lineage(state.track_id, keeper, ChangeKind.MERGED, at))
    record.absorbed[state.track_id] = keeper


def _resize(record: Record, new: TrackState, more_m2: float) -> None:
    """Count what a track gained on new ground as if it had been known before the track's changes."""
    record.changes = [
        replace(
            one,
            before_m2=one.before_m2 and one.before_m2 + more_m2,
            after_m2=new.area_m2,
            score=new.score,
        )
        if one.track_id == new.track_id
        else one
        for one in record.changes
    ]
