"""Read untrusted GeoJSON geometries: count vertices, parts and depth before shapely creates objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from segwatch.geo.bounded.screen import MAX_PARTS, MAX_VERTICES
from segwatch.geo.errors import TooComplex

#: Nesting of collections and of coordinate lists.
_MAX_DEPTH = 10
MALFORMED = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
    shapely.errors.ShapelyError,
)
"""Errors that :func:`read_geometry` may raise for a document that is not a geometry."""


def read_geometry(document: Any, *, max_vertices: int = MAX_VERTICES) -> BaseGeometry:
    """Convert a GeoJSON geometry object to shapely, in two dimensions, without checking the range of coordinates.

    Numbers after the second of a position are dropped (RFC 7946, section 3.1.1).

    Raises
    ------
    TooComplex
        The geometry has too many vertices or parts, or is nested too deeply.
    ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, shapely.errors.ShapelyError
        The document is not a GeoJSON geometry; see :data:`MALFORMED`.
    """
    flat = _Budget(max_vertices).copy_geometry(document, 0)
    with np.errstate(invalid="ignore"):
        found: BaseGeometry = shapely.force_2d(shape(flat))
    return found


class _Budget:
    """Copies a geometry object to positions of two numbers, within a budget of vertices and parts."""

    def __init__(self, vertices: int) -> None:
        self._max_vertices = self._vertices = vertices
        self._parts = MAX_PARTS

    def copy_geometry(self, document: Any, depth: int) -> dict[str, Any]:
        if not isinstance(document, dict):
            raise TypeError(f"{type(document).__name__} instead of a geometry")
        self._take_part(depth)
        if document.get("type") == "GeometryCollection":
            parts = document.get("geometries")
            if not isinstance(parts, list):
                raise TypeError("a GeometryCollection without a list of geometries")
            return {
                "type": "GeometryCollection",
                "geometries": [self.copy_geometry(one, depth + 1) for one in parts],
            }
        return {
            "type": document["type"],
            "coordinates": self._copy_coordinates(document["coordinates"], depth),
        }

    def _copy_coordinates(self, given: Any, depth: int) -> Any:
        if not isinstance(given, list | tuple):
            raise TypeError(f"{type(given).__name__} instead of coordinates")
        if given and not isinstance(given[0], list | tuple):
            self._vertices -= 1
            if self._vertices < 0:
                raise TooComplex(f"its geometry has more than {self._max_vertices} vertices")
            return given[:2]
        self._take_part(depth)
        return [self._copy_coordinates(one, depth + 1) for one in given]

    def _take_part(self, depth: int) -> None:
        self._parts -= 1
        if depth > _MAX_DEPTH:
            raise TooComplex(f"its geometry is nested more than {_MAX_DEPTH} levels deep")
        if self._parts < 0:
            raise TooComplex(f"its geometry has more than {MAX_PARTS} parts and holes")
