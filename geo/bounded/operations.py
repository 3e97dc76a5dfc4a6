"""GEOS operations on untrusted geometries: cheap ones run here, doubtful ones in a child process, expensive ones never.

Nearly all geometries have few vertices and are computed in this process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import shapely
from shapely.geometry import GeometryCollection
from shapely.geometry.base import BaseGeometry

from segwatch.geo.bounded import child, screen
from segwatch.geo.bounded.tasks import Task, compute
from segwatch.geo.errors import TooComplex

#: Repairs with more crossings run in the child; so do buffers of more than FEW_VERTICES vertices.
_FEW_CROSSINGS = 100
#: Overlays with more vertices and crossings run in the child.
_MANY_VERTICES = 20_000
#: How often a subtraction that is too complex is cut into four.
_MAX_CUTS = 3


def make_valid(geometry: BaseGeometry) -> BaseGeometry:
    """Repair a geometry like :func:`shapely.make_valid`.

    Raises
    ------
    TooComplex
        The operation would take too much memory or time.
    """
    check(geometry)
    if geometry.is_valid:
        return geometry
    crossings = screen.check_crossings(geometry, max_crossings=screen.MAX_SELF_CROSSINGS)
    return _run(Task.MAKE_VALID, [geometry], in_child=crossings > _FEW_CROSSINGS)


def union_all(geometries: Sequence[BaseGeometry]) -> BaseGeometry:
    """Compute the union of valid geometries like :func:`shapely.union_all`.

    Raises
    ------
    TooComplex
        The operation would take too much memory or time.
    """
    if not geometries:
        return GeometryCollection()
    return _overlay(Task.UNION_ALL, geometries) if len(geometries) > 1 else geometries[0]


def intersection(one: BaseGeometry, other: BaseGeometry) -> BaseGeometry:
    """Compute the intersection of valid geometries like :func:`shapely.intersection`.

    Raises
    ------
    TooComplex
        The operation would take too much memory or time.
    """
    return _overlay(Task.INTERSECTION, [one, other])


def difference(one: BaseGeometry, other: BaseGeometry) -> BaseGeometry:
    """Compute the difference of valid geometries like :func:`shapely.difference`.

    Raises
    ------
    TooComplex
        The operation would take too much memory or time.
    """
    return _overlay(Task.DIFFERENCE, [one, other])


def subtract_all(geometry: BaseGeometry, parts: Iterable[BaseGeometry]) -> BaseGeometry:
    """Subtract valid geometries from one, one after the other, until nothing is left.

    Only one part is in memory at a time, and parts that come after nothing is left are not read. What would take too
    much is computed in pieces. A piece that does even then stays, so that what is left is too large rather than too
    small.
    """
    left = geometry
    for part in parts:
        if shapely.intersects(left, part):
            left = _subtract(left, part, _MAX_CUTS)
        if left.is_empty:
            break
    return left


def _subtract(geometry: BaseGeometry, part: BaseGeometry, cuts: int) -> BaseGeometry:
    try:
        return difference(geometry, part)
    except TooComplex:
        if not cuts:
            return geometry
    west, south, east, north = geometry.bounds
    middle, centre = (west + east) / 2, (south + north) / 2
    pieces: list[BaseGeometry] = []
    for box in (
        (west, south, middle, centre),
        (middle, south, east, centre),
        (west, centre, middle, north),
        (middle, centre, east, north),
    ):
        piece, inside = (_keep_polygons(shapely.clip_by_rect(one, *box)) for one in (geometry, part))
        if piece.is_empty or inside.is_empty or not inside.is_valid:
            pieces.append(piece)
        else:
            pieces.append(_subtract(piece, inside, cuts - 1))
    return shapely.multipolygons([one for piece in pieces for one in shapely.get_parts(piece)])


def _keep_polygons(geometry: BaseGeometry) -> BaseGeometry:
    parts = shapely.get_parts(geometry)
    return shapely.multipolygons(parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON])


def buffer(geometry: BaseGeometry, distance: float, *, quad_segs: int = 16) -> BaseGeometry:
    """Buffer a geometry like :func:`shapely.buffer`, by a distance in units of its CRS.

    Raises
    ------
    TooComplex
        The operation would take too much memory or time.
    """
    vertices = screen.check_size(geometry)
    if vertices > screen.FEW_VERTICES:
        screen.check_crossings(geometry)
    return _run(Task.BUFFER, [geometry], distance, float(quad_segs), in_child=vertices > screen.FEW_VERTICES)


def check(geometry: BaseGeometry, *, max_vertices: int = screen.MAX_VERTICES) -> None:
    """Check that predicates (``is_valid``, ``intersects``) on the geometry are cheap.

    Raises
    ------
    TooComplex
        The operation would take too much memory or time.
    """
    if screen.check_size(geometry, max_vertices=max_vertices) > screen.FEW_VERTICES:
        screen.check_crossings(geometry, max_crossings=screen.MAX_SELF_CROSSINGS)


def _overlay(task: Task, geometries: Sequence[BaseGeometry]) -> BaseGeometry:
    vertices = screen.check_size(*geometries)
    crossings = screen.check_crossings(*geometries) if vertices > screen.FEW_VERTICES else 0
    return _run(task, geometries, in_child=vertices + crossings > _MANY_VERTICES)


def _run(task: Task, geometries: Sequence[BaseGeometry], *numbers: float, in_child: bool) -> BaseGeometry:
    if in_child:
        return child.run(task, geometries, numbers)
    return compute(task, geometries, numbers)
