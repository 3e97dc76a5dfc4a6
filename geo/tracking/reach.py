"""What an observation reaches: the objects, open changes and earlier detections that its fold may depend on.

A scene that arrives in order is folded over what the ledger loads near it; after a late one, later scenes are folded
again over all that this fold remembers. Both must end in the same state. An observation is therefore folded over what
lies within its reach, however much more is known, and what is loaded for it is at least that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from segwatch.geo.tracking.ground import to_degrees, widen_footprint
from segwatch.geo.tracking.holds import NEAR
from segwatch.geo.tracking.overlay import Geometries, to_array
from segwatch.geo.tracking.registration import MAX_SHIFT_TOLERANCES

#: How far an observation or an earlier one may be moved along both axes, tolerances.
_MOVED = math.sqrt(2) * MAX_SHIFT_TOLERANCES
#: Distance from the footprint as it was read up to which the fold asks for anything, tolerances: the neighbours of what
#: appears at the edge of the moved footprint are the farthest.
_REACH = _MOVED + NEAR
#: By how much more a footprint is widened than it has to reach: the corners of a widened one are cut off.
_CORNERS = 1 / math.cos(math.pi / 8) + 0.01


@dataclass(frozen=True, slots=True)
class Reach:
    """The ground within reach of an observation."""

    footprint: BaseGeometry
    """As it was read, EPSG:4326."""
    distance: float
    """Degrees."""

    @classmethod
    def of(cls, footprint: BaseGeometry, tolerance_m: float) -> Self:
        """Return the reach of an observation with a registration tolerance (metres)."""
        shapely.prepare(footprint)
        return cls(footprint, to_degrees(footprint, _REACH * tolerance_m))

    def covers(self, geometries: Geometries) -> NDArray[np.bool_]:
        """Return which of N geometries (EPSG:4326) lie within reach at least in part, (N,)."""
        west, south, east, north = self.footprint.bounds
        around = shapely.box(
            west - self.distance, south - self.distance, east + self.distance, north + self.distance
        )
        covered = np.asarray(shapely.intersects(around, geometries))
        covered[covered] = shapely.dwithin(self.footprint, geometries[covered], self.distance)
        return covered


@dataclass(frozen=True, slots=True)
class PastReach:
    """The detections of earlier observations that count: those within reach, and on objects that are affected.

    An object that is seen by a corner is judged by whether it was detected as a whole.
    """

    reach: Reach
    objects: shapely.STRtree
    """Geometries of the objects that the observation may affect, EPSG:4326."""

    def covers(self, geometries: Geometries) -> NDArray[np.bool_]:
        """Return which of N detections (EPSG:4326), moved onto the series, count, (N,)."""
        covered = self.reach.covers(geometries)
        beyond = np.flatnonzero(~covered)
        covered[beyond[self.objects.query(geometries[beyond], predicate="intersects")[0]]] = True
        return covered


def widen_to_reach(footprint: BaseGeometry, tolerance_m: float) -> BaseGeometry:
    """Widen a footprint as it was read (EPSG:4326) by all that an observation of it reaches, or more."""
    return widen_footprint(footprint, _CORNERS * _REACH * tolerance_m)


def widen_to_past(
    footprint: BaseGeometry, objects: Iterable[BaseGeometry], tolerance_m: float
) -> BaseGeometry:
    """Widen a footprint (EPSG:4326) by all detections that :class:`PastReach` counts, as they were read, or more.

    Parameters
    ----------
    footprint
        As it was read.
    objects
        At least the objects that the observation may affect.
    tolerance_m
        Registration tolerance, metres.
    """
    known = to_array(list(objects))
    shapely.prepare(footprint)
    # new ground reaches two tolerances beyond the moved footprint
    affected = shapely.dwithin(footprint, known, to_degrees(footprint, (_MOVED + 3) * tolerance_m))
    beyond: Sequence[BaseGeometry] = known[affected & ~shapely.covers(footprint, known)].tolist()
    whole = shapely.union_all([footprint, *beyond]) if beyond else footprint
    return widen_footprint(whole, _CORNERS * (_REACH + _MOVED) * tolerance_m)
