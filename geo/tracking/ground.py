"""Ground that a series has seen clearly, and what one observation is the first to see of it.

Baseline belongs to ground (DESIGN, invariant 3 and tracking step 6). A series keeps, for each observation, the part
of its footprint that no earlier observation of the series had seen; these parts are disjoint, so what had been seen
before any observation is the union of the parts of those before it, whatever the order in which scenes arrive.

Everything here is computed in EPSG:4326, where a footprint's edges are: projected, a long edge cut into other steps
bends differently.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import polygonal_parts
from segwatch.geo.polygons import clean
from segwatch.geo.tracking import transitions
from segwatch.geo.types.tracking import GroundPiece

#: Gaps between pieces narrower than this, degrees (a centimetre), come from rounding: nobody was to see them.
_HAIRLINE_DEG = 1e-7
#: Parts of a detection narrower than this share of the tolerance are rounding along the border of seen ground.
_THIN = 0.1
_METRES_PER_DEGREE = 111_320.0
#: Beyond this latitude a degree of longitude is taken for no shorter.
_MAX_LATITUDE = 89.0


@dataclass(frozen=True, slots=True)
class NewGround:
    """What an observation sees of ground that was never seen clearly before, EPSG:4326; empty where there is none."""

    unseen: BaseGeometry = field(default_factory=Polygon)
    """Ground that no earlier observation saw."""
    own: BaseGeometry = field(default_factory=Polygon)
    """Ground that none of this series' observations saw; more than ``unseen`` where it took over another's."""

    @classmethod
    def everywhere(cls, footprint: BaseGeometry) -> NewGround:
        """Nothing of it had been seen."""
        return cls(footprint, footprint)


class SeenGround:
    """Ground seen so far, in pieces.

    Parameters
    ----------
    pieces
        At least those that intersect the footprints that :meth:`new` will be asked about.
    """

    def __init__(self, pieces: Iterable[GroundPiece] = ()) -> None:
        self._own: list[GroundPiece] = []
        self._inherited: list[GroundPiece] = []
        for piece in pieces:
            self.add(piece)

    def add(self, piece: GroundPiece) -> None:
        """From now on this is seen, too."""
        if not piece.geometry.is_empty:
            shapely.prepare(piece.geometry)
            (self._inherited if piece.inherited else self._own).append(piece)

    def new(self, footprint: BaseGeometry) -> NewGround:
        """What of the footprint was not seen."""
        own = _without(footprint, self._own)
        # the very same geometry where nothing was taken over
        return NewGround(_without(own, self._inherited), own)


def _without(footprint: BaseGeometry, pieces: Sequence[GroundPiece]) -> BaseGeometry:
    """The footprint less the pieces; the very same geometry where they are elsewhere."""
    if footprint.is_empty or not pieces:
        return footprint
    geometries = transitions.array([piece.geometry for piece in pieces])
    near = np.flatnonzero(shapely.intersects(geometries, footprint))
    rest = footprint
    # the largest first: most often nothing is left after it
    for index in sorted(
        near.tolist(), key=lambda one: (-pieces[one].geometry.area, pieces[one].observation_id)
    ):
        rest = transitions.snapped(shapely.difference, rest, geometries[index])
        if rest.is_empty:
            return Polygon()
    return footprint if rest is footprint else _without_hairlines(rest)


def _without_hairlines(geometry: BaseGeometry) -> BaseGeometry:
    """Polygons with what is narrower than a hairline taken off."""
    polygons = transitions.array(polygonal_parts(geometry))
    cores = shapely.buffer(polygons, -_HAIRLINE_DEG / 2, join_style="mitre")
    wide = ~shapely.is_empty(cores)
    if not wide.any():
        return Polygon()
    # where eroding and widening gives back the corners, the coordinates stay those of the footprint
    opened = shapely.buffer(cores[wide], _HAIRLINE_DEG, join_style="mitre")
    return clean(shapely.union_all(shapely.intersection(polygons[wide], opened)))


class Ground:
    """Ground whose polygons are found by place, so that cutting an outline costs what lies there.

    Parameters
    ----------
    geometry
        EPSG:4326.
    """

    def __init__(self, geometry: BaseGeometry) -> None:
        self.geometry = geometry
        self._polygons = transitions.array(polygonal_parts(geometry))
        self._tree = shapely.STRtree(self._polygons)
        shapely.prepare(geometry)

    @property
    def is_empty(self) -> bool:
        """Whether there is none."""
        return self.geometry.is_empty

    def meets(self, outline: BaseGeometry) -> bool:
        """Whether an outline (EPSG:4326) touches it."""
        return not self.is_empty and bool(shapely.intersects(self.geometry, outline))

    def on(self, outline: BaseGeometry) -> BaseGeometry:
        """The part of an outline on it, EPSG:4326."""
        return clean(transitions.snapped(shapely.intersection, outline, self._near(outline)))

    def off(self, outline: BaseGeometry) -> BaseGeometry:
        """The part of an outline elsewhere, EPSG:4326."""
        return clean(transitions.snapped(shapely.difference, outline, self._near(outline)))

    def _near(self, outline: BaseGeometry) -> BaseGeometry:
        near: list[Polygon] = self._polygons[np.sort(self._tree.query(outline))].tolist()
        return MultiPolygon(near)


@dataclass(frozen=True, slots=True)
class Cut:
    """Detections, cut at the border of new ground."""

    pieces: NDArray[Any]
    """(P,) parts on ground seen before, equal-area CRS; whole detections where there is no new ground."""
    source: tuple[int, ...]
    """Detection of each piece."""
    of: tuple[tuple[int, ...], ...]
    """Pieces of each detection; none of one that lies on new ground."""
    fresh: dict[int, BaseGeometry]
    """Detection -> its part on new ground, EPSG:4326, where it has one."""


def cut(
    detections: Sequence[BaseGeometry],
    shapes: NDArray[Any],
    footprint: BaseGeometry,
    unseen: Ground,
    crs: CRS,
    tolerance_m: float,
) -> Cut:
    """Cut detections at the border of ground that was never seen before.

    Args:
        detections: N outlines, EPSG:4326.
        shapes: (N,) the same in ``crs``.
        footprint: what they lie within, EPSG:4326.
        unseen: new ground.
        crs: the series' equal-area CRS.
        tolerance_m: one pixel, metres.
    """
    given = transitions.array(detections)
    if unseen.is_empty or not len(given):
        every = tuple((index,) for index in range(len(given)))
        return Cut(shapes, tuple(range(len(given))), every, {})
    everywhere = unseen.geometry is footprint
    meets = np.ones(len(given), bool) if everywhere else shapely.intersects(unseen.geometry, given)
    inside = meets if everywhere else shapely.covers(unseen.geometry, given)
    fresh: dict[int, BaseGeometry] = {}
    pieces: list[list[BaseGeometry]] = []
    for index, (geometry, shape) in enumerate(zip(given, shapes, strict=True)):
        if inside[index]:
            fresh[index] = geometry
            pieces.append([])
            continue
        part = unseen.on(geometry) if meets[index] else Polygon()
        if part.is_empty or not _wide(part, crs, tolerance_m):
            pieces.append([shape])
            continue
        fresh[index] = part
        pieces.append(_wide(unseen.off(geometry), crs, tolerance_m))
    source = [index for index, some in enumerate(pieces) for _ in some]
    numbers = iter(range(len(source)))
    of = tuple(tuple(next(numbers) for _ in some) for some in pieces)
    return Cut(transitions.array([one for some in pieces for one in some]), tuple(source), of, fresh)


def _wide(geometry: BaseGeometry, crs: CRS, tolerance_m: float) -> list[BaseGeometry]:
    """Polygons of an EPSG:4326 geometry in ``crs``, without those that are rounding along a border.

    What holds together by a corner only is several.
    """
    thin = _THIN / 2 * tolerance_m
    found: list[BaseGeometry] = []
    for part in transitions.local_all(polygonal_parts(geometry), crs):
        cores = polygonal_parts(shapely.buffer(part, -thin))
        found += [part] if len(cores) == 1 else [core.buffer(thin) for core in cores]
    return found


def seen_before(
    geometry: BaseGeometry, own: Ground, crs: CRS, tolerance_m: float
) -> tuple[BaseGeometry, float]:
    """The part of an outline on ground that was seen before.

    Args:
        geometry: EPSG:4326.
        own: new ground.
        crs: the series' equal-area CRS.
        tolerance_m: one pixel, metres.

    Returns:
        The part, EPSG:4326, and how much of it is more than the tolerance away from new ground, m².
    """
    part = own.off(geometry)
    if part.is_empty:
        return part, 0.0
    fresh = own.on(geometry)
    if fresh.is_empty:
        return geometry, float(transitions.local(geometry, crs).area)
    band = transitions.local(fresh, crs).buffer(tolerance_m)
    return part, float(transitions.local(part, crs).difference(band).area)


def as_if_seen(before: BaseGeometry, after: BaseGeometry, ground: Ground) -> BaseGeometry | None:
    """The outline before, with what is on new ground now as if it had been known; None where that is the same.

    What differs from it differs on ground that was seen before.
    """
    if not (ground.meets(after) or ground.meets(before)):
        return None
    found = ground.on(after)
    if found.is_empty and ground.on(before).is_empty:
        return None
    return clean(transitions.snapped(shapely.union_all, [ground.off(before), found]))


def reach(footprint: BaseGeometry, tolerance_m: float, new: NewGround) -> BaseGeometry:
    """Where objects may be that the observation has to do with, EPSG:4326.

    What is found on new ground may go on in an object that ends at its border, outside the footprint.
    """
    if new.unseen.is_empty:
        return footprint
    return shapely.union(footprint, _widened(new.unseen, tolerance_m))


def around(footprint: BaseGeometry, tolerance_m: float) -> BaseGeometry:
    """A footprint (EPSG:4326) and what is within the tolerance of it."""
    return footprint if footprint.is_empty else _widened(footprint, tolerance_m)


def _widened(geometry: BaseGeometry, tolerance_m: float) -> BaseGeometry:
    _, south, _, north = geometry.bounds
    latitude = min(max(abs(south), abs(north)), _MAX_LATITUDE)
    degrees = 2 * tolerance_m / _METRES_PER_DEGREE / np.cos(np.radians(latitude))
    return shapely.buffer(geometry, float(degrees), quad_segs=2)
