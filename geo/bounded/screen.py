"""Estimate the cost of a geometry before GEOS computes with it.

The number of vertices says little: a ring of 6,000 vertices that crosses itself everywhere has 18 million crossings,
and each becomes a vertex of the result. So crossings are counted, and counting stops as soon as there are too many.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from segwatch.geo.errors import TooComplex

#: The largest published geometries, of countries and burnt areas, have some ten thousand.
MAX_VERTICES = 100_000
#: Number of rings, lines and points.
MAX_PARTS = 10_000
#: Crossings of a geometry with itself; ``make_valid`` takes quadratic time, some 0.2 s for these.
MAX_SELF_CROSSINGS = 300
#: Crossings of all geometries of an overlay; each takes about a kilobyte.
MAX_CROSSINGS = 100_000
#: Valid geometries with at most so many vertices are not screened.
FEW_VERTICES = 300
#: Pairs of edges whose boxes meet, crossing or not; more take GEOS seconds.
_MAX_NEAR_PAIRS = 2_000_000
_PAIRS_PER_BATCH = 200_000


def check_size(*geometries: BaseGeometry, max_vertices: int = MAX_VERTICES) -> int:
    """Count the vertices of all geometries.

    Raises
    ------
    TooComplex
        There are more than ``max_vertices``, or more than :data:`MAX_PARTS` parts.
    """
    vertices = int(shapely.get_num_coordinates(list(geometries)).sum())
    if vertices > max_vertices:
        raise TooComplex(f"its geometry has {vertices} vertices, more than {max_vertices}")
    parts = shapely.get_parts(list(geometries))
    rings = int(np.maximum(shapely.get_num_interior_rings(parts), 0).sum()) + len(parts)
    if rings > MAX_PARTS:
        raise TooComplex(f"its geometry has {rings} parts and holes, more than {MAX_PARTS}")
    return vertices


def check_crossings(*geometries: BaseGeometry, max_crossings: int = MAX_CROSSINGS) -> int:
    """Count the crossings between edges of all geometries; edges that share a vertex do not cross.

    Raises
    ------
    TooComplex
        There are more than ``max_crossings``, or too many edges lie close together to count them.
    """
    starts, ends = _edges(geometries)
    if len(starts) < 2:
        return 0
    boxes: NDArray[Any] = np.asarray(shapely.box(*np.minimum(starts, ends).T, *np.maximum(starts, ends).T))
    tree = shapely.STRtree(boxes)
    step = max(1, _PAIRS_PER_BATCH // len(starts))
    near = found = 0
    for start in range(0, len(starts), step):
        first, second = tree.query(boxes[start : start + step])
        first = first + start
        keep = first < second
        first, second = first[keep], second[keep]
        near += len(first)
        found += _count_crossings(starts, ends, first, second)
        if found > max_crossings:
            raise TooComplex(f"the edges of its geometry cross each other more than {max_crossings} times")
        if near > _MAX_NEAR_PAIRS:
            raise TooComplex("too many edges of its geometry lie close together")
    return found


def _edges(geometries: tuple[BaseGeometry, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (N, 2) start and end points of all edges, without those of length zero."""
    lines = [part for one in geometries for part in _lines(one)]
    if not lines:
        return np.empty((0, 2)), np.empty((0, 2))
    coords, owner = shapely.get_coordinates(lines, return_index=True)
    edge = (owner[:-1] == owner[1:]) & (coords[:-1] != coords[1:]).any(axis=1)
    return coords[:-1][edge], coords[1:][edge]


def _lines(geometry: BaseGeometry) -> list[BaseGeometry]:
    parts = shapely.get_parts([geometry])
    while (shapely.get_type_id(parts) > _LAST_SIMPLE).any():
        parts = shapely.get_parts(parts)
    polygons = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    rings: list[BaseGeometry] = list(shapely.get_rings(parts[polygons])) if polygons.any() else []
    return [*rings, *(one for one in parts[~polygons] if one.geom_type in {"LineString", "LinearRing"})]


#: Type ids above this are collections.
_LAST_SIMPLE = shapely.GeometryType.POLYGON


def _count_crossings(
    starts: NDArray[np.float64], ends: NDArray[np.float64], first: NDArray[np.intp], second: NDArray[np.intp]
) -> int:
    a, b, c, d = starts[first], ends[first], starts[second], ends[second]
    with np.errstate(all="ignore"):
        apart = (_side(a, b, c) * _side(a, b, d) <= 0) & (_side(c, d, a) * _side(c, d, b) <= 0)
    shared = (a == c).all(1) | (a == d).all(1) | (b == c).all(1) | (b == d).all(1)
    return int((apart & ~shared).sum())


def _side(
    begin: NDArray[np.float64], end: NDArray[np.float64], point: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return on which side of lines points lie: 1, 0 or -1."""
    along, to = end - begin, point - begin
    return np.sign(along[:, 0] * to[:, 1] - along[:, 1] * to[:, 0])
