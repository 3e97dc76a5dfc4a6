"""How much a geometry will cost, told before anything expensive is done with it.

The number of vertices says little: a ring of 6 000 vertices that crosses itself everywhere has 18 million crossings,
and each of them becomes a vertex of whatever GEOS makes of it. So crossings are counted here, and the counting stops as
soon as there are too many.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from segwatch.geo.errors import TooComplex

#: The largest outlines that are published, of countries and of burnt areas, have some ten thousand.
MAX_VERTICES = 100_000
#: Rings, lines and points.
MAX_PARTS = 10_000
#: Of a geometry with itself. The time of ``make_valid`` grows with their square: these take some 0.2 s.
MAX_SELF_CROSSINGS = 300
#: Of all geometries of an overlay with each other; each takes about a kilobyte.
MAX_CROSSINGS = 100_000
#: Geometries of no more vertices are taken as they are, unless they are invalid.
FEW_VERTICES = 300
#: Pairs of edges whose boxes meet, whether they cross or not: what is beyond takes GEOS seconds.
_MAX_NEAR_PAIRS = 2_000_000
_PAIRS_AT_ONCE = 200_000


def check_size(*geometries: BaseGeometry, most_vertices: int = MAX_VERTICES) -> int:
    """The number of vertices of all geometries.

    Raises
    ------
    TooComplex
        They have more than ``most_vertices``, or more than :data:`MAX_PARTS` parts.
    """
    vertices = int(shapely.get_num_coordinates(list(geometries)).sum())
    if vertices > most_vertices:
        raise TooComplex(f"its outline has {vertices} vertices, more than {most_vertices}")
    parts = shapely.get_parts(list(geometries))
    rings = int(np.maximum(shapely.get_num_interior_rings(parts), 0).sum()) + len(parts)
    if rings > MAX_PARTS:
        raise TooComplex(f"its outline has {rings} parts and holes, more than {MAX_PARTS}")
    return vertices


def check_crossings(*geometries: BaseGeometry, most: int = MAX_CROSSINGS) -> int:
    """The number of crossings between edges of all geometries.

    Edges that meet at vertices of both do not cross.

    Raises
    ------
    TooComplex
        There are more than ``most``, or too many edges lie close together to count them.
    """
    begins, ends = _edges(geometries)
    if len(begins) < 2:
        return 0
    boxes: NDArray[Any] = np.asarray(shapely.box(*np.minimum(begins, ends).T, *np.maximum(begins, ends).T))
    tree = shapely.STRtree(boxes)
    step = max(1, _PAIRS_AT_ONCE // len(begins))
    near = found = 0
    for start in range(0, len(begins), step):
        first, second = tree.query(boxes[start : start + step])
        first = first + start
        keep = first < second
        first, second = first[keep], second[keep]
        near += len(first)
        found += _count_crossings(begins, ends, first, second)
        if found > most:
            raise TooComplex(f"the edges of its outline cross each other more than {most} times")
        if near > _MAX_NEAR_PAIRS:
            raise TooComplex("too many edges of its outline lie close together")
    return found


def _edges(geometries: tuple[BaseGeometry, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, 2) begins and ends of all edges, each with a length."""
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


#: Types after it are collections.
_LAST_SIMPLE = shapely.GeometryType.POLYGON


def _count_crossings(
    begins: NDArray[np.float64], ends: NDArray[np.float64], first: NDArray[np.intp], second: NDArray[np.intp]
) -> int:
    a, b, c, d = begins[first], ends[first], begins[second], ends[second]
    with np.errstate(all="ignore"):
        apart = (_side(a, b, c) * _side(a, b, d) <= 0) & (_side(c, d, a) * _side(c, d, b) <= 0)
    shared = (a == c).all(1) | (a == d).all(1) | (b == c).all(1) | (b == d).all(1)
    return int((apart & ~shared).sum())


def _side(
    begin: NDArray[np.float64], end: NDArray[np.float64], point: NDArray[np.float64]
) -> NDArray[np.float64]:
    """On which side of lines points lie: 1, 0 or -1."""
    along, to = end - begin, point - begin
    return np.sign(along[:, 0] * to[:, 1] - along[:, 1] * to[:, 0])
