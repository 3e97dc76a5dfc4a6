"""Geometry from outside costs a bounded amount of memory and time, whatever it is."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import LineString, Point, Polygon

from segwatch.geo.bounded import child, operations, screen
from segwatch.geo.bounded.geojson import read_geometry
from segwatch.geo.bounded.tasks import Task
from segwatch.geo.errors import TooComplex
from tests.support.hostile_shapes import comb, knot, slanted

corners = st.tuples(st.integers(0, 20), st.integers(0, 20))


def shares_an_end(one: LineString, other: LineString) -> bool:
    return bool(set(one.coords) & set(other.coords))


@given(st.lists(corners, min_size=3, max_size=12))
def test_crossings_are_those_of_every_edge_with_every_other(at: list[tuple[int, int]]) -> None:
    ring = [*at, at[0]]
    edges = [LineString(pair) for pair in itertools.pairwise(ring) if pair[0] != pair[1]]
    pairs = [(one, other) for n, one in enumerate(edges) for other in edges[n + 1 :]]
    expected = sum(one.intersects(other) and not shares_an_end(one, other) for one, other in pairs)
    found = screen.check_crossings(LineString(ring))
    # edges on one line count whether they overlap or not
    assert found >= expected
    if all(shapely.area(shapely.convex_hull(shapely.union(*pair))) > 0 for pair in pairs):
        assert found == expected


def test_a_knot_is_refused_before_it_costs_anything() -> None:
    begun = time.monotonic()
    with pytest.raises(TooComplex, match="cross each other more than 300 times"):
        operations.make_valid(knot(6000))
    assert time.monotonic() - begun < 20


def test_a_knot_within_the_bounds_is_made_valid() -> None:
    shape = knot(40)
    assert operations.make_valid(shape).equals(shapely.make_valid(shape))
    fan = LineString([(n, n % 2) for n in range(200)]).buffer(0.01)
    assert operations.make_valid(fan) is fan


def test_large_parts_are_subtracted_in_bounded_memory_and_none_is_read_in_vain() -> None:
    area = shapely.box(0, 0, 1, 1)
    begun = time.monotonic()
    # many vertices, more than an overlay here may have, and then far too many crossings
    left = operations.subtract_all(
        area, [comb(60_000), shapely.transform(comb(60_000), lambda at: at[:, ::-1])]
    )
    assert left.area == pytest.approx(0.5, abs=0.01), "what takes too much is not subtracted"
    assert time.monotonic() - begun < 60
    read = []

    def parts() -> Iterator[Polygon]:
        for part in (shapely.box(0, 0, 1, 0.5), shapely.box(-1, 0.5, 2, 2), area):
            read.append(part)
            yield part

    assert operations.subtract_all(area, parts()).is_empty
    assert len(read) == 2


def test_valid_shapes_that_explode_together_are_refused() -> None:
    across = shapely.transform(comb(2000), lambda at: at[:, ::-1])
    for operation in (operations.intersection, operations.difference):
        with pytest.raises(TooComplex, match="cross each other more than 100000 times"):
            operation(comb(2000), across)
    with pytest.raises(TooComplex):
        operations.union_all([comb(2000), across])


def test_edges_that_lie_close_together_are_refused() -> None:
    with pytest.raises(TooComplex, match="too many edges of its geometry lie close together"):
        operations.check(slanted(10_000))


def test_what_takes_too_long_is_ended_and_the_next_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    disc = Point(15, 46).buffer(1, quad_segs=200)
    assert operations.buffer(disc, 0.1).equals(shapely.buffer(disc, 0.1, quad_segs=16)), "as in this process"
    monkeypatch.setattr(child, "MAX_SECONDS", 0.3)
    with pytest.raises(TooComplex, match=r"takes more than 0\.3 s"):
        child.run(Task.BUFFER, [slanted(3000)], (-0.01, 16.0))
    monkeypatch.undo()
    assert child.run(Task.UNION_ALL, [disc, disc]).equals(disc)


def test_what_takes_too_much_memory_is_refused() -> None:
    # 9 million crossings would be some 3 GB
    across = shapely.transform(comb(1500), lambda at: at[:, ::-1])
    with pytest.raises(TooComplex, match="takes more than"):
        child.run(Task.UNION_ALL, [comb(1500), across])


def test_shapes_as_they_are_published_need_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(child, "run", started)
    coast = Point(0, 0).buffer(1, quad_segs=1000)
    moved = shapely.transform(coast, lambda at: at + 0.5)
    operations.make_valid(coast)
    operations.make_valid(Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]))
    tiles = [shapely.box(x, y, x + 1.1, y + 1.1) for x in range(20) for y in range(20)]
    operations.union_all(tiles)
    operations.difference(Point(0, 0).buffer(1, quad_segs=300), moved.buffer(0, quad_segs=1))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"type": "MultiPolygon", "coordinates": [[]] * 1_000_000}, "parts"),
        (
            {"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": []}] * 20_000},
            "parts",
        ),
        ({"type": "MultiPoint", "coordinates": [[0, 0]] * 200_000}, "vertices"),
    ],
    ids=["empty parts", "empty points", "vertices"],
)
def test_many_parts_are_refused_before_they_are_made(document: dict[str, Any], words: str) -> None:
    with pytest.raises(TooComplex, match=words):
        read_geometry(document)


def test_nested_collections_are_refused() -> None:
    document: dict[str, Any] = {"type": "Point", "coordinates": [0, 0]}
    for _ in range(20):
        document = {"type": "GeometryCollection", "geometries": [document]}
    with pytest.raises(TooComplex, match="nested"):
        read_geometry(document)
    deep: Any = [0, 0]
    for _ in range(900):
        deep = [deep]
    with pytest.raises(TooComplex, match=r"nested|parts"):
        read_geometry({"type": "Polygon", "coordinates": deep})


def test_numbers_after_the_second_of_a_position_are_left_out() -> None:
    ring = [[0, 0, 1, 2], [1, 0, 5], [1, 1], [0, 0, 1, 2]]
    assert read_geometry({"type": "Polygon", "coordinates": [ring]}).equals(Polygon([(0, 0), (1, 0), (1, 1)]))
    infinite = read_geometry({"type": "Point", "coordinates": [float("inf"), 1e308]})
    assert not np.isfinite(shapely.get_coordinates(infinite)).all(), "left to be refused by name"
