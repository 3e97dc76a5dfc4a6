"""Compute the AOI of an event."""

from __future__ import annotations

from shapely.geometry.base import BaseGeometry

from segwatch.geo.antimeridian import compute_bounds, compute_centre, compute_width, split_at_antimeridian
from segwatch.geo.area import compute_area_m2, extract_polygons
from segwatch.geo.bounded import operations
from segwatch.geo.crs import make_local_equal_area, to_crs, to_lonlat
from segwatch.geo.errors import AreaError, InvalidEvent, TooComplex
from segwatch.geo.grid import make_grid
from segwatch.geo.types.event import Event

_MAX_WIDTH_DEGREES = 90.0
#: Any pixel size does: whether one grid can hold the area depends on its extent only.
_COARSE_M = 1000.0


def compute_area(event: Event, *, radius_km: float, largest_km2: float) -> BaseGeometry:
    """Return the polygons of an event, or a buffer of ``radius_km`` around its points and lines.

    Returns
    -------
    BaseGeometry
        Polygon or MultiPolygon, EPSG:4326, split at the antimeridian.

    Raises
    ------
    InvalidEvent
        The area is larger than ``largest_km2``, too long for one pixel grid, or cannot be computed.
    """
    try:
        own = operations.union_all(extract_polygons(event.geometry))
        area = own if not own.is_empty else _around(event.geometry, radius_km * 1000)
    except TooComplex as error:
        raise InvalidEvent(f"{event.source}/{event.external_id}: {error}") from error
    if not area.is_valid or area.is_empty:
        raise InvalidEvent(f"{event.source}/{event.external_id}: no area can be computed from its location")
    degrees = compute_width(compute_bounds(area))
    km2 = compute_area_m2(area) / 1e6
    if km2 > largest_km2:
        raise InvalidEvent(
            f"{event.source}/{event.external_id}: its area of {km2:.0f} km2 is larger than the playbook's "
            f"{largest_km2:g}; name a smaller one with --area"
        )
    if degrees > _MAX_WIDTH_DEGREES:
        raise InvalidEvent(
            f"{event.source}/{event.external_id}: its area spans {degrees:.0f} degrees of longitude; "
            "name a part of it with --area"
        )
    try:
        make_grid(area, _COARSE_M)
    except AreaError as error:
        raise InvalidEvent(
            f"{event.source}/{event.external_id}: {error}, or name a part of it with --area"
        ) from error
    return area


def _around(place: BaseGeometry, metres: float) -> BaseGeometry:
    crs = make_local_equal_area(compute_centre(place))
    try:
        return split_at_antimeridian(
            to_lonlat(operations.buffer(to_crs(place, crs), metres, quad_segs=16), crs)
        )
    except ValueError as error:
        raise InvalidEvent(f"its location cannot be projected: {error}") from error
