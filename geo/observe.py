"""Stitched logits and what was seen -> observed footprint and detections."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import geodesic_m2
from segwatch.geo.footprint import inside, observed
from segwatch.geo.grid import PixelGrid
from segwatch.geo.polygons import clean, trace
from segwatch.geo.stitch import Stitched
from segwatch.geo.types import Detection

__all__ = ["inside", "observe"]


def observe(
    stitched: Stitched,
    seen: NDArray[np.bool_],
    area: BaseGeometry,
    grid: PixelGrid,
    *,
    label: Callable[[int], str],
    min_polygon_m2: float,
) -> tuple[BaseGeometry, list[Detection]]:
    """Footprint and detections of one instruction on one scene.

    A pixel counts where it was seen, a tile answered it and its centre lies in the area. Detections are
    covered by the footprint; regions that stick out of the area by part of a pixel are clipped to it.
    """
    usable = seen & stitched.known & inside(area, grid)
    footprint = observed(area, usable, grid)
    found: list[Detection] = []
    for index, logits in enumerate(stitched.logits):
        mask = (logits > 0) & usable
        traced = trace(mask, logits, grid, target=label(index), min_area_m2=min_polygon_m2)
        found.extend(_clip(traced, area))
    return footprint, found


def _clip(detections: list[Detection], area: BaseGeometry) -> list[Detection]:
    shapely.prepare(area)
    clipped = []
    for one in detections:
        if area.covers(one.geometry):
            clipped.append(one)
            continue
        geometry = clean(one.geometry.intersection(area))
        if not geometry.is_empty:
            clipped.append(Detection(one.target, geometry, one.score, geodesic_m2(geometry)))
    return clipped
