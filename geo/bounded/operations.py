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
#: Operations in the child that may take too much before the others are given up.
_MAX_REFUSED = 8


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

    Parts may be large: what has many vertices is computed in the child, whose memory and time are limited. Only
    one part is in memory here at a time, and none is read after nothing is left. A part that takes too much is not
    subtracted, and after some of these no other one: what is left is then too large, not too small.
    """
    left, refused = geometry, 0
    for part in parts:
        if shapely.intersects(left, part):
            vertices = int(shapely.get_num_coordinates(left) + shapely.get_num_coordinates(part))
            try:
                left = _run(Task.DIFFERENCE, [left, part], in_child=vertices > screen.FEW_VERTICES)
            except TooComplex:
                refused += 1
        if left.is_empty or refused >= _MAX_REFUSED:
            break
    return left


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
