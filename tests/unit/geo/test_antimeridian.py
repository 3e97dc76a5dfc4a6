"""Longitude is a circle: what is made, cut, bounded and named near 180 degrees is as it is elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
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

from segwatch.geo.antimeridian import (
    Bounds,
    choose_narrower_bounds,
    compute_bounds,
    compute_bounds_centre,
    compute_centre,
    compute_centroid,
    compute_width,
    crosses_antimeridian,
    format_bounds,
    format_place,
    intersects,
    is_bounding_box,
    is_in_degrees,
    is_valid_geometry,
    iterate_parts,
    split_at_antimeridian,
    to_box,
    union_bounds,
    unwrap_longitudes,
    wrap_longitude,
)
from segwatch.geo.area import compute_area_m2

#: Whole thousandths of degrees, so that a shape that is moved is the same shape.
_SMALL = st.integers(-40_000, 40_000).map(lambda one: one / 1000)
_LATITUDES = st.integers(-60_000, 60_000).map(lambda one: one / 1000)
_SHIFTS = st.integers(-540_000, 540_000).map(lambda one: one / 1000)


@st.composite
def shapes(draw: st.DrawFn) -> BaseGeometry:
    """Points, lines, polygons with a hole and collections of them, around longitude 0."""
    corners = draw(st.lists(st.tuples(_SMALL, _LATITUDES), min_size=3, max_size=8, unique=True))
    kind = draw(st.sampled_from(["points", "line", "polygon", "holed", "several", "mixed"]))
    hull = MultiPoint(corners).convex_hull
    if kind == "points":
        return MultiPoint(corners)
    # of slivers, rounding moves the centroid
    if kind == "line" or not isinstance(hull, Polygon) or hull.area < 1:
        return LineString(corners)
    if kind == "polygon":
        return hull
    if kind == "several":
        return MultiPolygon([hull, Polygon([(x + 90, y) for x, y in hull.exterior.coords])])
    if kind == "mixed":
        return GeometryCollection([hull, LineString(corners), Point(corners[0])])
    middle = hull.centroid
    hole = [((x + middle.x) / 2, (y + middle.y) / 2) for x, y in hull.exterior.coords]
    return Polygon(hull.exterior, [hole])


def moved(shape: BaseGeometry, degrees: float) -> BaseGeometry:
    """With longitudes that go on beyond 180."""
    return shapely.transform(shape, lambda c: c + (degrees, 0.0))  # noqa: RUF005 - an array


def jumping(shape: BaseGeometry) -> BaseGeometry:
    """With every longitude brought into -180..180 by itself, as feeds write it."""

    def bring(coords: NDArray[np.float64]) -> NDArray[np.float64]:
        coords[:, 0] = [wrap_longitude(round(one, 9)) for one in coords[:, 0]]
        return coords

    return shapely.transform(shape, bring)


def same_longitude(one: float, other: float) -> bool:
    return abs(math.remainder(one - other, 360)) < 1e-6


@given(shapes(), _SHIFTS)
@settings(max_examples=300, deadline=None)
def test_results_move_with_the_geometry(shape: BaseGeometry, degrees: float) -> None:
    there = split_at_antimeridian(moved(shape, degrees))
    assert is_in_degrees(there)
    assert there.is_valid
    assert there.area == pytest.approx(shape.area, rel=1e-9)
    west, south, east, north = compute_bounds(there)
    assert (south, north) == (shape.bounds[1], shape.bounds[3])
    assert same_longitude(west, shape.bounds[0] + degrees)
    assert same_longitude(east, shape.bounds[2] + degrees)
    assert compute_width((west, south, east, north)) == pytest.approx(
        shape.bounds[2] - shape.bounds[0], abs=1e-6
    )
    # a line that runs back over itself is shorter once it is cut
    for of in (compute_centre,) if isinstance(shape, LineString) else (compute_centre, compute_centroid):
        longitude, latitude = of(there)
        assert -180 <= longitude <= 180
        assert same_longitude(longitude, of(shape)[0] + degrees)
        assert latitude == pytest.approx(of(shape)[1], abs=1e-6)
    ours, theirs = compute_bounds_centre((west, south, east, north)), compute_centre(there)
    assert same_longitude(ours[0], theirs[0])


@given(shapes(), _SHIFTS)
@settings(max_examples=200, deadline=None)
def test_jumping_and_continuous_longitudes_are_equivalent(shape: BaseGeometry, degrees: float) -> None:
    there, same = (
        split_at_antimeridian(moved(shape, degrees)),
        split_at_antimeridian(jumping(moved(shape, degrees))),
    )
    assert is_in_degrees(same)
    assert shapely.hausdorff_distance(there, same) < 1e-6 or compute_bounds(there) == pytest.approx(
        compute_bounds(same)
    )
    assert is_valid_geometry(jumping(moved(shape, degrees)))


@given(shapes(), _SHIFTS)
@settings(max_examples=200, deadline=None)
def test_splitting_is_idempotent(shape: BaseGeometry, degrees: float) -> None:
    there = split_at_antimeridian(moved(shape, degrees))
    assert split_at_antimeridian(there) is there
    unwrapped = unwrap_longitudes(there)
    assert unwrapped.bounds[2] - unwrapped.bounds[0] == pytest.approx(
        compute_width(compute_bounds(there)), abs=1e-9
    )
    assert (
        crosses_antimeridian(there) is (compute_bounds(there)[0] > compute_bounds(there)[2])
        or compute_bounds(there)[0] == -180
    )


@given(
    st.lists(st.tuples(_SMALL, _LATITUDES, st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5),
    _SHIFTS,
)
@settings(max_examples=200, deadline=None)
def test_union_of_boxes_covers_their_polygons(
    places: list[tuple[float, float, int, int]], degrees: float
) -> None:
    flat: list[Bounds] = [(x, y, x + wide, y + high) for x, y, wide, high in places]
    there = [
        (wrap_longitude(west + degrees), south, wrap_longitude(east + degrees), north)
        for west, south, east, north in flat
    ]
    west, south, east, north = union_bounds(there)
    assert same_longitude(west, min(one[0] for one in flat) + degrees)
    assert same_longitude(east, max(one[2] for one in flat) + degrees)
    assert (south, north) == (min(one[1] for one in flat), max(one[3] for one in flat))
    for one in there:
        assert is_bounding_box(one)
        assert (
            compute_bounds(to_box(one)) == pytest.approx(one, abs=1e-6)
            or abs(one[0]) == 180
            or abs(one[2]) == 180
        )


@given(shapes(), shapes(), _SHIFTS)
@settings(max_examples=200, deadline=None)
def test_intersection_does_not_depend_on_longitude(
    one: BaseGeometry, other: BaseGeometry, degrees: float
) -> None:
    clear = one.distance(other) > 1e-6 or shapely.intersection(one, other).area > 1e-3
    if clear:
        there = split_at_antimeridian(moved(one, degrees)), split_at_antimeridian(moved(other, degrees))
        assert intersects(*there) is intersects(one, other)
        assert intersects(*reversed(there)) is intersects(one, other)


def test_180_and_minus_180_are_one_meridian() -> None:
    assert intersects(Point(180, 0), box(-180, -1, -179, 1))
    assert intersects(Point(-180, 0), box(179, -1, 180, 1))
    assert not intersects(Point(0, 0), box(-180, -1, -179, 1))


def test_bounds_of_a_split_geometry_follow_rfc_7946() -> None:
    lake = box(179.98, -16.95, 180, -16.9).union(box(-180, -16.95, -179.97, -16.9))
    assert compute_bounds(lake) == (179.98, -16.95, -179.97, -16.9)
    assert compute_bounds(box(-180, 0, -179, 1)) == (-180, 0, -179, 1)
    assert compute_bounds(box(179, 0, 180, 1)) == (179, 0, 180, 1)
    assert compute_bounds(box(-180, -90, 180, 90)) == (-180, -90, 180, 90)
    assert union_bounds([(179.9, 0, -179.9, 1), (178, -1, 179, 0)]) == (178, -1, -179.9, 1)
    assert union_bounds([(-180, 0, -179, 1), (179, 0, 180, 1)]) == (179, 0, -179, 1)
    assert union_bounds([(10, 0, 20, 1)]) == (10, 0, 20, 1)


def test_the_narrower_bounds_are_chosen() -> None:
    assert choose_narrower_bounds((-180, -17, 180, -16), (179.98, 180.03)) == (179.98, -17, -179.97, -16)
    assert choose_narrower_bounds((-10, 0, 10, 1), (10, 350)) == (-10, 0, 10, 1)
    assert choose_narrower_bounds((178, 0, 179, 1), (178, 179)) == (178, 0, 179, 1)
    assert choose_narrower_bounds((-180, 0, -179, 1), (180, 181)) == (-180, 0, -179, 1)


def test_boxes() -> None:
    assert to_box((10, 40, 11, 41)).wkb == box(10, 40, 11, 41).wkb, "areas of watches keep their identity"
    assert compute_bounds(to_box((179, -18, -179, -16))) == (179, -18, -179, -16)
    assert compute_bounds(to_box((179, -18, 181, -16))) == (179, -18, -179, -16)
    assert compute_bounds(to_box((-181, -18, -179, -16))) == (179, -18, -179, -16)
    north = to_box((-180, 60, 180, 90))
    assert split_at_antimeridian(north) is north
    assert shapely.intersects(north, Point(0, 80))
    wide = to_box((-170, 60, 170, 61))
    assert split_at_antimeridian(wide) is wide, "340 degrees, not the 20 on the other side"
    assert compute_width(compute_bounds(wide)) == 340


@pytest.mark.parametrize(
    "bounds",
    [(1, 2, 1, 3), (1, 3, 2, 2), (1, 2, 3, 91), (400, 0, 401, 1), (-181, 0, 180, 1), (180, 0, -180, 1)],
)
def test_invalid_boxes(bounds: Bounds) -> None:
    assert not is_bounding_box(bounds)


@pytest.mark.parametrize("pole", [1, -1])
def test_a_ring_around_a_pole_is_the_polar_cap(pole: int) -> None:
    ring = [(lon, pole * 70) for lon in range(-170, 190, 20)]
    for corners in (ring, ring[::-1]):
        cap = split_at_antimeridian(Polygon(corners))
        assert cap.is_valid
        assert shapely.intersects(cap, Point(33, pole * 85))
        assert not shapely.intersects(cap, Point(33, 0))
        assert compute_bounds(cap) == ((-180, 70, 180, 90) if pole > 0 else (-180, -90, 180, -70))
        exact = 2 * math.pi * 6371007.2**2 * (1 - math.sin(math.radians(70)))
        assert compute_area_m2(cap) == pytest.approx(exact, rel=0.02)
        assert split_at_antimeridian(cap) is cap
    belt = split_at_antimeridian(Polygon(ring, [[(lon, pole * 80) for lon, _ in ring]]))
    assert belt.is_valid
    assert not shapely.intersects(belt, Point(33, pole * 85))
    assert shapely.intersects(belt, Point(33, pole * 75))


def test_the_whole_earth_has_its_area() -> None:
    assert compute_area_m2(box(-180, -90, 180, 90)) == pytest.approx(5.1e14, rel=1e-3)
    assert split_at_antimeridian(box(-180, -90, 180, 90)) == box(-180, -90, 180, 90)


def test_lines_and_points() -> None:
    line = split_at_antimeridian(LineString([(179, 0), (-179, 1), (-178, 1)]))
    assert line == MultiLineString([[(179, 0), (180, 0.5)], [(-180, 0.5), (-179, 1), (-178, 1)]])
    assert split_at_antimeridian(Point(181, 0)) == Point(-179, 0)
    assert split_at_antimeridian(MultiPoint([(190, 0), (170, 0)])) == MultiPoint([(-170, 0), (170, 0)])
    assert compute_centre(MultiPoint([(-179, 0), (179, 0)])) == (180, 0)
    assert list(iterate_parts(GeometryCollection([Point(), MultiPoint([(1, 2)])]))) == [Point(1, 2)]


def test_a_ring_that_crosses_itself_beyond_180_is_invalid() -> None:
    assert not is_valid_geometry(Polygon([(179, 0), (-179, 1), (-179, 0), (179, 1)]))
    assert is_valid_geometry(Polygon([(179, 0), (-179, 0), (-179, 1), (179, 1)]))


def test_names() -> None:
    assert (
        format_place(compute_bounds_centre((179.98, -16.95, -179.97, -16.9)))
        == "-16.92500, -179.99500 (latitude, longitude)"
    )
    assert format_bounds((179.98, -16.95, -179.97, -16.9)).endswith(
        "longitude 179.9800 to -179.9700, across 180"
    )
    assert "across" not in format_bounds((1, 2, 3, 4))


@pytest.mark.parametrize("west", [-180.0, -170.0, 0.0, 10.0, 175.0])
@pytest.mark.parametrize("degrees", [1.0, 179.0, 180.0, 200.0, 300.0, 359.0, 360.0])
def test_a_geometry_and_its_bounding_box_have_the_same_centre(west: float, degrees: float) -> None:
    area = to_box((west, -10.0, west + degrees, 20.0))
    assert compute_centre(area) == compute_bounds_centre(compute_bounds(area))
    assert -180 <= compute_centre(area)[0] <= 180
    if degrees < 360:
        assert compute_centre(area) == pytest.approx((wrap_longitude(west + degrees / 2), 5.0))
