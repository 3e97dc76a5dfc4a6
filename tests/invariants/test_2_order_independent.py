"""Invariant 2: any order of arrival, duplication or batching of the same scenes ends in the same state."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, example, given, note, settings
from hypothesis import strategies as st

SHAPES = [
    (1, 1, 4, 4), (1, 1, 5, 4), (1, 1, 3, 4), (4, 1, 6, 4), (1, 1, 6, 4), (2, 5, 4, 7), (5, 5, 7, 7), (2, 5, 7, 7),
]  # fmt: skip
VIEWS = [(0, 0, 8, 8), (0, 0, 8, 8), (0, 0, 8, 8), (0, 0, 4, 8), (3, 0, 8, 8), (0, 0, 8, 4.5), (0, 2, 8, 8)]

looks = st.tuples(st.sets(st.integers(0, len(SHAPES) - 1), max_size=3), st.integers(0, len(VIEWS) - 1))


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[list[Any], list[list[int]], int]:
    world = draw(st.lists(looks, min_size=2, max_size=6))
    order = draw(st.permutations(range(len(world))))
    cuts = sorted(draw(st.sets(st.integers(1, len(world) - 1), max_size=len(world) - 1)))
    batches = [order[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(order)], strict=True)]
    return world, batches, draw(st.integers(1, 3))


# the lake is gone at the last scene in two derivations, outlined from different scenes
@example(([({0}, 0), (set(), 0), (set(), 0), ({0, 7}, 0), (set(), 0)], [[4], [0], [1, 3, 2]], 1))
@example(([({0, 3, 4}, 5), ({0, 3, 4}, 6), (set(), 3), (set(), 6), ({1}, 0)], [[0], [3], [2], [4], [1]], 1))
# the core of an object that one scene shows by a corner lies beyond the scene's footprint
@example(
    ([({1, 7}, 1), ({6}, 4), (set(), 0), (set(), 4), ({2, 7}, 3), ({1, 7}, 0)], [[2, 1, 5], [0], [4], [3]], 3)
)
@given(arrivals())
@settings(
    max_examples=15,
    # shrinking folds a world hundreds of times: give the world as it was drawn
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_order_of_arrival_ends_in_the_same_state(
    ledgers: Any, kit: Any, arrival: tuple[list[Any], list[list[int]], int]
) -> None:
    drawn, batches, gone_after = arrival
    world = []
    for shapes, view in drawn:
        ground = kit.merged(SHAPES[index] for index in sorted(shapes))
        world.append(kit.look(ground, kit.cells(*VIEWS[view])))
    note(f"batches {batches}, gone_after {gone_after}")
    # with a tolerance of a metre, a scene reaches less than a cell beyond its footprint
    numbers = {"gone_after": gone_after, "tolerance_m": 10.0 if gone_after == 1 else 1.0}
    straight = ledgers(**numbers)
    for number in range(len(world)):
        straight.arrive(world, [number])
    expected = straight.known()
    mixed = ledgers(**numbers)
    for batch in batches:
        mixed.arrive(world, batch)
    found = mixed.known()
    for part, rows in expected.items():
        assert found[part] == rows, part
    before = mixed.everything()
    mixed.arrive(world, range(len(world)))
    assert mixed.everything() == before


@st.composite
def reprocessings(draw: st.DrawFn) -> tuple[list[list[Any]], list[list[tuple[int, int]]], int]:
    """Versions of each day's scene (None: nothing is clear), and how they arrive, in batches."""
    days = draw(st.lists(st.lists(st.none() | looks, min_size=1, max_size=3), min_size=1, max_size=4))
    arrivals = draw(
        st.permutations([(day, number) for day, some in enumerate(days) for number in range(len(some))])
    )
    cuts = sorted(draw(st.sets(st.integers(1, max(len(arrivals) - 1, 1)), max_size=len(arrivals))))
    batches = [arrivals[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(arrivals)], strict=True)]
    return days, batches, draw(st.integers(1, 2))


# a look is taken back, and the days after it are told anew without it
@example(([[({0}, 0)], [({1}, 0), None], [({1}, 0)]], [[(0, 0)], [(1, 0)], [(2, 0)], [(1, 1)]], 1))
@example(([[({0}, 0), ({0, 5}, 0)], [({0}, 0)]], [[(0, 0), (1, 0)], [(0, 1)]], 1))
@given(reprocessings())
@settings(
    max_examples=15,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_reprocessed_scenes_end_as_if_only_their_newest_version_had_been(
    ledgers: Any, kit: Any, arrival: tuple[list[list[Any]], list[list[tuple[int, int]]], int]
) -> None:
    drawn, batches, gone_after = arrival
    note(f"batches {batches}, gone_after {gone_after}")
    worlds = [
        [None if one is None else kit.look(kit.merged(SHAPES[i] for i in sorted(one[0])), kit.cells(*VIEWS[one[1]]))
         for one in some]
        for some in drawn
    ]  # fmt: skip

    def look(ledger: Any, day: int, version: int) -> None:
        seen = worlds[day][version]
        if seen is None:
            ledger.give_up(day, skipped=True, version=version)
        else:
            ledger.answer({day: seen}, [day], version)

    straight = ledgers(gone_after=gone_after)
    for day, versions in enumerate(worlds):
        look(straight, day, len(versions) - 1)
        straight.track()
    expected = straight.known()
    mixed = ledgers(gone_after=gone_after)
    for batch in batches:
        for day, version in batch:
            look(mixed, day, version)
        mixed.track()
    found = mixed.known()
    for part, rows in expected.items():
        assert found[part] == rows, part
    before = mixed.everything()
    mixed.find(range(len(worlds)), 0)
    mixed.track()
    assert mixed.everything() == before


CATALOGS = {"optical": "https://optical.example/v1", "radar": "https://radar.example/v1"}


@st.composite
def two_catalogs(draw: st.DrawFn) -> tuple[dict[str, list[Any]], list[tuple[str, int]]]:
    """Scenes of two catalogs over the same AOI and days, and how they arrive."""
    worlds = {name: draw(st.lists(looks, min_size=1, max_size=3)) for name in CATALOGS}
    scenes = [(name, day) for name, world in worlds.items() for day in range(len(world))]
    return worlds, draw(st.permutations(scenes))


@given(two_catalogs())
@settings(
    max_examples=8,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_catalogs_do_not_affect_each_other(
    ledgers: Any, kit: Any, drawn: tuple[dict[str, list[Any]], list[tuple[str, int]]]
) -> None:
    """Both have the same collection, days, platform and item ids; a watch on one ends as if it were alone."""
    worlds, arrivals = drawn
    note(f"arrivals {arrivals}")
    shown = {
        CATALOGS[name]: [
            kit.look(kit.merged(SHAPES[i] for i in sorted(some)), kit.cells(*VIEWS[view]))
            for some, view in world
        ]
        for name, world in worlds.items()
    }

    def told(names: list[str]) -> dict[str, Any]:
        ledger = ledgers()
        revisions = {name: ledger.also_watch(name, CATALOGS[name]) for name in names}
        for name, day in (one for one in arrivals if one[0] in names):
            ledger.revision = revisions[name]
            for _ in ledger.find([day], catalog=CATALOGS[name]):
                leased = ledger.lease("w")
                ledger.save(leased, "w", shown[leased.scene.catalog][day])
            ledger.track()
        queries = {
            "objects": "SELECT track_id, geom, last_change, item_hrefs FROM watch.objects_now WHERE watch = :name"
            " ORDER BY track_id",
            "changes": "SELECT change_id, track_id, kind, geom FROM watch.changes WHERE watch = :name"
            " AND retracted_at IS NULL ORDER BY change_id",
            "coverage": "SELECT observation_id, scene_key, catalog, state, geom FROM watch.coverage"
            " WHERE watch = :name ORDER BY observation_id",
        }
        return {
            name: {part: ledger.rows(query, name=name) for part, query in queries.items()} for name in names
        }

    both = told(list(CATALOGS))
    for name, catalog in CATALOGS.items():
        assert both[name] == told([name])[name]
        assert {row["catalog"] for row in both[name]["coverage"]} == {catalog}
