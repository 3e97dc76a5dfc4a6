"""Split, join, bound and format EPSG:4326 geometry near the antimeridian.

Geometry is stored as RFC 7946 requires: longitudes within -180..180, and geometries that cross the antimeridian split
there into parts. Plain bounding boxes, centroids and minimum longitudes of such parts fall on the other side of the
earth, so only this module computes them; a test checks that. A bounding box is (west, south, east, north) in degrees,
and its west is greater than its east where it crosses the antimeridian (RFC 7946, section 5.2).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import (
    GeometryCollection,
    LineString,
    MultiLineString,
    MultiPoint,
    MultiPolygon,
    Point,
    Polygon,
    box,
)
from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import extract_polygons
from segwatch.geo.bounded import operations
from segwatch.geo.errors import TooComplex

Bounds = tuple[float, float, float, float]
Longitudes = NDArray[np.float64]

_TURN = 360.0
#: Boxes get a vertex at least this often (degrees), so that no edge looks like a crossing.
_LONGEST_EDGE = 90.0
#: Beyond all latitudes: clipping must not hide an invalid latitude, which is rejected later.
_TALL = 1000.0
#: Decimal places of a degree (0.1 mm); removes the rounding error of adding and subtracting 360.
_DECIMALS = 9


def split_at_antimeridian(geometry: BaseGeometry) -> BaseGeometry:
    """Split a geometry at the antimeridian into parts within -180..180.

    A step of more than 180 degrees between neighbouring vertices is a crossing; longitudes may also continue
    beyond 180 in either direction. A ring around a pole becomes the polar cap of its hemisphere. Geometries
    that cross nowhere are returned unchanged, and so are edges from -180 to 180, which run all the way round.

    Parameters
    ----------
    geometry
        Any type, EPSG:4326.
    """
    if not _needs_cutting(geometry):
        return geometry
    return _collect([piece for part in iterate_parts(geometry) for piece in _cut(_make_continuous(part))])


def is_valid_geometry(geometry: BaseGeometry) -> bool:
    """Return whether a geometry is valid on the ground, following rings across the antimeridian."""
    return bool(geometry.is_valid) if not _needs_cutting(geometry) else _is_valid_continuous(geometry)


def is_in_degrees(geometry: BaseGeometry, *, max_longitude: float = 180.0) -> bool:
    """Return whether all coordinates are a longitude and a latitude in degrees, in this order."""
    coords = shapely.get_coordinates(geometry)
    return bool((np.abs(coords) <= (max_longitude, 90.0)).all())


def crosses_antimeridian(geometry: BaseGeometry) -> bool:
    """Return whether a split geometry crosses the antimeridian: its parts lie closest together across it."""
    return _western_edge(_extents(geometry)) is not None


def unwrap_longitudes(geometry: BaseGeometry) -> BaseGeometry:
    """Return a split geometry with continuous longitudes, beyond 180 east of the antimeridian where it crosses."""
    start = _western_edge(_extents(geometry))
    if start is None:
        return geometry

    def move(coords: NDArray[np.float64]) -> NDArray[np.float64]:
        coords[:, 0] = np.where(coords[:, 0] < start, coords[:, 0] + _TURN, coords[:, 0])
        return coords

    return shapely.transform(geometry, move)


def compute_bounds(geometry: BaseGeometry) -> Bounds:
    """Compute the bounding box of a split geometry; west > east where it crosses the antimeridian."""
    _, south, _, north = geometry.bounds
    west, east = _find_arc(_extents(geometry))
    return west, south, east, north


def union_bounds(boxes: Iterable[Bounds]) -> Bounds:
    """Compute the narrowest bounding box around several bounding boxes."""
    west, south, east, north = (np.array(side, float) for side in zip(*boxes, strict=True))
    over = west > east
    extents = np.stack([west, np.where(over, 180.0, east)], axis=1)
    extents = (
        np.concatenate([extents, [(-180.0, float(one)) for one in east[over]]]) if over.any() else extents
    )
    arc = _find_arc(extents)
    return arc[0], float(south.min()), arc[1], float(north.max())


def choose_narrower_bounds(plain: Bounds, shifted: tuple[float, float]) -> Bounds:
    """Choose the narrower bounding box of two measurements of one geometry, as SQL can make them.

    Parameters
    ----------
    plain
        Bounding box with longitudes within -180..180.
    shifted
        West and east with longitudes within 0..360 (``ST_ShiftLongitude``).
    """
    west, south, east, north = plain
    if shifted[1] - shifted[0] >= east - west:
        return plain
    west, east = (one if one <= 180 else round(one - _TURN, _DECIMALS) for one in shifted)
    return west, south, east, north


def compute_width(bounds: Bounds) -> float:
    """Compute the width of a bounding box, degrees of longitude."""
    west, _, east, _ = bounds
    return east - west if west <= east else east + _TURN - west


def compute_centre(geometry: BaseGeometry) -> tuple[float, float]:
    """Return longitude and latitude of the centre of a split geometry's bounding box, longitude in -180..180."""
    return compute_bounds_centre(compute_bounds(geometry))


def compute_bounds_centre(bounds: Bounds) -> tuple[float, float]:
    """Return longitude and latitude of the centre of a bounding box, longitude in -180..180."""
    west, south, east, north = bounds
    return wrap_longitude((west + (east if west <= east else east + _TURN)) / 2), (south + north) / 2


def compute_centroid(geometry: BaseGeometry) -> tuple[float, float]:
    """Compute longitude and latitude of a geometry's centroid, longitude within -180..180."""
    middle = unwrap_longitudes(geometry).centroid
    return wrap_longitude(middle.x), middle.y


def to_box(bounds: Bounds) -> BaseGeometry:
    """Make the polygon of a bounding box, split at the antimeridian.

    West may be greater than east, and longitudes may continue beyond 180. No edge is longer than 90 degrees, so
    that none looks like a crossing.
    """
    west, south, east, north = bounds
    if -180 <= west < east <= 180 and east - west <= 180:
        return box(west, south, east, north)
    if -180 <= east < west <= 180:
        return box(west, south, 180.0, north).union(box(-180.0, south, east, north))
    polygon = box(west, south, west + min(compute_width(bounds), _TURN), north)
    return _collect(list(_cut(shapely.segmentize(polygon, _LONGEST_EDGE))))


def compute_coverage(footprints: Sequence[BaseGeometry]) -> BaseGeometry:
    """Compute the union of footprints, or their bounding box where the union costs too much.

    Footprints only select what to read; the pixels decide what was observed.
    """
    try:
        return operations.union_all(footprints)
    except TooComplex:
        return to_box(union_bounds(map(compute_bounds, footprints)))


def is_bounding_box(bounds: Bounds) -> bool:
    """Return whether four numbers are a valid bounding box; longitudes may continue beyond 180."""
    west, south, east, north = bounds
    within = max(abs(west), abs(east)) <= _TURN and 0 < compute_width(bounds) <= _TURN
    return within and -90 <= south < north <= 90


def intersects(one: BaseGeometry, other: BaseGeometry) -> bool:
    """Return whether two split geometries intersect; 180 and -180 degrees are the same meridian."""
    if shapely.intersects(one, other):
        return True
    edges = np.abs(shapely.get_coordinates(one)[:, 0]) == 180
    return bool(edges.any()) and any(shapely.intersects(_shift(one, by), other) for by in (_TURN, -_TURN))


def format_place(place: tuple[float, float]) -> str:
    """Format a longitude and latitude for people: latitude first."""
    longitude, latitude = place
    return f"{latitude:.5f}, {longitude:.5f} (latitude, longitude)"


def format_bounds(bounds: Bounds) -> str:
    """Format a bounding box for people."""
    west, south, east, north = bounds
    over = ", across 180" if west > east else ""
    return f"latitude {south:.4f} to {north:.4f}, longitude {west:.4f} to {east:.4f}{over}"


def wrap_longitude(longitude: float) -> float:
    """Wrap a longitude into -180..180."""
    return longitude if -180 <= longitude <= 180 else (longitude + 180) % _TURN - 180


def iterate_parts(geometry: BaseGeometry) -> Iterator[BaseGeometry]:
    """Iterate over the points, lines and polygons of a geometry, however nested."""
    if hasattr(geometry, "geoms"):
        for part in geometry.geoms:
            yield from iterate_parts(part)
    elif not geometry.is_empty:
        yield geometry


def _extents(geometry: BaseGeometry) -> NDArray[np.float64]:
    """Return (N, 2) western and eastern longitudes of the parts."""
    parts = list(iterate_parts(geometry))
    return shapely.bounds(parts)[:, [0, 2]] if parts else np.empty((0, 2))


def _western_edge(extents: NDArray[np.float64]) -> float | None:
    """Return the western end of the narrowest arc around all extents if it crosses 180 degrees, else None."""
    gap = _widest_gap(extents)
    return None if gap is None else gap[1]


def _widest_gap(extents: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return west and east of the widest gap between extents if it is wider than the gap around the antimeridian."""
    if len(extents) < 2:
        return None
    ordered = extents[np.argsort(extents[:, 0], kind="stable")]
    reached = np.maximum.accumulate(ordered[:, 1])
    gaps = ordered[1:, 0] - reached[:-1]
    at = int(gaps.argmax())
    if gaps[at] <= _TURN - (reached[-1] - ordered[0, 0]):
        return None
    return float(reached[at]), float(ordered[at + 1, 0])


def _find_arc(extents: NDArray[np.float64]) -> tuple[float, float]:
    gap = _widest_gap(extents)
    if gap is None:
        return float(extents[:, 0].min()), float(extents[:, 1].max())
    east, west = gap
    # a part that only touches the meridian from the east begins at -180
    return (-180.0 if west == 180.0 else west), east


def _needs_cutting(geometry: BaseGeometry) -> bool:
    if geometry.is_empty:
        return False
    west, _, east, _ = geometry.bounds
    if west < -180 or east > 180:
        return True
    return east - west > 180 and any(
        not np.array_equal(lons, _follow(lons)) for lons in _iterate_longitudes(geometry)
    )


def _iterate_longitudes(geometry: BaseGeometry) -> Iterator[Longitudes]:
    for part in iterate_parts(geometry):
        if isinstance(part, Polygon):
            for ring in (part.exterior, *part.interiors):
                yield shapely.get_coordinates(ring)[:, 0]
        else:
            yield shapely.get_coordinates(part)[:, 0]


def _follow(longitudes: Longitudes) -> Longitudes:
    """Return the longitudes of a line with every step taken the short way round."""
    steps = np.diff(longitudes)
    turns = np.round(steps / _TURN)
    followed = longitudes - _TURN * np.concatenate([[0.0], np.cumsum(turns)])
    if np.all(steps[turns != 0] % _TURN == 0) and (followed[0] != followed[-1] or np.ptp(followed) == 0):
        return longitudes  # from -180 to 180: all the way round, not a crossing
    return followed


def _make_continuous(part: BaseGeometry) -> BaseGeometry:
    """Return a point, line or polygon with longitudes that continue beyond 180 degrees."""
    if isinstance(part, Polygon):
        return _make_continuous_polygon(part)
    coords = shapely.get_coordinates(part)
    coords[:, 0] = _follow(coords[:, 0])
    return Point(coords[0]) if len(coords) == 1 else LineString(coords)


def _make_continuous_polygon(polygon: Polygon) -> BaseGeometry:
    shell, *holes = (_enclose(ring) for ring in (polygon.exterior, *polygon.interiors))
    west = shell.bounds[0]
    inner = [_shift(hole, _TURN * math.ceil((west - hole.bounds[0] - 1e-9) / _TURN)) for hole in holes]
    if any(
        compute_width(one.bounds) == _TURN for one in (shell, *inner)
    ):  # polar caps share edges along the pole
        return operations.difference(
            operations.make_valid(shell),
            operations.union_all([operations.make_valid(hole) for hole in inner]),
        )
    return Polygon(shell.exterior, [shapely.get_coordinates(hole) for hole in inner])


def _enclose(ring: BaseGeometry) -> Polygon:
    """Return the polygon that a ring encloses; around a pole, the edge is led along the pole to close the cap."""
    coords = shapely.get_coordinates(ring)
    coords[:, 0] = _follow(coords[:, 0])
    first, last = coords[0, 0], coords[-1, 0]
    if first == last:
        return Polygon(coords)
    pole = math.copysign(90.0, coords[:, 1].mean())
    # in steps too short to look like a crossing
    along_the_pole = [(longitude, pole) for longitude in np.linspace(last, first, 5)]
    return Polygon([*coords, *along_the_pole])


def _shift(geometry: BaseGeometry, degrees: float) -> BaseGeometry:
    return (
        shapely.transform(geometry, lambda coords: coords + np.array([degrees, 0.0])) if degrees else geometry
    )


def _cut(shape: BaseGeometry) -> Iterator[BaseGeometry]:
    """Cut a continuous geometry into pieces within -180..180."""
    whole = shape if shape.is_valid else operations.make_valid(shape)
    if whole.is_empty:
        return
    west, _, east, _ = whole.bounds
    polygonal = bool(extract_polygons(whole))
    first = math.floor((west + 180) / _TURN)
    for turn in range(first, max(first + 1, math.ceil((east + 180) / _TURN))):
        by = _TURN * turn
        piece = _shift(whole.intersection(box(by - 180, -_TALL, by + 180, _TALL)), -by)
        yield from (extract_polygons(piece) if polygonal else iterate_parts(piece))


def _collect(parts: list[Any]) -> BaseGeometry:
    if len(parts) == 1:
        only: BaseGeometry = parts[0]
        return only
    kinds = {part.geom_type for part in parts}
    if kinds <= {"Polygon"}:
        whole = MultiPolygon(parts)
        # pieces of a polar cap share a meridian inside it
        return whole if whole.is_valid else operations.union_all(parts)
    if kinds == {"LineString"}:
        return MultiLineString(parts)
    return MultiPoint(parts) if kinds == {"Point"} else GeometryCollection(parts)


def _is_valid_continuous(geometry: BaseGeometry) -> bool:
    return all(_make_continuous(part).is_valid for part in iterate_parts(geometry)) and bool(
        split_at_antimeridian(geometry).is_valid
    )
