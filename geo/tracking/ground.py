"""What a series has observed so far, and what one observation is the first to observe.

Baseline belongs to the ground: whatever the first observation of a place shows there is baseline, not a change. For
each observation a series stores the part of its footprint that no earlier observation had covered. These pieces are
disjoint, so the area observed before any observation is the union of the pieces of those before it, in whatever order
the scenes arrived.

Everything here is computed in EPSG:4326, like the footprints: a long edge that is cut into other steps bends
differently once it is projected.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from uuid import UUID

import numpy as np
import shapely
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import extract_polygons
from segwatch.geo.polygons import clean
from segwatch.geo.tracking.overlay import METRES_PER_DEGREE, apply_snapped, to_array
from segwatch.geo.types.tracking import GroundPiece

#: Gaps between pieces narrower than this (degrees, about a centimetre) come from rounding.
_HAIRLINE_DEG = 1e-7
#: Poleward of this latitude, degrees of longitude are treated as no shorter.
_MAX_LATITUDE = 89.0
#: Pieces that are subtracted from a footprint at once.
_MAX_UNITED = 8


@dataclass(frozen=True, slots=True)
class NewGround:
    """The parts of a footprint that were not observed before, EPSG:4326; empty where there are none."""

    never_observed: BaseGeometry = field(default_factory=Polygon)
    """Observed neither by this series nor by the series that it continues."""
    new_to_series: BaseGeometry = field(default_factory=Polygon)
    """Not observed by this series; larger than ``never_observed`` where the series continues another."""


class ObservedGround:
    """The area that a series has observed so far, as disjoint pieces.

    Parameters
    ----------
    pieces
        At least the pieces that intersect the footprints :meth:`find_new` will be called with.
    """

    def __init__(self, pieces: Iterable[GroundPiece] = ()) -> None:
        self._own = _Pieces()
        self._inherited = _Pieces()
        for piece in pieces:
            self.add(piece)

    def add(self, piece: GroundPiece) -> None:
        """Add a piece to the observed area."""
        if not piece.geometry.is_empty:
            (self._inherited if piece.inherited else self._own).add(piece)

    def find_new(self, footprint: BaseGeometry) -> NewGround:
        """Find the parts of a footprint (EPSG:4326) that were not observed before."""
        new_to_series = self._own.subtract_from(footprint)
        # both are the same object where the series continues no other; callers test identity
        return NewGround(self._inherited.subtract_from(new_to_series), new_to_series)


@dataclass(slots=True)
class _Pieces:
    """Disjoint pieces of ground."""

    pieces: list[GroundPiece] = field(default_factory=list)
    unions: list[tuple[UUID, BaseGeometry]] = field(default_factory=list)
    """Of the pieces that were last subtracted at once: the observation of each, and the union up to it."""

    def add(self, piece: GroundPiece) -> None:
        shapely.prepare(piece.geometry)
        self.pieces.append(piece)

    def subtract_from(self, footprint: BaseGeometry) -> BaseGeometry:
        """Subtract the pieces from a footprint; return the same object if none intersects it.

        The largest pieces are subtracted at once, as footprints have long borders: usually nothing is left of a
        footprint after them. The result depends on nothing but the footprint and the pieces that intersect it.
        """
        if footprint.is_empty or not self.pieces:
            return footprint
        every = to_array([piece.geometry for piece in self.pieces])
        near = np.flatnonzero(shapely.intersects(every, footprint))
        if not len(near):
            return footprint
        if shapely.covers(every[near], footprint).any():
            return Polygon()
        largest = sorted(
            (self.pieces[index] for index in near.tolist()),
            key=lambda one: (-one.geometry.area, one.observation_id),
        )
        union = self._unite(largest[:_MAX_UNITED])
        rest = _remove_hairlines(apply_snapped(shapely.difference, footprint, union))
        smaller = to_array([one.geometry for one in largest[_MAX_UNITED:]])
        meeting = smaller[shapely.intersects(smaller, rest)]
        for piece in meeting:
            rest = clean(apply_snapped(shapely.difference, rest, piece))
            if rest.is_empty:
                return rest
        return _remove_hairlines(rest) if len(meeting) else rest

    def _unite(self, pieces: Sequence[GroundPiece]) -> BaseGeometry:
        """Unite pieces one by one; the next footprints of a series mostly meet the same ones."""
        known = zip(self.unions, pieces, strict=False)
        del self.unions[sum(1 for _ in takewhile(lambda one: one[0][0] == one[1].observation_id, known)) :]
        for piece in pieces[len(self.unions) :]:
            union = piece.geometry
            if self.unions:
                union = apply_snapped(shapely.union, self.unions[-1][1], union)
            self.unions.append((piece.observation_id, union))
        return self.unions[-1][1]


def _remove_hairlines(geometry: BaseGeometry) -> BaseGeometry:
    """Remove parts narrower than a hairline by morphological opening."""
    polygons = to_array(extract_polygons(geometry))
    cores = shapely.buffer(polygons, -_HAIRLINE_DEG / 2, join_style="mitre")
    wide = ~shapely.is_empty(cores)
    if not wide.any():
        return Polygon()
    # widen by more than was eroded and intersect: corners then keep the footprint's exact coordinates
    opened = shapely.buffer(cores[wide], _HAIRLINE_DEG, join_style="mitre")
    return clean(shapely.union_all(shapely.intersection(polygons[wide], opened)))


def compute_search_area(footprint: BaseGeometry, tolerance_m: float, new: NewGround) -> BaseGeometry:
    """Compute the area whose objects an observation may affect, EPSG:4326.

    It is the footprint, widened around new ground: a detection there may continue an object that ends just outside the
    footprint.
    """
    if new.never_observed.is_empty:
        return footprint
    return shapely.union(footprint, widen_footprint(new.never_observed, 2 * tolerance_m))


def widen_footprint(footprint: BaseGeometry, distance_m: float) -> BaseGeometry:
    """Widen a footprint (EPSG:4326) by about a distance; an empty one stays empty."""
    if footprint.is_empty:
        return footprint
    return shapely.buffer(footprint, to_degrees(footprint, distance_m), quad_segs=2)


def to_degrees(geometry: BaseGeometry, distance_m: float) -> float:
    """Convert a distance to degrees of longitude where a geometry (EPSG:4326) has the shortest; 0 if it is empty."""
    if geometry.is_empty:
        return 0.0
    _, south, _, north = geometry.bounds
    latitude = min(max(abs(south), abs(north)), _MAX_LATITUDE)
    return float(distance_m / METRES_PER_DEGREE / np.cos(np.radians(latitude)))
