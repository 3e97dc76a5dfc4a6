"""Operations of GEOS on geometries from outside: refused where they cost too much, in a child process where they might.

What has few vertices, as nearly every outline has, is done at once in this process.
"""

from __future__ import annotations

from collections.abc import Sequence

from shapely.geometry import GeometryCollection
from shapely.geometry.base import BaseGeometry

from segwatch.geo.bounded import child, screen
from segwatch.geo.bounded.tasks import Task, compute

#: More crossings, or more vertices than :data:`segwatch.geo.bounded.screen.FEW_VERTICES` to buffer, go to the child.
_FEW_CROSSINGS = 100
#: Overlays of more vertices and crossings go to the child.
_MANY_VERTICES = 20_000


def make_valid(geometry: BaseGeometry) -> BaseGeometry:
    """As :func:`shapely.make_valid`.

    Raises
    ------
    TooComplex
        It would cost too much memory or time.
    """
    check(geometry)
    if geometry.is_valid:
        return geometry
    crossings = screen.check_crossings(geometry, most=screen.MAX_SELF_CROSSINGS)
    return _run(Task.MAKE_VALID, [geometry], apart=crossings > _FEW_CROSSINGS)


def union_all(geometries: Sequence[BaseGeometry]) -> BaseGeometry:
    """As :func:`shapely.union_all`, of valid geometries.

    Raises
    ------
    TooComplex
        It would cost too much memory or time.
    """
    if not geometries:
        return GeometryCollection()
    return _overlay(Task.UNION_ALL, geometries) if len(geometries) > 1 else geometries[0]


def intersection(one: BaseGeometry, other: BaseGeometry) -> BaseGeometry:
    """As :func:`shapely.intersection`, of valid geometries.

    Raises
    ------
    TooComplex
        It would cost too much memory or time.
    """
    return _overlay(Task.INTERSECTION, [one, other])


def difference(one: BaseGeometry, other: BaseGeometry) -> BaseGeometry:
    """As :func:`shapely.difference`, of valid geometries.

    Raises
    ------
    TooComplex
        It would cost too much memory or time.
    """
    return _overlay(Task.DIFFERENCE, [one, other])


def buffer(geometry: BaseGeometry, distance: float, *, quad_segs: int = 16) -> BaseGeometry:
    """As :func:`shapely.buffer`: ``distance`` in units of the geometry.

    Raises
    ------
    TooComplex
        It would cost too much memory or time.
    """
    vertices = screen.check_size(geometry)
    if vertices > screen.FEW_VERTICES:
        screen.check_crossings(geometry)
    return _run(Task.BUFFER, [geometry], distance, float(quad_segs), apart=vertices > screen.FEW_VERTICES)


def check(geometry: BaseGeometry, *, most_vertices: int = screen.MAX_VERTICES) -> None:
    """Make sure that asking whether the geometry is valid, and what it meets, costs little.

    Raises
    ------
    TooComplex
        It would cost too much memory or time.
    """
    if screen.check_size(geometry, most_vertices=most_vertices) > screen.FEW_VERTICES:
        screen.check_crossings(geometry, most=screen.MAX_SELF_CROSSINGS)


def _overlay(task: Task, geometries: Sequence[BaseGeometry]) -> BaseGeometry:
    vertices = screen.check_size(*geometries)
    crossings = screen.check_crossings(*geometries) if vertices > screen.FEW_VERTICES else 0
    return _run(task, geometries, apart=vertices + crossings > _MANY_VERTICES)


def _run(task: Task, geometries: Sequence[BaseGeometry], *numbers: float, apart: bool) -> BaseGeometry:
    if apart:
        return child.run(task, geometries, numbers)
    return compute(task, geometries, numbers)
