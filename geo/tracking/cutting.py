"""Cut detections and objects at the border of newly observed ground.

Linking and comparing use only the parts on ground that was observed before; what lies beyond the border is baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from pyproj import CRS
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import extract_polygons
from segwatch.geo.polygons import clean
from segwatch.geo.tracking.overlay import Geometries, apply_snapped, project, project_all, to_array

#: Parts of a detection narrower than this share of the tolerance are rounding along the border of new ground.
_THIN = 0.1


class IndexedArea:
    """An area with a spatial index over its polygons, so that an overlay costs only what lies nearby.

    Parameters
    ----------
    geometry
        EPSG:4326.
    """

    def __init__(self, geometry: BaseGeometry) -> None:
        self.geometry = geometry
        self._polygons = to_array(extract_polygons(geometry))
        self._tree = shapely.STRtree(self._polygons)
        shapely.prepare(geometry)

    @property
    def is_empty(self) -> bool:
        """Whether the area is empty."""
        return self.geometry.is_empty

    def intersects(self, geometry: BaseGeometry) -> bool:
        """Return whether an EPSG:4326 geometry intersects the area."""
        return not self.is_empty and bool(shapely.intersects(self.geometry, geometry))

    def clip(self, geometry: BaseGeometry) -> BaseGeometry:
        """Return the part of an EPSG:4326 geometry inside the area."""
        return clean(apply_snapped(shapely.intersection, geometry, self._near(geometry)))

    def erase(self, geometry: BaseGeometry) -> BaseGeometry:
        """Return the part of an EPSG:4326 geometry outside the area."""
        return clean(apply_snapped(shapely.difference, geometry, self._near(geometry)))

    def _near(self, geometry: BaseGeometry) -> BaseGeometry:
        near: list[Polygon] = self._polygons[np.sort(self._tree.query(geometry))].tolist()
        return MultiPolygon(near)


@dataclass(frozen=True, slots=True)
class CutDetections:
    """Detections cut at the border of new ground; N detections, P pieces on ground that was observed before."""

    pieces: Geometries
    """(P,) pieces in the equal-area CRS; the whole detections where there is no new ground."""
    detection_of_piece: tuple[int, ...]
    """(P,) index of the detection that each piece belongs to."""
    pieces_of_detection: tuple[tuple[int, ...], ...]
    """(N,) indices of each detection's pieces; empty for a detection that lies entirely on new ground."""
    on_new_ground: dict[int, BaseGeometry]
    """Detection index -> its part on new ground, EPSG:4326; only detections that have one."""


def cut_detections(
    detections: Sequence[BaseGeometry],
    projected: Geometries,
    footprint: BaseGeometry,
    never_observed: IndexedArea,
    crs: CRS,
    tolerance_m: float,
) -> CutDetections:
    """Cut detections at the border of ground that was never observed before.

    Parameters
    ----------
    detections
        N geometries, EPSG:4326.
    projected
        (N,) the same in ``crs``.
    footprint
        The observed footprint that contains them, EPSG:4326.
    never_observed
        New ground.
    crs
        The series' equal-area CRS.
    tolerance_m
        Registration tolerance, metres.
    """
    given = to_array(detections)
    if never_observed.is_empty or not len(given):
        whole = tuple((index,) for index in range(len(given)))
        return CutDetections(projected, tuple(range(len(given))), whole, {})
    everywhere = never_observed.geometry is footprint
    touching = np.ones(len(given), bool) if everywhere else shapely.intersects(never_observed.geometry, given)
    inside = touching if everywhere else shapely.covers(never_observed.geometry, given)
    on_new_ground: dict[int, BaseGeometry] = {}
    pieces: list[list[BaseGeometry]] = []
    for index, (geometry, shape) in enumerate(zip(given, projected, strict=True)):
        if inside[index]:
            on_new_ground[index] = geometry
            pieces.append([])
            continue
        part = never_observed.clip(geometry) if touching[index] else Polygon()
        if part.is_empty or not _extract_wide_parts(part, crs, tolerance_m):
            pieces.append([shape])
            continue
        on_new_ground[index] = part
        pieces.append(_extract_wide_parts(never_observed.erase(geometry), crs, tolerance_m))
    detection_of_piece = [index for index, some in enumerate(pieces) for _ in some]
    numbers = iter(range(len(detection_of_piece)))
    return CutDetections(
        to_array([one for some in pieces for one in some]),
        tuple(detection_of_piece),
        tuple(tuple(next(numbers) for _ in some) for some in pieces),
        on_new_ground,
    )


def _extract_wide_parts(geometry: BaseGeometry, crs: CRS, tolerance_m: float) -> list[BaseGeometry]:
    """Project the polygons of an EPSG:4326 geometry, dropping thin ones and separating parts joined at a corner."""
    thin = _THIN / 2 * tolerance_m
    wide: list[BaseGeometry] = []
    for part in project_all(extract_polygons(geometry), crs):
        cores = extract_polygons(shapely.buffer(part, -thin))
        wide += [part] if len(cores) == 1 else [core.buffer(thin) for core in cores]
    return wide


def extract_observed_before(
    geometry: BaseGeometry, new_ground: IndexedArea, crs: CRS, tolerance_m: float
) -> tuple[BaseGeometry, float]:
    """Extract the part of a geometry on ground that was observed before.

    Parameters
    ----------
    geometry
        EPSG:4326.
    new_ground
        The ground that was not.
    crs
        The series' equal-area CRS.
    tolerance_m
        Registration tolerance, metres.

    Returns
    -------
    part : BaseGeometry
        EPSG:4326.
    certain_m2 : float
        Area of the part that is farther than the tolerance from new ground, m².
    """
    part = new_ground.erase(geometry)
    if part.is_empty:
        return part, 0.0
    beyond = new_ground.clip(geometry)
    if beyond.is_empty:
        return geometry, float(project(geometry, crs).area)
    border = project(beyond, crs).buffer(tolerance_m)
    return part, float(project(part, crs).difference(border).area)


def backdate_new_ground(
    before: BaseGeometry, after: BaseGeometry, new_ground: IndexedArea
) -> BaseGeometry | None:
    """Give the old geometry what the new one shows on new ground, as if it had been known before.

    Differences between the result and ``after`` then lie only on ground that was observed before. All EPSG:4326.

    Returns
    -------
    BaseGeometry or None
        None where neither geometry lies on new ground, so that the old geometry stands.
    """
    if not (new_ground.intersects(after) or new_ground.intersects(before)):
        return None
    found = new_ground.clip(after)
    if found.is_empty and new_ground.clip(before).is_empty:
        return None
    return clean(apply_snapped(shapely.union_all, [new_ground.erase(before), found]))
