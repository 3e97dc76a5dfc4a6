"""Measure and correct the shift of an observation against its series, from outlines.

Scenes of one place are often displaced against each other by a fraction of a pixel to a few pixels. Objects that did
not change then show the same displacement, so its most frequent value is the shift of the scene.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Self

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from segwatch.geo.crs import to_lonlat
from segwatch.geo.polygons import clean
from segwatch.geo.tracking.overlay import Geometries, project_all, to_array
from segwatch.geo.types.belief import Shift
from segwatch.geo.types.tracking import TrackedObservation, TrackState

MAX_SHIFT_TOLERANCES = 6.0
"""Largest shift that is looked for, in tolerances (pixels)."""
_MIN_OBJECTS = 4
#: Objects at exactly their place, and half of all, that show that there is no shift.
_MIN_UNMOVED = 2
#: Share of the compared objects that agree on a wrong shift by chance, and how unlikely chance has to be as the reason.
_CHANCE_AGREEMENT, _MAX_CHANCE = 0.05, 0.005
#: Maximum number of objects that are compared, the largest first: the cost stays bounded.
_MAX_OBJECTS = 150
#: Differences in area, as a share, up to which an object is compared in each round.
_ROUNDS = (0.4, 0.3, 0.2, 0.1, 0.1)
#: Where the border of the compared ground cuts objects, a round finds only half of the displacement that is left: the
#: last round is repeated until it moves by less than this many tolerances, at most so often.
_CONVERGED, _MAX_REPEATS = 0.001, 20
#: In the end an unchanged object keeps its area up to this share ...
_SAME_AREA = 0.05
#: ... and its centroid within this many tolerances.
_SAME_PLACE = 0.15
#: Displacements within this many tolerances of each other count as one in the first guess.
_VOTE = 0.6
#: Smaller shifts, in tolerances, are left alone.
_NEGLIGIBLE = 0.03

_MAJOR_M, _ECCENTRICITY2 = 6_378_137.0, 6.69437999014e-3  # WGS 84

Floats = NDArray[np.float64]

UNCERTAIN = Shift(0.0, 0.0, 0.0, "outlines")
"""Of an observation whose outlines were compared and do not agree on a shift: it tells nothing about shapes."""


def estimate_shift(
    observation: TrackedObservation,
    states: Sequence[TrackState],
    never_observed: BaseGeometry,
    crs: CRS,
    tolerance_m: float,
) -> Shift:
    """Estimate the shift that moves an observation onto the objects of its series.

    The visible part of each object is compared with the detections that overlap it. As what is visible of it moves with
    the observation, the shift is found in rounds.

    Parameters
    ----------
    observation
        As it was read.
    states
        Present states of the objects near its footprint.
    never_observed
        Part of the footprint that was not observed before, EPSG:4326; nothing is compared there.
    crs
        The series' equal-area CRS.
    tolerance_m
        Registration tolerance, metres: about one pixel.

    Returns
    -------
    Shift
        Zero without a source where there are too few objects to compare; zero with quality 0 where too few of them
        agree.
    """
    alive = [one for one in states if one.alive and one.merged_into is None]
    if len(alive) < _MIN_OBJECTS or len(observation.detections) < _MIN_OBJECTS:
        return Shift()
    pairing = _Pairing.of(observation, alive, never_observed, crs, tolerance_m)
    if len(pairing.objects) < _MIN_OBJECTS:
        return Shift()
    at = pairing.guess()
    for number, difference in enumerate((*_ROUNDS, *repeat(_ROUNDS[-1], _MAX_REPEATS)), start=1):
        residuals = pairing.compare(at, difference)[0]
        if len(residuals) < _MIN_OBJECTS:
            return _doubt(pairing) if pairing.compare(at, 1.0)[1] >= _MIN_OBJECTS else Shift()
        by = np.median(residuals, axis=0)
        at = at + by
        if number >= len(_ROUNDS) and np.linalg.norm(by) <= _CONVERGED * tolerance_m:
            break
    agreeing, compared = pairing.count_agreeing(at)
    quality = agreeing / max(compared, 1)
    if agreeing < _MIN_OBJECTS or _is_chance(agreeing, compared) or np.abs(at).max() > pairing.reach_m:
        return _doubt(pairing)
    if np.linalg.norm(at) <= _NEGLIGIBLE * tolerance_m:
        return Shift(0.0, 0.0, quality, "outlines")
    return Shift(*_to_east_north(at, pairing.objects[0], crs), quality, "outlines")


def _is_chance(agreeing: int, compared: int) -> bool:
    """Return whether as many objects may agree on a wrong shift, by the tail of the binomial distribution.

    A minimum share would refuse a scene in which most objects changed or are partly hidden, however many agree exactly.
    """
    below = sum(
        math.comb(compared, count) * _CHANCE_AGREEMENT**count * (1 - _CHANCE_AGREEMENT) ** (compared - count)
        for count in range(agreeing)
    )
    return 1 - below > _MAX_CHANCE


def _doubt(pairing: _Pairing) -> Shift:
    """Return that there is no shift where most objects lie where they lay, if too few to measure one; else doubt it."""
    agreeing, compared = pairing.count_agreeing(np.zeros(2))
    return Shift() if agreeing >= _MIN_UNMOVED and 2 * agreeing >= compared else UNCERTAIN


@dataclass(frozen=True, slots=True)
class _Pairing:
    """O objects and D detections to compare, in the equal-area CRS."""

    objects: Geometries
    """(O,) geometries, largest first."""
    windows: Geometries
    """(O,) observed footprint around each."""
    fresh: Geometries
    """(O,) ground around each that was not observed before."""
    detections: Geometries
    """(D,) geometries."""
    same_target: NDArray[np.bool_]
    """(O, D) whether object and detection have the same target."""
    tolerance_m: float

    @classmethod
    def of(
        cls,
        observation: TrackedObservation,
        states: Sequence[TrackState],
        never_observed: BaseGeometry,
        crs: CRS,
        tolerance_m: float,
    ) -> Self:
        shapely.prepare(observation.footprint)
        near = shapely.intersects(observation.footprint, to_array([one.geometry for one in states]))
        chosen = sorted(
            (state for state, is_near in zip(states, near, strict=True) if is_near),
            key=lambda one: (-one.area_m2, one.track_id),
        )[:_MAX_OBJECTS]
        objects = project_all([one.geometry for one in chosen], crs)
        footprint, fresh = project_all([observation.footprint, never_observed], crs)
        margin = 2 * MAX_SHIFT_TOLERANCES * tolerance_m
        targets, found = [one.target for one in chosen], [one.target for one in observation.detections]
        return cls(
            objects,
            to_array([_cut_window(footprint, one.bounds, margin) for one in objects]),
            to_array([_cut_window(fresh, one.bounds, margin) for one in objects]),
            project_all([one.geometry for one in observation.detections], crs),
            np.equal.outer(np.array(targets, object), np.array(found, object)),
            tolerance_m,
        )

    @property
    def reach_m(self) -> float:
        """Largest shift along each axis, metres."""
        return MAX_SHIFT_TOLERANCES * self.tolerance_m

    def guess(self) -> Floats:
        """Return the most frequent displacement, (2,), of detections and visible objects of similar area.

        Both are compared on ground that was observed before: what new ground adds to an object is no displacement.
        """
        visible = self._find_visible(np.zeros(2))
        old = shapely.centroid(visible)
        usable = np.flatnonzero(~shapely.is_empty(old))
        first, second = shapely.STRtree(shapely.centroid(self.detections)).query(
            old[usable], predicate="dwithin", distance=self.reach_m * 1.5
        )
        first = usable[first]
        pieces = self._erase_fresh(self.detections[second], first)
        before, after = shapely.area(visible[first]), shapely.area(pieces)
        alike = (np.abs(before - after) <= _ROUNDS[0] * before) & self.same_target[first, second]
        moves = _get_xy(old[first[alike]]) - _get_xy(shapely.centroid(pieces[alike]))
        if not len(moves):
            return np.zeros(2)
        votes = (np.abs(moves[:, None] - moves[None]).max(axis=2) <= _VOTE * self.tolerance_m).sum(axis=1)
        best = np.lexsort((np.abs(moves).sum(axis=1), -votes))[0]
        return np.asarray(moves[best])

    def count_agreeing(self, at: Floats) -> tuple[int, int]:
        """Count the objects that keep area and place when the detections are moved by ``at``, and all compared."""
        residuals, compared = self.compare(at, _SAME_AREA)
        distances = np.linalg.norm(residuals, axis=1)
        return int((distances <= _SAME_PLACE * self.tolerance_m).sum()), compared

    def compare(self, at: Floats, difference: float) -> tuple[Floats, int]:
        """Compare visible objects with the detections moved by ``at``.

        Returns
        -------
        residuals : (N, 2)
            Displacement that is left for each object whose area differs by at most ``difference``.
        compared : int
            Number of objects that overlap detections at all.
        """
        visible = self._find_visible(at)
        moved = _translate(self.detections, at)
        first, second = shapely.STRtree(moved).query(visible, predicate="intersects")
        right = self.same_target[first, second]
        first, second = first[right], second[right]
        pieces = self._erase_fresh(moved[second], first)
        first, pieces = first[~shapely.is_empty(pieces)], pieces[~shapely.is_empty(pieces)]
        areas = shapely.area(pieces)
        found = np.bincount(first, areas, len(visible))
        middle = np.zeros((len(visible), 2))
        np.add.at(middle, first, areas[:, None] * _get_xy(shapely.centroid(pieces)))
        shown = np.flatnonzero(found > 0)
        before = shapely.area(visible[shown])
        alike = shown[np.abs(before - found[shown]) <= difference * before]
        residuals = _get_xy(shapely.centroid(visible[alike])) - middle[alike] / found[alike, None]
        return residuals, len(shown)

    def _find_visible(self, at: Floats) -> Geometries:
        """Return what the footprint moved by ``at`` shows, (O,), of the objects on ground observed before."""
        windows = self._erase_fresh(_translate(self.windows, at), np.arange(len(self.windows)))
        visible = self.objects.copy()
        partly = ~shapely.covers(windows, self.objects)
        visible[partly] = shapely.intersection(self.objects[partly], windows[partly])
        return visible

    def _erase_fresh(self, geometries: Geometries, around: NDArray[np.intp]) -> Geometries:
        """Erase from N geometries the fresh ground around the objects ``around``, (N,)."""
        fresh = self.fresh[around]
        meets = np.flatnonzero(shapely.intersects(geometries, fresh))
        rest = geometries.copy()
        rest[meets] = shapely.difference(geometries[meets], fresh[meets])
        return rest


def _cut_window(
    footprint: BaseGeometry, bounds: tuple[float, float, float, float], margin: float
) -> BaseGeometry:
    """Cut the footprint around the bounds of an object."""
    left, bottom, right, top = bounds
    return shapely.clip_by_rect(footprint, left - margin, bottom - margin, right + margin, top + margin)


def _translate(geometries: Geometries, by: Floats) -> Geometries:
    return np.asarray(shapely.transform(geometries, lambda coordinates: coordinates + by))


def _get_xy(points: Geometries) -> Floats:
    return np.stack([shapely.get_x(points), shapely.get_y(points)], axis=-1)


def _to_east_north(at: Floats, near: BaseGeometry, crs: CRS) -> tuple[float, float]:
    """Convert a displacement in the equal-area CRS to metres east and north, at an object."""
    middle = near.centroid
    start = _get_xy(to_array([to_lonlat(middle, crs)]))[0]
    end = _get_xy(to_array([to_lonlat(shapely.Point(middle.x + at[0], middle.y + at[1]), crs)]))[0]
    per_longitude, per_latitude = _measure_degrees(start[1:])
    return float((end[0] - start[0]) * per_longitude[0]), float((end[1] - start[1]) * per_latitude[0])


def is_within_reach(shift: Shift, tolerance_m: float) -> bool:
    """Whether a shift is not larger than those that are looked for."""
    return max(abs(shift.east_m), abs(shift.north_m)) <= MAX_SHIFT_TOLERANCES * tolerance_m


def move_observation(observation: TrackedObservation, shift: Shift) -> TrackedObservation:
    """Move an observation's footprint and detections."""
    if shift.is_zero:
        return observation
    footprint, *found = move_all(
        [observation.footprint, *(one.geometry for one in observation.detections)], shift
    ).tolist()
    detections = zip(observation.detections, found, strict=True)
    return replace(
        observation,
        footprint=footprint,
        detections=tuple(replace(one, geometry=geometry) for one, geometry in detections),
    )


def move_all(geometries: Sequence[BaseGeometry], shift: Shift) -> Geometries:
    """Move N EPSG:4326 geometries, (N,); what lies on the antimeridian stays on it."""
    given = to_array(geometries)
    if shift.is_zero:
        return given

    def displace(coordinates: Floats) -> Floats:
        longitude, latitude = coordinates.T
        per_longitude, per_latitude = _measure_degrees(latitude)
        east = np.where(np.abs(longitude) >= 180.0, 0.0, shift.east_m / per_longitude)
        return np.stack(
            [
                np.clip(longitude + east, -180.0, 180.0),
                np.clip(latitude + shift.north_m / per_latitude, -90.0, 90.0),
            ],
            axis=1,
        )

    moved: Geometries = shapely.transform(given, displace)
    for index in np.flatnonzero(~shapely.is_valid(moved)):
        moved[index] = clean(moved[index])
    return moved


def _measure_degrees(latitude: Floats) -> tuple[Floats, Floats]:
    """Return the metres per degree of longitude and of latitude."""
    phi = np.radians(latitude)
    root = 1 - _ECCENTRICITY2 * np.sin(phi) ** 2
    across = _MAJOR_M / np.sqrt(root) * np.maximum(np.cos(phi), 1e-6)
    along = _MAJOR_M * (1 - _ECCENTRICITY2) / root**1.5
    return np.radians(across), np.radians(along)
