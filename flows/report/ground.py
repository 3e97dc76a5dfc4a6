"""Ground of a briefing at two times: newly covered, covered before, not seen, and covered at any time.

All geometry is EPSG:4326, and every overlay is bounded (:mod:`segwatch.geo.bounded`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import shapely
from shapely.geometry import GeometryCollection
from shapely.geometry.base import BaseGeometry

from segwatch.db.analyst import Outlines
from segwatch.flows.report.exposure import Ground
from segwatch.geo.area import compute_area_m2, extract_polygons
from segwatch.geo.bounded import operations

NOTHING: BaseGeometry = GeometryCollection()


@dataclass(frozen=True, slots=True)
class Changed:
    """Covered ground by target at two times."""

    new: dict[str, BaseGeometry] = field(default_factory=dict)
    """Covered now and not before."""
    lost: BaseGeometry = NOTHING
    """Covered before and not now."""


def unite(geometries: Sequence[BaseGeometry]) -> BaseGeometry:
    """Unite polygonal geometries.

    Raises
    ------
    segwatch.geo.errors.TooComplex
        It would take too much memory or time.
    """
    return keep_areas(operations.union_all([one for one in geometries if not one.is_empty]))


def compare(before: Outlines, after: Outlines) -> Changed:
    """Compare the ground that objects cover at two times, target by target.

    Raises
    ------
    segwatch.geo.errors.TooComplex
        It would take too much memory or time.
    """
    was, now = _unite_targets(before), _unite_targets(after)
    new = {target: _subtract(ground, was.get(target, NOTHING)) for target, ground in now.items()}
    lost = [_subtract(ground, now.get(target, NOTHING)) for target, ground in was.items()]
    return Changed(new, unite(lost))


def divide(area: BaseGeometry, changed: Changed, unseen: BaseGeometry) -> Ground:
    """Divide an area into affected, unaffected and unseen ground; what is affected counts as seen.

    Raises
    ------
    segwatch.geo.errors.TooComplex
        It would take too much memory or time.
    """
    affected = keep_areas(operations.intersection(unite(list(changed.new.values())), area))
    hidden = _subtract(unseen, affected)
    return Ground(affected, _subtract(_subtract(area, affected), hidden), hidden)


def measure_union(geometries: Sequence[BaseGeometry], area: BaseGeometry) -> float:
    """Measure the ground inside an area that any of the geometries covers, geodesic m².

    Raises
    ------
    segwatch.geo.errors.TooComplex
        It would take too much memory or time.
    """
    return compute_area_m2(operations.intersection(unite(geometries), area))


def keep_areas(geometry: BaseGeometry) -> BaseGeometry:
    """Drop points and lines that overlays leave where shapes touch."""
    if geometry.geom_type in {"Polygon", "MultiPolygon"}:
        return geometry
    polygons = extract_polygons(geometry)
    return shapely.union_all(polygons) if polygons else NOTHING


def _unite_targets(outlines: Outlines) -> dict[str, BaseGeometry]:
    parts: dict[str, list[BaseGeometry]] = {}
    for one in outlines.objects:
        parts.setdefault(one.target, []).append(one.geometry)
    return {target: unite(some) for target, some in parts.items()}


def _subtract(one: BaseGeometry, other: BaseGeometry) -> BaseGeometry:
    if one.is_empty or other.is_empty:
        return one
    return keep_areas(operations.difference(one, other))
