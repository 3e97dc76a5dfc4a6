"""Shapes that cost far more than they look, in a few kilobytes each."""

from __future__ import annotations

from typing import Any

import numpy as np
from shapely.geometry import Polygon, mapping


def knot(vertices: int, *, west: float = 15.0, south: float = 46.0, size: float = 0.5) -> Polygon:
    """A ring whose edges nearly all cross each other."""
    corners = np.random.default_rng(1).random((vertices, 2)) * size + (west, south)
    return Polygon(corners.round(6))


def comb(teeth: int) -> Polygon:
    """A valid polygon; two of them across each other have the square of ``teeth`` crossings."""
    along = np.arange(2 * teeth) / (2 * teeth)
    edge = np.column_stack([along, np.where(np.arange(2 * teeth) % 2, 1.0, 0.0)])
    return Polygon([*edge, (1.0, -0.1), (0.0, -0.1)])


def slanted(vertices: int) -> Polygon:
    """A valid polygon of parallel long edges, whose boxes all meet and whose buffer crosses itself everywhere."""
    at = np.arange(vertices // 2)
    edge = np.column_stack([at * 1e-6 + at % 2, -at * 1e-6 + at % 2])
    return Polygon([*edge, (edge[-1, 0] + 3, edge[-1, 1] - 3), (-3.0, -3.0)])


def as_geojson(shape: Polygon) -> dict[str, Any]:
    """The geometry as JSON has it."""
    document = mapping(shape)
    return {
        "type": document["type"],
        "coordinates": [[list(at) for at in ring] for ring in document["coordinates"]],
    }


def latitude_first(shape: Polygon) -> str:
    """The ring as GeoRSS and GML write it."""
    return " ".join(f"{y} {x}" for x, y in shape.exterior.coords)
