"""Find the region of ground that a change turned from uncovered to covered by its target, or back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import numpy as np
import shapely
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from segwatch.geo.antimeridian import split_at_antimeridian, unwrap_longitudes
from segwatch.geo.area import extract_polygons
from segwatch.geo.polygons import clean
from segwatch.geo.tracking.overlay import apply_snapped, compute_metres_per_degree, measure, to_array
from segwatch.geo.types.belief import Evidence
from segwatch.geo.types.tracking import Change, ChangeKind, TrackingStep, TrackState

EXISTENCE = frozenset({ChangeKind.APPEARED, ChangeKind.REAPPEARED, ChangeKind.DISAPPEARED})
"""Kinds whose region is a whole object; the others change the shape of objects."""
#: Parts of a region narrower than this share of the tolerance are rounding.
_THIN = 0.1
#: Growth and loss within this many tolerances of the old boundary are left to the jitter.
_BAND = 0.5
#: Largest movement that is considered, tolerances, and the share of the difference that it may leave unexplained.
_MAX_MOVE, _MOVED = 2, 0.3
#: Parts of an object are larger than this, tolerances squared.
_PART = 2
#: Areas of unchanged objects vary by up to this share, slowly and so alike in one scene after the other.
_VARIES = 0.25
#: Boundaries are uncertain by this many tolerances however well a scene is registered.
_UNSURE = 0.5


@dataclass(frozen=True, slots=True)
class Family:
    """Lineage of one kind, to look up from both sides."""

    children: dict[UUID, list[UUID]] = field(default_factory=dict)
    """By parent."""
    parents: dict[UUID, list[UUID]] = field(default_factory=dict)
    """By child."""


@dataclass(frozen=True, slots=True)
class Transition:
    """An observation's step with the states of the objects around it, to find what its changes did."""

    step: TrackingStep
    before: Mapping[UUID, TrackState]
    """States before the observation."""
    after: Mapping[UUID, TrackState]
    """States after it."""
    acquired_at: datetime
    footprint: BaseGeometry
    """What the observation showed, EPSG:4326."""
    tolerance_m: float
    lost: Mapping[UUID, BaseGeometry]
    """Ground that objects lost by changes that are still open, EPSG:4326."""
    gained: Mapping[UUID, BaseGeometry]
    """Ground that objects gained by such changes."""
    lineage: dict[ChangeKind, Family] = field(init=False)
    """Lineage of the step, by kind."""
    changes: dict[UUID, list[Change]] = field(init=False)
    """Changes of the step, by track."""

    def __post_init__(self) -> None:
        lineage = {kind: Family() for kind in (ChangeKind.SPLIT, ChangeKind.MERGED)}
        for one in self.step.lineage:
            lineage[one.kind].children.setdefault(one.parent, []).append(one.child)
            lineage[one.kind].parents.setdefault(one.child, []).append(one.parent)
        changes: dict[UUID, list[Change]] = {}
        for change in self.step.changes:
            changes.setdefault(change.track_id, []).append(change)
        object.__setattr__(self, "lineage", lineage)
        object.__setattr__(self, "changes", changes)

    def find_evidence(self, change: Change) -> Evidence | None:
        """Find the region of a change and the core of its object; None where too little of it is left to judge."""
        match change.kind:
            case ChangeKind.APPEARED | ChangeKind.REAPPEARED:
                return self._make(change.gained or self.after[change.track_id].geometry, True)
            case ChangeKind.DISAPPEARED:
                return self._make(change.lost, False)
            case ChangeKind.SPLIT:
                tracks = self.list_parts(change.track_id)
                parts, whole = self._unite(self.after, tracks), self._unite(self.before, tracks)
                if tracks[0] in self.lost:
                    # the gap had been told as a loss when the other part was missed, or a part of it was hidden
                    whole = shapely.union(whole, self.lost[tracks[0]])
                if change.valid_at < self.acquired_at:
                    # what is hidden of the part that was missed is no gap
                    whole = apply_snapped(shapely.intersection, whole, self.footprint)
                return self._make(self._find_gap(whole, parts), False, parts)
            case ChangeKind.MERGED:
                merged = self.list_merged(change.track_id)
                parts = self._unite(self.before, merged)
                if merged[0] in self.gained:
                    # a part of the gap had been told as growth when the other object was hidden
                    parts = _subtract(parts, self.gained[merged[0]])
                whole = self._unite(self.after, [self.get_keeper(change.track_id)])
                return self._make(self._find_gap(whole, parts), True, parts)
            case ChangeKind.SHRANK:
                core = self.after[change.track_id].geometry
                return self._make(self._erase_band(change.lost, core), False, core)
            case _:
                core = self.before[change.track_id].geometry
                return self._make(self._erase_band(change.gained, core), True, core)

    def list_parts(self, track_id: UUID) -> list[UUID]:
        """List the tracks of the split that a track takes part in, the one that was split first."""
        split = self.lineage[ChangeKind.SPLIT]
        parent = split.parents.get(track_id, [track_id])[0]
        return [parent, *split.children.get(parent, [])]

    def get_keeper(self, track_id: UUID) -> UUID:
        """Return the track that a merged one continues as; its own if it continues."""
        return self.lineage[ChangeKind.MERGED].children.get(track_id, [track_id])[0]

    def list_merged(self, track_id: UUID) -> list[UUID]:
        """List the tracks of the merger that a track takes part in, the one that continues first."""
        keeper = self.get_keeper(track_id)
        return [keeper, *self.lineage[ChangeKind.MERGED].parents.get(keeper, [])]

    def _unite(self, states: Mapping[UUID, TrackState], tracks: Sequence[UUID]) -> BaseGeometry:
        return shapely.union_all([states[one].geometry for one in tracks if one in states])

    def _make(
        self, region: BaseGeometry | None, to_covered: bool, core: BaseGeometry | None = None
    ) -> Evidence | None:
        if region is None or region.is_empty:
            return None
        return Evidence(region, to_covered, self.acquired_at, core)

    def _find_gap(self, whole: BaseGeometry, parts: BaseGeometry) -> BaseGeometry:
        """Find the ground of a whole between its parts.

        An object that lay in pieces before it was split, or before its parts merged, has none left: earlier changes
        told it as lost or gained. The ground where the parts are nearest to each other is taken then.
        """
        gap = self._open(_subtract(whole, parts))
        return gap if not gap.is_empty else self._open(bridge(parts, self.tolerance_m))

    def _open(self, region: BaseGeometry) -> BaseGeometry:
        """Remove what is too narrow to be seen by morphological opening."""
        return _open_by(region, _THIN / 2 * self.tolerance_m)

    def _erase_band(self, region: BaseGeometry | None, core: BaseGeometry) -> BaseGeometry | None:
        """Remove from a region what lies next to the core, unless nothing would be left."""
        if region is None or region.is_empty:
            return None
        band = _BAND * self.tolerance_m
        nearby = _clip_around(core, region, 4 * self.tolerance_m)

        def erase(plane: BaseGeometry) -> BaseGeometry:
            rest, edge = shapely.get_geometry(np.array([plane, plane]), [0, 1]).tolist()
            beyond: BaseGeometry = shapely.difference(rest, shapely.buffer(edge, band))
            return beyond

        beyond = in_plane(shapely.GeometryCollection([region, nearby]), erase)
        beyond = self._open(beyond)
        return self._open(region) if beyond.is_empty else beyond


def bridge(parts: BaseGeometry, tolerance_m: float) -> BaseGeometry:
    """Find the ground between the parts of an EPSG:4326 geometry where they are nearest, two tolerances wide."""
    # the nearest points of parts on both sides of 180 degrees lie across it, not round the earth
    polygons = sorted(extract_polygons(unwrap_longitudes(parts)), key=lambda one: -one.area)
    if len(polygons) < 2:
        return shapely.Polygon()
    lines = [
        shapely.shortest_line(one, shapely.union_all(polygons[:index]))
        for index, one in enumerate(polygons[1:], start=1)
    ]
    wide = in_plane(shapely.MultiLineString(lines), lambda plane: shapely.buffer(plane, tolerance_m))
    return _subtract(split_at_antimeridian(wide), parts)


def in_plane(geometry: BaseGeometry, operation: Callable[[BaseGeometry], BaseGeometry]) -> BaseGeometry:
    """Apply an operation to an EPSG:4326 geometry in metres; right where it spans less than a degree or so."""
    scale = compute_metres_per_degree(geometry)
    done = operation(shapely.transform(geometry, lambda coordinates: coordinates * scale))
    return clean(shapely.transform(done, lambda coordinates: coordinates / scale))


def is_resolved(kind: ChangeKind, region: BaseGeometry, tolerance_m: float, min_polygon_m2: float) -> bool:
    """Return whether pixels resolve what a change tells, or sampling the same ground again may raise it.

    A gap narrower than a pixel opens and closes with the position of the pixels. An object crosses the minimum size of
    a polygon (m²) if its boundary is displaced by half a pixel, or if its area varies as it does with season and light.
    """
    area_m2, width_m = measure(region)
    if kind in EXISTENCE:
        length_m = 2 * area_m2 / max(width_m, 1e-9)
        if min_polygon_m2 > 0 and area_m2 <= min_polygon_m2 + length_m * _UNSURE * tolerance_m:
            return False
        return not is_near_minimum(area_m2, min_polygon_m2)
    return width_m > 2 * _UNSURE * tolerance_m or kind not in (ChangeKind.SPLIT, ChangeKind.MERGED)


def is_near_minimum(area_m2: float, min_polygon_m2: float) -> bool:
    """Return whether an object that is still there may fall below the minimum size of a polygon, and be dropped."""
    return area_m2 <= (1 + _VARIES) * min_polygon_m2


def is_explained_by_movement(
    before: BaseGeometry, after: BaseGeometry, footprint: BaseGeometry, tolerance_m: float
) -> bool:
    """Return whether the object as it was, displaced by some pixels, is what an observation shows.

    Where a cloud hides the other side of the object, movement looks like growth or loss. What was gained on one side
    alone stays unexplained, as a displaced object loses as much on the other.

    Parameters
    ----------
    before, after
        The object before and after the observation, EPSG:4326.
    footprint
        What the observation showed, EPSG:4326.
    tolerance_m
        About one pixel, metres.
    """
    window = _clip_around(footprint, shapely.union(before, after), _MAX_MOVE * tolerance_m)
    shown = apply_snapped(shapely.intersection, after, window)
    step = tolerance_m / compute_metres_per_degree(after)
    moves = np.arange(-_MAX_MOVE, _MAX_MOVE + 1)
    places = np.array([(across, along) for across in moves for along in moves]) * step
    moved = to_array([translate(before, *by) for by in places.tolist()])
    apart = shapely.area(shapely.symmetric_difference(shapely.intersection(moved, window), shown))
    return bool(apart.min() <= _MOVED * apart[len(apart) // 2])


def find_cut_pieces(
    before: BaseGeometry, after: BaseGeometry, footprint: BaseGeometry, tolerance_m: float
) -> list[BaseGeometry]:
    """Find the visible pieces of an object that were one visible piece before, largest first; none if it was not cut.

    What is hidden of the object may still join them, so that it seems to have lost the ground of the gap alone. Pieces
    between which a cloud lay anyway do not count.

    Parameters
    ----------
    before, after
        The object before and after the observation, EPSG:4326.
    footprint
        What the observation showed, EPSG:4326.
    tolerance_m
        About one pixel, metres.
    """
    window = _clip_around(footprint, shapely.union(before, after), tolerance_m)
    old = extract_polygons(apply_snapped(shapely.intersection, before, window))
    # hidden parts reach a hairline into the footprint
    visible = _open_by(apply_snapped(shapely.intersection, after, window), _THIN * tolerance_m)
    new = [one for one in extract_polygons(visible) if measure(one)[0] > _PART * tolerance_m**2]
    cut = [
        piece
        for whole in old
        if len(pieces := [one for one in new if shapely.intersection(whole, one).area > one.area / 2]) > 1
        for piece in pieces
    ]
    return sorted(cut, key=lambda one: -one.area)


def count_parts(geometry: BaseGeometry, tolerance_m: float) -> int:
    """Count the parts of an EPSG:4326 geometry that are larger than two pixels."""
    return sum(measure(part)[0] > _PART * tolerance_m**2 for part in extract_polygons(geometry))


def _open_by(region: BaseGeometry, thin_m: float) -> BaseGeometry:
    """Remove what is narrower than twice some metres by morphological opening."""
    if region.is_empty:
        return region
    return in_plane(region, lambda plane: shapely.buffer(shapely.buffer(plane, -thin_m), thin_m))


def _subtract(whole: BaseGeometry, parts: BaseGeometry) -> BaseGeometry:
    return clean(apply_snapped(shapely.difference, whole, parts))


def _clip_around(geometry: BaseGeometry, region: BaseGeometry, margin_m: float) -> BaseGeometry:
    """Clip a large geometry to the neighbourhood of a region, EPSG:4326."""
    west, south, east, north = region.bounds
    across, along = (margin_m / compute_metres_per_degree(region)).tolist()
    return clean(shapely.clip_by_rect(geometry, west - across, south - along, east + across, north + along))
