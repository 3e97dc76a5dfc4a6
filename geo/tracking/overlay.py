"""Polygon overlay that survives rounding, and reprojection into the series' equal-area CRS.

Geometries are combined in EPSG:4326, so that unobserved parts keep their exact coordinates. A long edge that two
scenes cut into different steps bends differently once it is reprojected; several functions here remove the slivers and
hairlines that follow from it.
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

from segwatch.geo.area import extract_polygons
from segwatch.geo.crs import to_crs, to_crs_all
from segwatch.geo.polygons import clean

Geometries = NDArray[Any]
"""(N,) object array of shapely geometries."""

METRES_PER_DEGREE = 111_320.0
"""Metres per degree of latitude, and of longitude at the equator."""

#: Grid sizes in degrees (0.1 mm to 1 mm) to snap overlays to; the first that works is used. Snapping joins touching
#: edges without hairlines. On any one grid, valid polygons may, rarely, snap into crossing ones.
_SNAP_GRIDS_DEG = (1e-9, 2e-9, 1e-8)
#: Pieces smaller than this share of the tolerance squared are slivers along the footprint's edge.
_SLIVER = 0.01


def apply_snapped(operation: Callable[..., BaseGeometry], *operands: object) -> BaseGeometry:
    """Apply a shapely overlay operation on the finest grid that works, or without a grid where none works."""
    for size in _SNAP_GRIDS_DEG:
        try:
            return operation(*operands, grid_size=size)
        except shapely.errors.GEOSException:
            continue
    return operation(*operands)


def to_array(geometries: Sequence[BaseGeometry | None]) -> Geometries:
    """Put geometries into an (N,) object array."""
    made = np.empty(len(geometries), dtype=object)
    made[:] = geometries
    return made


def compute_metres_per_degree(geometry: BaseGeometry) -> NDArray[np.float64]:
    """Compute metres per degree of longitude and latitude, (2,), in the middle latitude of an EPSG:4326 geometry."""
    _, south, _, north = geometry.bounds
    return np.array([max(np.cos(np.radians((south + north) / 2)), 1e-3), 1.0]) * METRES_PER_DEGREE


def measure(region: BaseGeometry) -> tuple[float, float]:
    """Measure the area, m², and mean width, m, of an EPSG:4326 region."""
    scale = compute_metres_per_degree(region)
    plane = shapely.transform(region, lambda coordinates: coordinates * scale)
    return float(plane.area), 2 * float(plane.area) / max(float(plane.length), 1e-9)


def project(geometry: BaseGeometry, crs: CRS) -> BaseGeometry:
    """Project one EPSG:4326 geometry to the equal-area CRS; see :func:`project_all`."""
    projected: BaseGeometry = project_all([geometry], crs)[0]
    return projected


def project_all(geometries: Sequence[BaseGeometry], crs: CRS) -> Geometries:
    """Project N EPSG:4326 geometries to the equal-area CRS.

    Reprojection can make nearly touching edges cross; such geometries are mended.

    Returns
    -------
    Geometries
        (N,) valid geometries in ``crs``.
    """
    projected = to_crs_all(to_array(geometries), crs)
    for index in np.flatnonzero(~shapely.is_valid(projected)):
        parts = extract_polygons(shapely.make_valid(projected[index]))
        projected[index] = shapely.union_all(parts) if parts else Polygon()
    return projected


def extract_unobserved(
    geometry: BaseGeometry, footprint: BaseGeometry, crs: CRS, tolerance_m: float
) -> BaseGeometry:
    """Extract the part of a geometry outside the observed footprint, without slivers.

    The part reaches a hundredth of the tolerance into the footprint, so that it joins the detections on the other side
    without a hairline.

    Parameters
    ----------
    geometry, footprint
        EPSG:4326.
    crs
        The series' equal-area CRS, in which slivers are measured.
    tolerance_m
        Registration tolerance, metres.

    Returns
    -------
    BaseGeometry
        EPSG:4326; empty where the footprint covers the geometry.
    """
    rest = extract_polygons(apply_snapped(shapely.difference, geometry, footprint))
    kept = [part for part in rest if to_crs(part, crs).area > _SLIVER * tolerance_m**2]
    if not kept:
        return Polygon()
    reach = _SLIVER * tolerance_m / METRES_PER_DEGREE
    widened = shapely.union_all(shapely.buffer(kept, reach, join_style="mitre"))
    return clean(shapely.intersection(widened, geometry))


def compose(unobserved: BaseGeometry, detected: list[BaseGeometry]) -> BaseGeometry:
    """Compose an object's geometry: (old geometry - footprint) ∪ detections within the footprint, EPSG:4326."""
    if unobserved.is_empty and len(detected) == 1:
        return detected[0]
    return clean(apply_snapped(shapely.union_all, [unobserved, *detected]))


def join(parts: Sequence[BaseGeometry], tolerance_m: float) -> BaseGeometry:
    """Join EPSG:4326 polygons that were cut at one border, closing hairlines up to a fiftieth of the tolerance."""
    whole = compose(Polygon(), list(parts))
    if isinstance(whole, Polygon):
        return whole
    reach = _SLIVER * tolerance_m / METRES_PER_DEGREE
    closed = shapely.buffer(shapely.buffer(whole, reach, join_style="mitre"), -reach, join_style="mitre")
    gaps = extract_polygons(apply_snapped(shapely.difference, closed, whole))
    return compose(whole, list(gaps)) if gaps else whole


def extract_gain(before: BaseGeometry, after: BaseGeometry) -> BaseGeometry | None:
    """Extract the part of ``after`` that ``before`` does not cover, EPSG:4326; None if there is none."""
    part = clean(apply_snapped(shapely.difference, after, before))
    return None if part.is_empty else part
