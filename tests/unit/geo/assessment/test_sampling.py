"""Draws are uniform, repeatable, and as many as asked."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import chisquare
from shapely import affinity
from shapely.geometry import MultiPoint, MultiPolygon, Point, Polygon, box
from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import compute_area_m2
from segwatch.geo.assessment.sampling import (
    Population,
    allocate_by_count,
    allocate_by_error,
    draw_ordinals,
    draw_points,
    draw_positions,
    find_core,
    shuffle,
)


def test_points_are_uniform_on_the_ground() -> None:
    """Of a geometry from 0 to 60 degrees north with a hole, each part gets points by its geodesic area."""
    whole = box(10, 0, 20, 60).difference(box(12, 20, 18, 40))
    points = draw_points(np.random.default_rng(1), whole, 4000)
    assert all(whole.covers(one) for one in points)
    for south in (0, 20, 40):
        part = whole.intersection(box(0, south, 30, south + 20))
        share = compute_area_m2(part) / compute_area_m2(whole)
        found = np.mean([south <= one.y < south + 20 for one in points])
        assert abs(found - share) < 4 * np.sqrt(share * (1 - share) / 4000)


def test_points_are_drawn_on_both_sides_of_180_degrees() -> None:
    both = MultiPolygon([box(179, 0, 180, 1), box(-180, 0, -179, 1)])
    points = draw_points(np.random.default_rng(1), both, 200)
    assert all(both.covers(one) for one in points)
    assert 60 < sum(one.x > 0 for one in points) < 140


def test_a_geometry_without_area_is_refused() -> None:
    with pytest.raises(ValueError, match="without area"):
        draw_points(np.random.default_rng(1), Point(1, 2), 1)


#: Outlines that repair or projection must mend, some two units wide.
_ODD_SHAPES = {
    "bow tie": Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]),
    "spike": Polygon([(0, 0), (1, 0), (1, 1), (0.5, 1), (0.5, 2), (0.5, 1), (0, 1)]),
    "hole that touches the shell": Polygon(
        [(0, 0), (1, 0), (1, 1), (0, 1)], [[(0, 0.5), (0.5, 0.2), (0.5, 0.8)]]
    ),
    "hole that cuts the shell in two": Polygon(
        [(0, 0), (1, 0), (1, 1), (0, 1)], [[(0, 0.5), (0.5, 0.2), (1, 0.5), (0.5, 0.8)]]
    ),
    "hole outside": Polygon([(0, 0), (1, 0), (1, 1), (0, 1)], [[(1.2, 1), (1.4, 1), (1.3, 1.5)]]),
    "sliver": Polygon([(0, 0), (1, 1), (1 + 1e-6, 1)]),
    "parts that overlap": MultiPolygon([box(0, 0, 1, 1), box(0.5, 0.5, 1.5, 1.5)]),
    "a line beside it": shapely.from_wkt(
        "GEOMETRYCOLLECTION(POLYGON((0 0, 1 0, 1 1, 0 0)), LINESTRING(0 0, 2 2))"
    ),
}


@given(
    shape=st.sampled_from(sorted(_ODD_SHAPES)),
    size=st.sampled_from([1e-4, 1e-2]),
    angle=st.floats(0, 360),
    west=st.floats(-179, 177),
    south=st.floats(-80, 78),
)
@example(shape="sliver", size=1e-4, angle=0.0, west=0.0, south=20.0)
def test_odd_outlines_are_sampled(shape: str, size: float, angle: float, west: float, south: float) -> None:
    """Whatever is wrong with an outline, its points and its core lie on its ground."""
    middle = affinity.scale(_ODD_SHAPES[shape], size, size, origin=(0, 0))
    odd = affinity.translate(affinity.rotate(middle, angle, origin="center"), west, south)
    _check_on_ground(odd, size)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=4, max_size=12, unique=True).filter(
        lambda ring: shapely.make_valid(Polygon(ring)).area > 0
    )
)
def test_knots_are_sampled(ring: list[tuple[int, int]]) -> None:
    _check_on_ground(
        affinity.translate(affinity.scale(Polygon(ring), 1e-3, 1e-3, origin=(0, 0)), 15, 46), 1e-2
    )


def _check_on_ground(shape: BaseGeometry, size: float) -> None:
    ground = shapely.union_all(
        [shapely.make_valid(one) for one in shapely.get_parts(shape) if isinstance(one, Polygon)]
    )
    points = draw_points(np.random.default_rng(1), shape, 20)
    assert len(points) == 20
    for one in (*points, find_core(shape)):
        # a centimetre is allowed: projecting there and back moves points of a hairline off it by a millimetre
        assert shapely.distance(ground, one) < max(1e-4 * size, 1e-7)


def test_a_valid_outline_without_triangles_is_sampled_uniformly() -> None:
    """GEOS cuts nothing from these pixels, which touch at corners: all of them, turned by 45 degrees, get points."""
    rows = ("#######", "#.#...#", "##.##.#", ".##.##.", ".#..##.", "#######", "###.###")
    pixels = [
        box(x, y, x + 1, y + 1) for y, row in enumerate(rows) for x, mark in enumerate(row) if mark == "#"
    ]
    side = 10.0**-5
    placed = affinity.scale(shapely.union_all(pixels), side, side, origin=(0, 0))
    noisy = affinity.translate(affinity.rotate(placed, 45, origin=(0, 0)), 15, 0.1)
    assert noisy.is_valid
    points = affinity.translate(MultiPoint(draw_points(np.random.default_rng(1), noisy, 3500)), -15, -0.1)
    back = affinity.scale(affinity.rotate(points, -45, origin=(0, 0)), 1 / side, 1 / side, origin=(0, 0))
    counts = [shapely.covers(one, shapely.get_parts(back)).sum() for one in pixels]
    assert sum(counts) > 3490, "but for those on edges"
    assert chisquare(counts).pvalue > 0.001


def test_odd_outlines_are_sampled_uniformly() -> None:
    """The lobes of an uneven bow tie get points by their areas, one to nine, and shared ground counts once."""
    tie = Polygon([(0, 0), (4, 3), (4, 0), (0, 1)])
    narrow = np.mean([one.x < 1 for one in draw_points(np.random.default_rng(1), tie, 4000)])
    assert narrow == pytest.approx(0.1, abs=0.02)
    both = MultiPolygon([box(0, 0, 2, 1), box(1, 0, 3, 1)])
    shared = np.mean([1 < one.x < 2 for one in draw_points(np.random.default_rng(1), both, 4000)])
    assert shared == pytest.approx(1 / 3, abs=0.03)


def test_the_core_is_far_from_the_border() -> None:
    """At 60 degrees north, a degree of longitude is half as long as one of latitude."""
    shape = box(10, 60, 10.2, 60.1).union(box(10.2, 60.04, 10.5, 60.05))
    core = find_core(shape)
    assert shape.covers(core)
    assert core.x == pytest.approx(10.1, abs=0.01)
    assert core.y == pytest.approx(60.05, abs=0.005)
    ring = box(10, 50, 10.3, 50.3).difference(box(10.1, 50.1, 10.2, 50.2))
    assert ring.covers(find_core(ring))


def test_positions_and_ordinals_are_in_range_and_repeatable() -> None:
    positions = draw_positions(np.random.default_rng(1), 50.0, 1000)
    assert (np.diff(positions) >= 0).all()
    assert positions.min() >= 0
    assert positions.max() < 50
    ordinals = draw_ordinals(np.random.default_rng(1), 30, 30)
    assert ordinals.tolist() == list(range(1, 31))
    few = draw_ordinals(np.random.default_rng(1), 1000, 30)
    assert len(set(few.tolist())) == 30
    assert few.tolist() == draw_ordinals(np.random.default_rng(1), 1000, 30).tolist()
    assert sorted(shuffle(np.random.default_rng(1), 9)) == list(range(1, 10))


def test_rare_targets_get_enough_points() -> None:
    found = allocate_by_error(Population(1000, 999_000, 54, {"appeared": 40, "grew": 3}), 0.02)
    assert found.mapped >= 20
    assert found.background > found.mapped
    assert found.objects <= 54
    assert found.changes["grew"] == 3, "all of them"
    assert found.changes["appeared"] >= 20


@pytest.mark.parametrize("samples", [100, 500, 2000])
def test_a_number_of_samples_is_divided(samples: int) -> None:
    found = allocate_by_count(Population(50_000, 50_000, 5400, {"appeared": 4000, "grew": 800}), samples)
    assert found.total == samples
    few = allocate_by_count(Population(50_000, 50_000, 18, {"appeared": 3, "grew": 12}), samples)
    assert (few.total, few.objects, few.changes["appeared"]) == (samples, 18, 3)
    assert few.mapped + few.background >= samples - 18 - 15, "points take the rest"
    empty = allocate_by_count(Population(0, 0, 0, {}), samples)
    assert empty.total == 0
    plain = allocate_by_count(Population(0, 1e6, 0, {}), samples)
    assert (plain.background, plain.total) == (samples, samples)


def test_the_same_seed_draws_the_same_points() -> None:
    shape = box(10, 50, 10.1, 50.1)
    one, two = (draw_points(np.random.default_rng(5), shape, 20) for _ in range(2))
    assert shapely.equals(one, two).all()
