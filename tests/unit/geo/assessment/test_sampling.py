"""Draws are uniform, repeatable, and as many as asked."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from shapely.geometry import MultiPolygon, Point, box

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
