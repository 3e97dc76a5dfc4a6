"""What happened to one object between two looks: its new outline, and whether that is a change.

Outlines are combined in EPSG:4326, so that ground nobody looked at keeps its coordinates; sizes are compared in
the series' equal-area CRS.
"""

from __future__ import annotations

from collections.abc import Callable

import shapely
from pyproj import CRS
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import geodesic_m2, polygonal_parts
from segwatch.geo.crs import to_local
from segwatch.geo.polygons import clean
from segwatch.geo.types import ChangeKind, TrackingSettings

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
    rest = polygonal_parts(_snapped(shapely.difference, geometry, footprint))
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
    return clean(_snapped(shapely.union_all, [rest, *found]))


def gained(before: BaseGeometry, after: BaseGeometry) -> BaseGeometry | None:
    """Ground in ``after`` only; None when there is none."""
    part = clean(_snapped(shapely.difference, after, before))
    return None if part.is_empty else part


def compare(
    before: BaseGeometry, after: BaseGeometry, crs: CRS, settings: TrackingSettings
) -> ChangeKind | None:
    """Grew, shrank, moved or, within noise, nothing.

    Differences within one tolerance of the old boundary are registration; what is left must exceed both the
    absolute and the relative minimum. It moved when it lost about as much ground as it gained.
    """
    old, new = _sound(to_local(before, crs)), _sound(to_local(after, crs))
    tolerance = settings.tolerance_m
    more = new.difference(old.buffer(tolerance)).area
    less = old.buffer(-tolerance).difference(new).area
    least = max(settings.min_change_m2, settings.min_change_ratio * old.area)
    if more + less <= least:
        return None
    net = geodesic_m2(after) - geodesic_m2(before)
    if min(more, less) > least / 2 and abs(net) <= least:
        return ChangeKind.MOVED
    return ChangeKind.GREW if net > 0 else ChangeKind.SHRANK


def local(geometry: BaseGeometry, crs: CRS) -> BaseGeometry:
    """EPSG:4326 -> the equal-area CRS, valid."""
    return _sound(to_local(geometry, crs))


def _snapped(operation: Callable[..., BaseGeometry], *operands: object) -> BaseGeometry:
    """The result of a shapely overlay on the finest grid that works, without one where none does."""
    for size in _SNAPS:
        try:
            return operation(*operands, grid_size=size)
        except shapely.errors.GEOSException:
            continue
    return operation(*operands)


def _sound(geometry: BaseGeometry) -> BaseGeometry:
    """Valid polygons: reprojection may make nearly touching edges cross."""
    if geometry.is_valid:
        return geometry
    parts = polygonal_parts(shapely.make_valid(geometry))
    return shapely.union_all(parts) if parts else Polygon()
