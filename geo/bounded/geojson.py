"""GeoJSON geometries from outside: measured before shapely makes objects of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from segwatch.geo.bounded.screen import MAX_PARTS, MAX_VERTICES
from segwatch.geo.errors import TooComplex

#: Collections in collections, and lists of numbers in lists.
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
"""What making a geometry of a document of any shape can end in."""


def read_geometry(document: Any, *, most_vertices: int = MAX_VERTICES) -> BaseGeometry:
    """The geometry of a GeoJSON geometry object, in two dimensions; its coordinates are not looked at.

    Positions may have further numbers after the second, which are left out (RFC 7946, section 3.1.1).

    Raises
    ------
    TooComplex
        It has too many vertices or parts, or is nested too deeply.
    ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, shapely.errors.ShapelyError
        It is no GeoJSON geometry; see :data:`MALFORMED`.
    """
    flat = _bounded(document, most_vertices)
    with np.errstate(invalid="ignore"):
        found: BaseGeometry = shapely.force_2d(shape(flat))
    return found


def _bounded(document: Any, most_vertices: int) -> dict[str, Any]:
    """A copy whose positions have two numbers."""
    left = _Allowance(most_vertices)
    return left.geometry(document, 0)


class _Allowance:
    """Vertices and parts that a document may still have."""

    def __init__(self, vertices: int) -> None:
        self._most = self._vertices = vertices
        self._parts = MAX_PARTS

    def geometry(self, document: Any, depth: int) -> dict[str, Any]:
        if not isinstance(document, dict):
            raise TypeError(f"{type(document).__name__} in place of a geometry")
        self._take_part(depth)
        if document.get("type") == "GeometryCollection":
            parts = document.get("geometries")
            if not isinstance(parts, list):
                raise TypeError("a GeometryCollection without a list of geometries")
            return {
                "type": "GeometryCollection",
                "geometries": [self.geometry(one, depth + 1) for one in parts],
            }
        return {"type": document["type"], "coordinates": self._coordinates(document["coordinates"], depth)}

    def _coordinates(self, given: Any, depth: int) -> Any:
        if not isinstance(given, list | tuple):
            raise TypeError(f"{type(given).__name__} in place of coordinates")
        if given and not isinstance(given[0], list | tuple):
            self._vertices -= 1
            if self._vertices < 0:
                raise TooComplex(f"its outline has more than {self._most} vertices")
            return given[:2]
        self._take_part(depth)
        return [self._coordinates(one, depth + 1) for one in given]

    def _take_part(self, depth: int) -> None:
        self._parts -= 1
        if depth > _MAX_DEPTH:
            raise TooComplex(f"its outline is nested more than {_MAX_DEPTH} times")
        if self._parts < 0:
            raise TooComplex(f"its outline has more than {MAX_PARTS} parts and holes")
