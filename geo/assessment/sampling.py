"""A stratified random sample: how many units each stratum gets, which ones are drawn, and points on the ground.

All draws come from one seeded generator, so that a seed and a ledger make the same sample again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from shapely.geometry import MultiPolygon, Point, Polygon
from shapely.geometry.base import BaseGeometry

from segwatch.geo.antimeridian import compute_centre
from segwatch.geo.area import extract_polygons
from segwatch.geo.assessment.estimators import MIN_LABELS, compute_sample_size
from segwatch.geo.bounded import operations
from segwatch.geo.crs import make_local_equal_area, to_crs, to_lonlat

#: Areas are equal everywhere on the ellipsoid, and meridians are straight.
_EQUAL_AREA = CRS.from_proj4("+proj=cea +datum=WGS84 +units=m +no_defs")
#: Expected accuracy of a stratum before anything is known, as in the planning example of Olofsson et al. (2014).
_EXPECTED_MAPPED, _EXPECTED_BACKGROUND, _EXPECTED_UNITS = 0.8, 0.95, 0.8
#: Standard error of the shares of objects and changes, as a multiple of that of the overall accuracy.
_COARSER = 2.5
_MIN_SAMPLES = 2 * MIN_LABELS
#: Shares of a given number of samples; what empty strata leave goes to the others, what small ones leave to points.
_PARTS = {"mapped": 0.3, "background": 0.3, "object": 0.2, "change": 0.2}

#: Points drawn in the rectangle of a polygon that has no triangles, at once and before the rest is given up.
_DRAWS_AT_ONCE, _MAX_DRAWS = 4096, 1 << 20


@dataclass(frozen=True, slots=True)
class Population:
    """Sizes of the strata of one target, in units: pixels, objects, changes by kind."""

    mapped: float
    background: float
    objects: int
    changes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Allocation:
    """Units to draw in each stratum of one target."""

    mapped: int
    background: int
    objects: int
    changes: Mapping[str, int]

    @property
    def total(self) -> int:
        """Size of the sample."""
        return self.mapped + self.background + self.objects + sum(self.changes.values())


def allocate_by_error(population: Population, standard_error: float) -> Allocation:
    """Allocate units so that the overall accuracy of the map gets about this standard error.

    The number of points follows equation 13 of Olofsson et al. (2014). Each stratum of points gets two fifths of them
    at least, so that the user's accuracy of a rare target is known, too. The shares of objects and of changes get 2.5
    times the standard error. Strata have at least 20 units, kinds of change 10, or all that there are.
    """
    whole = population.mapped + population.background
    points = 0
    if whole > 0:
        shares = (population.mapped / whole, population.background / whole)
        points = compute_sample_size(shares, (_EXPECTED_MAPPED, _EXPECTED_BACKGROUND), standard_error)
    units = _EXPECTED_UNITS * (1 - _EXPECTED_UNITS) / (_COARSER * standard_error) ** 2
    changes = sum(population.changes.values())
    return _allocate(
        population,
        points,
        _correct_finite(units, population.objects),
        _allocate_changes(population, _correct_finite(units, changes)),
    )


def allocate_by_count(population: Population, samples: int) -> Allocation:
    """Allocate a number of units: 30 % to the mapped area and to the background each, 20 % to objects and to changes.

    Strata have at least 20 units, kinds of change 10, or all that there are; the sample may become larger than asked.
    Points take what objects and changes leave because there are too few of them.
    """
    sizes = {
        "mapped": population.mapped,
        "background": population.background,
        "object": population.objects,
        "change": sum(population.changes.values()),
    }
    parts = {name: part for name, part in _PARTS.items() if sizes[name] > 0}
    units = {name: samples * part / sum(parts.values()) for name, part in parts.items()}
    objects = _limit(math.floor(units.get("object", 0.0)), population.objects)
    changes = _allocate_changes(population, math.floor(units.get("change", 0.0)))
    points = max(samples - objects - sum(changes.values()), 0)
    return _allocate(population, points, objects, changes)


def _allocate(
    population: Population, points: float, objects: float, changes: Mapping[str, int]
) -> Allocation:
    mapped = _limit(_allocate_mapped(population, points), population.mapped)
    return Allocation(
        mapped,
        _limit(points - mapped, population.background),
        _limit(objects, population.objects),
        changes,
    )


def _allocate_changes(population: Population, changes: float) -> dict[str, int]:
    every = sum(population.changes.values())
    return {
        kind: _limit(changes * count / every, count, MIN_LABELS)
        for kind, count in sorted(population.changes.items())
        if count
    }


def _allocate_mapped(population: Population, points: float) -> float:
    """Divide the points: by area, but neither stratum gets less than two fifths, or half of a few."""
    if population.mapped <= 0 or population.background <= 0:
        return points if population.mapped > 0 else 0.0
    least = min(points / 2, max(_MIN_SAMPLES, points * 0.4))
    by_area = points * population.mapped / (population.mapped + population.background)
    return min(max(by_area, least), points - least)


def _correct_finite(count: float, population: int) -> float:
    """Return the size of a sample from a finite population with the precision of ``count`` from an infinite one."""
    return count / (1 + count / population) if population else 0.0


def _limit(count: float, population: float, least: int = _MIN_SAMPLES) -> int:
    return min(max(math.ceil(count), least), math.floor(population))


def draw_positions(random: np.random.Generator, total: float, count: int) -> NDArray[np.float64]:
    """Draw ``count`` independent positions in [0, total), ascending: which objects get how many random points."""
    return np.sort(random.random(count)) * total


def draw_ordinals(random: np.random.Generator, population: int, count: int) -> NDArray[np.int64]:
    """Draw ``count`` of the numbers 1 to ``population``, without replacement, ascending."""
    drawn: NDArray[np.int64] = np.sort(random.choice(population, size=count, replace=False)) + 1
    return drawn


def draw_points(random: np.random.Generator, geometry: BaseGeometry, count: int) -> list[Point]:
    """Draw points that are uniform on the ground of a polygonal geometry, both in EPSG:4326.

    The geometry is cut into triangles in an equal-area projection, so that nothing is drawn in vain however thin or
    scattered it is. Invalid polygons are repaired first.

    Raises
    ------
    ValueError
        The geometry has no area.
    segwatch.geo.errors.TooComplex
        It is invalid, and its repair would take too much memory or time.
    """
    corners, whole = _cut_into_triangles(_project_parts(geometry, _EQUAL_AREA))
    sides = corners[:, 1:] - corners[:, :1]
    triangle_sizes = abs(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0]) / 2
    sizes = np.concatenate([triangle_sizes, shapely.area(whole)])
    chosen = random.choice(len(sizes), size=count, p=sizes / sizes.sum())
    u, v = random.random((2, count, 1))
    # the unit square folded to a triangle
    folded = (u + v) > 1
    u, v = np.where(folded, 1 - u, u), np.where(folded, 1 - v, v)
    places = np.empty((count, 2))
    in_triangle = chosen < len(corners)
    at = chosen[in_triangle]
    places[in_triangle] = corners[at, 0] + u[in_triangle] * sides[at, 0] + v[in_triangle] * sides[at, 1]
    for index, part in enumerate(whole, start=len(corners)):
        here = chosen == index
        places[here] = _draw_by_rejection(random, part, int(here.sum()))
    moved = to_lonlat(shapely.MultiPoint(places), _EQUAL_AREA)
    return [Point(one) for one in shapely.get_coordinates(moved)]


def find_core(geometry: BaseGeometry) -> Point:
    """Find the point of a polygonal geometry that is farthest from its border (EPSG:4326).

    There, whether an object or change is real does not depend on where exactly its border runs. Invalid polygons are
    repaired first.

    Raises
    ------
    ValueError
        The geometry has no area.
    segwatch.geo.errors.TooComplex
        It is invalid, and its repair would take too much memory or time.
    """
    crs = make_local_equal_area(compute_centre(geometry))
    largest = max(_project_parts(geometry, crs), key=lambda one: one.area)
    west, south, east, north = largest.bounds
    circle = shapely.maximum_inscribed_circle(largest, tolerance=max(east - west, north - south) / 1000)
    return Point(shapely.get_coordinates(to_lonlat(Point(circle.coords[0]), crs))[0])


def _project_parts(geometry: BaseGeometry, crs: CRS) -> list[Polygon]:
    """Project a geometry and return its polygons, valid, with area and without overlap.

    Raises
    ------
    ValueError
        There are none.
    segwatch.geo.errors.TooComplex
        The repair would take too much memory or time.
    """
    # mended before projection, so that the ground is what the outline says, and after it, because projection alone can
    # make edges cross that nearly touch
    flat = _mend(to_crs(_mend(geometry), crs))
    parts = [one for one in extract_polygons(flat) if one.area > 0]
    if not parts:
        raise ValueError("a geometry without area has no points to draw")
    return parts


def _mend(geometry: BaseGeometry) -> BaseGeometry:
    """Repair the polygons of a geometry one by one: ground that two of them share is no hole."""
    whole = MultiPolygon(extract_polygons(geometry))
    if whole.is_valid:
        return whole
    return operations.union_all([operations.make_valid(one) for one in whole.geoms])


def _cut_into_triangles(parts: Sequence[Polygon]) -> tuple[NDArray[np.float64], list[Polygon]]:
    """Cut valid polygons into (N, 3, 2) corners of triangles; those that cannot be cut are returned whole.

    GEOS finds no triangles in some valid polygons whose edges all but touch.
    """
    try:
        cut = shapely.constrained_delaunay_triangles(MultiPolygon(parts))
    except shapely.GEOSException:
        if len(parts) == 1:
            return np.empty((0, 3, 2)), list(parts)
        each = [_cut_into_triangles([one]) for one in parts]
        return np.concatenate([corners for corners, _ in each]), [one for _, whole in each for one in whole]
    corners: NDArray[np.float64] = shapely.get_coordinates(cut).reshape(-1, 4, 2)[:, :3]
    return corners, []


def _draw_by_rejection(random: np.random.Generator, part: Polygon, count: int) -> NDArray[np.float64]:
    """Draw (count, 2) points that are uniform in a valid polygon: of its smallest rectangle, those that it contains."""
    frame = shapely.get_coordinates(shapely.minimum_rotated_rectangle(part))
    found = np.empty((0, 2))
    for _ in range(_MAX_DRAWS // _DRAWS_AT_ONCE):
        if len(found) >= count:
            break
        u, v = random.random((2, _DRAWS_AT_ONCE, 1))
        drawn = frame[0] + u * (frame[1] - frame[0]) + v * (frame[3] - frame[0])
        found = np.concatenate([found, drawn[shapely.contains_xy(part, drawn)]])
    # what fills less than a millionth of its rectangle is a hairline: one place stands for it
    rest = np.tile(shapely.get_coordinates(part.representative_point()), (max(0, count - len(found)), 1))
    return np.concatenate([found[:count], rest])


def shuffle(random: np.random.Generator, count: int) -> Sequence[int]:
    """Draw a random order of 1 to ``count``, in which samples are labelled.

    A part of the sample that was labelled in this order is a random sample, too.
    """
    return [int(one) + 1 for one in random.permutation(count)]
