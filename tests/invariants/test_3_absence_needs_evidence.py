"""Invariant 3: what was not seen changes nothing, in whatever order it was not seen, and what is seen for the first
time is baseline."""

from __future__ import annotations

from typing import Any

import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segwatch.geo.area import extract_polygons

LAKE, VIEWS = (
    (2, 2, 6, 6),
    [(0, 0, 1, 8), (0, 0, 2, 8), (0, 0, 3, 8), (0, 0, 8, 4), (4, 4, 8, 8), (0, 0, 8, 8)],
)


@given(st.lists(st.sampled_from(VIEWS), min_size=1, max_size=5), st.randoms(use_true_random=False))
@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_clouds_over_a_steady_lake_change_nothing(
    ledgers: Any, kit: Any, views: list[tuple[int, ...]], shuffle: Any
) -> None:
    lake = kit.cells(*LAKE)
    world = [kit.look((lake,)), *(kit.look((lake,), kit.cells(*view)) for view in views)]
    ledger = ledgers()
    order = list(range(1, len(world)))
    shuffle.shuffle(order)
    for number in [0, *order]:
        ledger.arrive(world, [number])
    (only,) = ledger.rows(
        "SELECT ST_Area(ST_SymDifference(geom, ST_GeomFromText(:lake, 4326))) / ST_Area(geom) AS off"
        " FROM watch.objects_now",
        lake=lake.wkt,
    )
    assert only["off"] < 1e-6
    assert [row["kind"] for row in ledger.known()["changes"]] == ["appeared"]
    assert ledger.rows("SELECT * FROM segwatch.alert") == []


@given(st.permutations(range(4)))
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_lake_disappears_only_where_it_was_observed(ledgers: Any, kit: Any, order: list[int]) -> None:
    lake = kit.cells(*LAKE)
    hidden, seen = kit.cells(0, 0, 4, 8), kit.everything
    for last, alive in ((hidden, 1), (seen, 0)):
        world = [kit.look((lake,)), kit.look((), hidden), kit.look((), hidden), kit.look((), last)]
        ledger = ledgers()
        for number in order:
            ledger.arrive(world, [number])
        assert len(ledger.known()["objects"]) == alive


SHAPES = [(0, 0, 3, 2), (2, 3, 7, 5), (4, 0, 5, 4), (6, 6, 8, 8), (0, 6, 2, 7), (3, 4, 4, 8)]
SWATHS = [(0, 0, 4, 8), (4, 0, 8, 8), (0, 0, 8, 4), (0, 4, 8, 8), (2, 2, 6, 6), (0, 0, 8, 8), (5, 0, 8, 3)]


@given(
    st.sets(st.integers(0, len(SHAPES) - 1), min_size=1),
    st.lists(st.sets(st.integers(0, len(SWATHS) - 1), min_size=1, max_size=3), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)
@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_objects_on_ground_observed_first_are_baseline(
    ledgers: Any, kit: Any, there: set[int], views: list[set[int]], shuffle: Any
) -> None:
    """Nothing changes on the ground; swaths, clouds and order of arrival vary."""
    ground = kit.merged(SHAPES[index] for index in there)
    world = [kit.look(ground, kit.union(SWATHS[index] for index in view)) for view in views]
    ledger = ledgers()
    order = list(range(len(world)))
    shuffle.shuffle(order)
    for number in order:
        ledger.arrive(world, [number])
    changes = ledger.known()["changes"]
    assert {(row["kind"], row["baseline"]) for row in changes} <= {("appeared", True)}
    assert ledger.rows("SELECT * FROM segwatch.alert") == []
    seen = shapely.union_all([look.footprint for look in world])
    expected = kit.union(SHAPES[index] for index in there).intersection(seen)
    objects = [shapely.from_wkb(str(row["geom"])) for row in ledger.known()["objects"]]
    assert len(objects) == len(extract_polygons(expected))
    off = shapely.union_all(objects).symmetric_difference(expected).area
    assert off < 1e-6 * kit.everything.area
