"""What happened to one object between two looks: its new outline, and whether that is a change.

Outlines are combined in EPSG:4326, so that ground nobody looked at keeps its coordinates; sizes are compared in
the series' equal-area CRS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import polygonal_parts
from segwatch.geo.crs import to_local, to_local_all
from segwatch.geo.polygons import clean
from segwatch.geo.types.tracking import ChangeKind
from segwatch.geo.types.watch import TrackingSettings

Geometries = NDArray[Any]
"""(N,) object array of shapely geometries."""

#: Overlay operations snap to the first of these grids that works, degrees (0.1 mm to 1 mm): touching edges meet
#: instead of leaving hairlines. On a given grid valid outlines may, rarely, snap into ones that cross.
_SNAPS = (1e-9, 2e-9, 1e-8)
#: Left-over pieces below this share of the tolerance squared are rounding along the footprint's edge.
_SLIVER = 0.01
_METRES_PER_DEGREE = 111_320.0


def hidden(geometry: BaseGeometry, footprint: BaseGeometry, crs: CRS, tolerance_m: float) -> BaseGeometry:
    """The part of an outline outside the observed footprint, EPSG:4326, without slivers.

    It reaches a hundredth of the tolerance into the footprint: one edge cut into different steps before
    reprojection bends differently, and what is found on the other side shall join without a hairline.
    """
    rest = polygonal_parts(snapped(shapely.difference, geometry, footprint))
    kept = [part for part in rest if to_local(part, crs).area > _SLIVER * tolerance_m**2]
    if not kept:
        return Polygon()
    reach = _SLIVER * tolerance_m / _METRES_PER_DEGREE
    widened = shapely.union_all(shapely.buffer(kept, reach, join_style="mitre"))
    return clean(shapely.intersection(widened, geometry))


def composite(rest: BaseGeometry, found: list[BaseGeometry]) -> BaseGeometry:
    """(old outline - footprint) ∪ what was found within it, EPSG:4326."""
    if rest.is_empty and len(found) == 1:
        return found[0]
    return clean(snapped(shapely.union_all, [rest, *found]))


def joined(outlines: Sequence[BaseGeometry], tolerance_m: float) -> BaseGeometry:
    """The union of outlines that were cut at one border, EPSG:4326.

    One edge cut into different steps bends differently: hairlines between them are closed, up to a fiftieth of the
    tolerance.
    """
    whole = composite(Polygon(), list(outlines))
    if isinstance(whole, Polygon):
        return whole
    reach = _SLIVER * tolerance_m / _METRES_PER_DEGREE
    closed = shapely.buffer(shapely.buffer(whole, reach, join_style="mitre"), -reach, join_style="mitre")
    gaps = polygonal_parts(snapped(shapely.difference, closed, whole))
    return composite(whole, list(gaps)) if gaps else whole


def gained(before: BaseGeometry, after: BaseGeometry) -> BaseGeometry | None:
    """Ground in ``after`` only; None when there is none."""
    part = clean(snapped(shapely.difference, after, before))
    return None if part.is_empty else part


def compare(
    before: Geometries,
    after: Geometries,
    before_m2: NDArray[np.float64],
    after_m2: NDArray[np.float64],
    settings: TrackingSettings,
    least_m2: NDArray[np.float64],
) -> list[ChangeKind | None]:
    """Grew, shrank, moved or, within noise, nothing; for each of N objects.

    Differences within one tolerance of the old boundary are registration; what is left must exceed both the
    absolute and the relative minimum. It moved when it lost about as much ground as it gained.

    Args:
        before: (N,) outlines in the series' equal-area CRS.
        after: (N,) outlines there.
        before_m2: (N,) geodesic areas.
        after_m2: (N,) geodesic areas.
        settings: the watch's numbers.
        least_m2: (N,) what must be exceeded besides, m².
    """
    old_area = shapely.area(before)
    least = np.maximum(settings.min_change_m2, settings.min_change_ratio * old_area)
    least = np.maximum(least, least_m2)
    # with the noise along the boundary or without: where even the whole difference is too little, nothing happened
    common = shapely.area(shapely.intersection(before, after))
    open_ = np.flatnonzero(old_area + shapely.area(after) - 2 * common > least)
    kinds: list[ChangeKind | None] = [None] * len(before)
    old, new = before[open_], after[open_]
    more = shapely.area(shapely.difference(new, shapely.buffer(old, settings.tolerance_m)))
    less = shapely.area(shapely.difference(shapely.buffer(old, -settings.tolerance_m), new))
    for index, gain, loss in zip(open_.tolist(), more.tolist(), less.tolist(), strict=True):
        kinds[index] = _kind(gain, loss, float(after_m2[index] - before_m2[index]), float(least[index]))
    return kinds


def _kind(more: float, less: float, net: float, least: float) -> ChangeKind | None:
    if more + less <= least:
        return None
    if min(more, less) > least / 2 and abs(net) <= least:
        return ChangeKind.MOVED
    return ChangeKind.GREW if net > 0 else ChangeKind.SHRANK


def local(geometry: BaseGeometry, crs: CRS) -> BaseGeometry:
    """EPSG:4326 -> the equal-area CRS, valid."""
    moved: BaseGeometry = local_all([geometry], crs)[0]
    return moved


def snapped(operation: Callable[..., BaseGeometry], *operands: object) -> BaseGeometry:
    """The result of a shapely overlay on the finest grid that works, without one where none does."""
    for size in _SNAPS:
        try:
            return operation(*operands, grid_size=size)
        except shapely.errors.GEOSException:
            continue
    return operation(*operands)


def array(geometries: Sequence[BaseGeometry | None]) -> Geometries:
    """(N,) object array of them."""
    made = np.empty(len(geometries), dtype=object)
    made[:] = geometries
    return made


def local_all(geometries: Sequence[BaseGeometry], crs: CRS) -> Geometries:
    """EPSG:4326 -> (N,) valid polygons in the equal-area CRS: reprojection may make nearly touching edges cross."""
    moved = to_local_all(array(geometries), crs)
    for index in np.flatnonzero(~shapely.is_valid(moved)):
        parts = polygonal_parts(shapely.make_valid(moved[index]))
        moved[index] = shapely.union_all(parts) if parts else Polygon()
    return moved
