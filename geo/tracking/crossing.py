"""Continue objects across the border of newly observed ground, without a change.

An object gains what a detection shows of it on new ground, and objects that a detection joins only through new ground
become one. Lineage records the tracks that end this way; no alert follows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import compute_area_m2
from segwatch.geo.polygons import clean
from segwatch.geo.tracking import overlay
from segwatch.geo.tracking.link import Edges, find_components
from segwatch.geo.tracking.step_builder import Continuation, StepBuilder, VisibleObject, compute_mean_score
from segwatch.geo.types.tracking import Detection, TrackState

#: Minimum contact area, as a share of the tolerance squared: about a pixel along the border, more than a corner.
_MIN_CONTACT = 0.9


def continue_across_border(
    builder: StepBuilder,
    living: list[VisibleObject],
    detections: list[int],
    continuations: list[Continuation],
) -> list[Continuation]:
    """Continue the objects of one target onto new ground.

    Parameters
    ----------
    builder
        Step in which the detections on ground observed before are already folded.
    living
        All living objects of the target.
    detections
        Indices of the target's detections.
    continuations
        Objects that continue and are still to be compared.

    Returns
    -------
    list of Continuation
        All objects to be compared.
    """
    fresh = {
        index: builder.cut.on_new_ground[index] for index in detections if index in builder.cut.on_new_ground
    }
    if not (fresh and (living or builder.states)):
        return continuations
    known = {one.state.track_id: one for one in living}
    continuing = {one.after.track_id: one for one in continuations}
    for tracks, joined in _group_by_thing(_find_reached(builder, living, fresh)):
        _join(builder, tracks, joined, known, continuing)
    return list(continuing.values())


def _find_reached(
    builder: StepBuilder, living: list[VisibleObject], fresh: Mapping[int, BaseGeometry]
) -> dict[int, set[UUID]]:
    """Return detection with a part on new ground -> the tracks it shows or touches across the border."""
    reached = {index: set(builder.tracks_shown[index]) for index in fresh}
    # an object that this observation missed does not continue elsewhere
    there = [one for one in living if builder.get_current(one.state).misses <= one.state.misses]
    for index, other in _find_contacts(builder, there, fresh):
        state = builder.get_current(there[other].state)
        reached[index].add(state.merged_into or state.track_id)
    return reached


def _find_contacts(
    builder: StepBuilder, objects: Sequence[VisibleObject], fresh: Mapping[int, BaseGeometry]
) -> list[tuple[int, int]]:
    """Find pairs of a detection and an object that meet at the border of new ground.

    The object must end within the tolerance of the detection's part on new ground (``fresh``, EPSG:4326), with a part
    that the observation confirms or does not cover.
    """
    if not (fresh and objects):
        return []
    tolerance_m, footprint = builder.settings.tolerance_m, builder.observation.footprint
    numbers = list(fresh)
    borders = shapely.buffer(overlay.project_all(list(fresh.values()), builder.crs), tolerance_m)
    wholes = overlay.to_array([one.whole for one in objects])
    first, second = shapely.STRtree(wholes).query(borders, predicate="intersects")
    unobserved: dict[int, BaseGeometry] = {}
    pairs = []
    for border, other in zip(first.tolist(), second.tolist(), strict=True):
        geometry, state = objects[other].state.geometry, builder.get_current(objects[other].state)
        if (state.merged_into or state.track_id) in builder.tracks_shown[numbers[border]]:
            continue
        if other not in unobserved:
            unobserved[other] = overlay.extract_unobserved(geometry, footprint, builder.crs, tolerance_m)
        detection = builder.observation.detections[numbers[border]].geometry
        confirmed = clean(overlay.apply_snapped(shapely.intersection, geometry, detection))
        possible = overlay.project_all([unobserved[other], confirmed], builder.crs)
        # measure the largest contact: several corners do not make a border
        contacts = shapely.get_parts(shapely.intersection(possible, borders[border])).tolist()
        if max((part.area for part in contacts), default=0.0) >= _MIN_CONTACT * tolerance_m**2:
            pairs.append((numbers[border], other))
    return pairs


def _group_by_thing(reached: Mapping[int, Collection[UUID]]) -> list[tuple[list[UUID], list[int]]]:
    """Group tracks and detections that are connected, from the tracks that each detection reaches; sorted."""
    numbers = sorted(index for index, some in reached.items() if some)
    tracks = sorted({track for index in numbers for track in reached[index]})
    place = {track: index for index, track in enumerate(tracks)}
    pairs = [(place[track], row) for row, number in enumerate(numbers) for track in reached[number]]
    first, second = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    edges = Edges(first, second, np.zeros(len(pairs)))
    return [
        ([tracks[index] for index in one.objects], [numbers[row] for row in one.detections])
        for one in find_components(len(tracks), len(numbers), edges)
    ]


def _join(
    builder: StepBuilder,
    tracks: list[UUID],
    detections: list[int],
    known: Mapping[UUID, VisibleObject],
    continuing: dict[UUID, Continuation],
) -> None:
    """Join tracks and detections that meet on new ground into one track; the one that was largest continues."""
    gains = _collect_gains(builder, detections)
    if len(tracks) == 1 and not gains:
        return
    before = [known[track].state if track in known else builder.states[track] for track in tracks]
    now = [builder.get_current(state) for state in before]
    areas = [known[track].state.area_m2 if track in known else 0.0 for track in tracks]
    first = areas.index(max(areas))
    new = replace(
        _unite(now[first], [*now, *gains], builder.settings.tolerance_m),
        score=compute_mean_score([*now, *gains]),
        last_seen=builder.observation.acquired_at,
    )
    builder.states[new.track_id] = new
    for index in detections:
        builder.detection_tracks[index] = builder.detection_tracks[index] or new.track_id
    for state in before:
        if state.track_id != new.track_id:
            builder.absorb(state, new.track_id)
            continuing.pop(state.track_id, None)
    if any(change.track_id == new.track_id for change in builder.changes):
        _correct_areas(builder, new, new.area_m2 - now[first].area_m2)
        return
    if new.track_id not in known:
        return
    known_before = [state for state in before if state.track_id in known]
    one, old = known[new.track_id], _unite(before[first], known_before, builder.settings.tolerance_m)
    whole = overlay.project(old.geometry, builder.crs)
    continuing[new.track_id] = Continuation(
        VisibleObject(old, whole, one.visible, one.visible_share), new, None
    )


def _collect_gains(builder: StepBuilder, detections: list[int]) -> list[Detection]:
    """Collect what detections add to the tracks they reach, leaving out what the tracks' new states already include."""
    gains = []
    for index in detections:
        one = builder.observation.detections[index]
        if not builder.tracks_shown[index]:
            gains.append(one)
        elif not any(track in builder.states for track in builder.tracks_shown[index]):
            # too little of the object was visible to renew its geometry on ground observed before
            part = builder.cut.on_new_ground[index]
            gains.append(replace(one, geometry=part, area_m2=compute_area_m2(part)))
    return gains


def _unite(state: TrackState, parts: Sequence[TrackState | Detection], tolerance_m: float) -> TrackState:
    """Return the state with the union of the parts as its geometry."""
    if len(parts) == 1:
        return state
    geometry = overlay.join([one.geometry for one in parts], tolerance_m)
    return replace(state, geometry=geometry, area_m2=compute_area_m2(geometry))


def _correct_areas(builder: StepBuilder, new: TrackState, gained_m2: float) -> None:
    """Add the area gained on new ground to both areas of the track's changes, as if it had been known before."""
    builder.changes = [
        replace(
            one,
            before_m2=one.before_m2 and one.before_m2 + gained_m2,
            after_m2=new.area_m2,
            score=new.score,
        )
        if one.track_id == new.track_id
        else one
        for one in builder.changes
    ]
