"""Mask -> valid, oriented polygons with holes."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import shapes
from scipy import ndimage
from shapely.geometry import MultiPolygon, Polygon, shape
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from segwatch.geo.antimeridian import split
from segwatch.geo.area import geodesic_m2, polygonal_parts
from segwatch.geo.crs import to_lonlat
from segwatch.geo.grid import PixelGrid
from segwatch.geo.types import Detection

#: Edges are cut to this many pixels before reprojection, so that a straight pixel edge stays on the ground.
_LONGEST_EDGE_PX = 64


def trace(
    mask: NDArray[np.bool_],
    logits: NDArray[np.float32],
    grid: PixelGrid,
    *,
    target: str,
    min_area_m2: float = 0.0,
    connectivity: int = 4,
) -> list[Detection]:
    """One detection for each connected region of the mask, in row-major order of its first pixel.

    Edges follow pixel edges exactly; holes are kept; the score is the mean sigmoid of ``logits`` over the
    region. ``connectivity`` is 4 or 8; regions that touch only at a corner are one with 8.
    """
    structure = ndimage.generate_binary_structure(2, 1 if connectivity == 4 else 2)
    labels, count = ndimage.label(mask, structure)
    if not count:
        return []
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    scores = ndimage.mean(probability, labels, np.arange(1, count + 1))
    parts: dict[int, list[BaseGeometry]] = {}
    for outline, label in shapes(
        labels.astype(np.int32), mask=mask, connectivity=4, transform=grid.transform
    ):
        parts.setdefault(int(label), []).append(shape(outline))
    found = []
    for label in sorted(parts):
        geometry = as_lonlat(parts[label], grid)
        area = geodesic_m2(geometry)
        if area >= min_area_m2:
            found.append(Detection(target, geometry, float(scores[label - 1]), area))
    return found


def as_lonlat(parts: list[BaseGeometry], grid: PixelGrid) -> BaseGeometry:
    """Polygons in the grid's CRS -> one clean EPSG:4326 geometry."""
    joined = shapely.union_all(parts) if len(parts) > 1 else parts[0]
    longest = _LONGEST_EDGE_PX * abs(grid.transform.a)
    return clean(split(to_lonlat(joined.segmentize(longest), grid.crs)))


def clean(geometry: BaseGeometry) -> BaseGeometry:
    """Valid, polygonal, oriented (exterior rings counter-clockwise, RFC 7946); slivers of no area dropped."""
    if not geometry.is_valid:
        geometry = shapely.make_valid(geometry, method="structure", keep_collapsed=False)
    polygons = [orient(part) for part in polygonal_parts(geometry) if part.area > 0]
    if not polygons:
        return Polygon()
    return polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)
