"""Invariant 1: running a step again with the same inputs changes no row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely.geometry import box
from sqlalchemy import Engine, text

from segwatch.db import scenes
from segwatch.geo.scenes import group_scenes, select_newest
from segwatch.geo.types.scene import Item

START = datetime(2024, 1, 1, 10, tzinfo=UTC)


def test_a_scene_that_arrives_twice_is_one_scene(ledgers: Any, kit: Any) -> None:
    lake, grown = kit.cells(1, 1, 4, 4), kit.cells(1, 1, 6, 4)
    world = [kit.look((lake,)), kit.look((grown,)), kit.look(())]
    ledger = ledgers()
    ledger.arrive(world, [0])
    ledger.arrive(world, [2])
    ledger.arrive(world, [1])
    before = ledger.everything()
    again = ledger.find([0, 1, 2, 1])
    assert again == []
    assert ledger.track().observations == 0
    assert ledger.everything() == before


def item(
    identity: str, baseline: str, *, west: float = 10, days: int = 0, width: float = 1, catalog: str = ""
) -> Item:
    """Make an item of one tile and pass."""
    return Item(
        id=identity, collection="c", href=f"https://stac.example/{identity}?{days}", acquired_at=START,
        updated_at=START + timedelta(days=days), platform="p", relative_orbit="7", processing_baseline=baseline,
        footprint=box(west, 50, west + width, 51), assets={"red": f"https://img.example/{identity}-{days}.tif"},
        properties={"grid:code": "MGRS-31UDQ"}, catalog=catalog,
    )  # fmt: skip


def look(engine: Engine, items: Sequence[Item]) -> None:
    """Find these items, as :mod:`segwatch.flows.pipeline.discovery` does."""
    with engine.begin() as conn:
        scenes.settle(conn, scenes.upsert(conn, group_scenes(items, all_versions=True)), select_newest)


def stored(engine: Engine, columns: str, table: str = "scene_item") -> list[tuple[Any, ...]]:
    with engine.connect() as conn:
        return [
            tuple(row) for row in conn.execute(text(f"SELECT {columns} FROM segwatch.{table} ORDER BY id"))
        ]


OLD, NEW = item("S2_N0400", "04.00"), item("S2_N0500", "05.00")


@pytest.mark.parametrize(
    "items",
    [
        [OLD],
        [OLD, item("S2_N0400", "04.00", days=1)],
        [OLD, NEW],
        # what the older id was updated to meanwhile is still older
        [OLD, item("S2_N0400", "04.00", days=3), NEW, item("S2_N0500", "05.00", days=2)],
        [item("west", "05.00"), item("east", "05.00", west=10.9)],
        [
            OLD,
            *(item("S2_N0400", "04.00", catalog=name) for name in ("https://a.example", "https://b.example")),
        ],
    ],
    ids=["one", "two versions", "two ids", "two versions of two ids", "two pieces", "three catalogs"],
)
def test_finding_the_same_items_again_changes_no_row(engine: Engine, items: list[Item]) -> None:
    look(engine, items)
    every = "id, superseded_at, xmin"
    before = stored(engine, every), stored(engine, "id, xmin", "scene")
    for again in (items, items[::-1], items[:1], items[-1:]):
        look(engine, again)
        assert (stored(engine, every), stored(engine, "id, xmin", "scene")) == before


@pytest.mark.parametrize("order", permutations(range(4)))
def test_any_order_of_arrival_gives_the_same_current_items(engine: Engine, order: tuple[int, ...]) -> None:
    """The whole item supersedes the piece within it; the newest piece beside it supersedes nothing."""
    tile = [
        item("piece", "02.00", west=10.2, width=0.6),
        item("whole", "03.00"),
        item("small again", "04.00", width=0.3),
        item("beyond", "05.00", west=10.6),
    ]
    for index in order:
        look(engine, [tile[index]])
    assert dict(stored(engine, "item_id, superseded_at IS NULL")) == {
        "piece": False, "whole": True, "small again": True, "beyond": True,
    }  # fmt: skip


def test_a_superseded_item_that_is_updated_becomes_current_again(engine: Engine) -> None:
    look(engine, [OLD, NEW])
    first = {row[0]: row for row in stored(engine, "id, superseded_at, xmin")}
    look(engine, [item("S2_N0400", "06.00", days=5)])
    rows = stored(engine, "item_id, processing_baseline, superseded_at IS NULL")
    assert sorted(rows) == [
        ("S2_N0400", "04.00", False), ("S2_N0400", "06.00", True), ("S2_N0500", "05.00", False)
    ]  # fmt: skip
    untouched = [row for row in stored(engine, "id, superseded_at, xmin") if row == first.get(row[0])]
    assert len(untouched) == 1, "what was superseded before keeps its time"


CATALOGS = ["", "https://a.example", "https://b.example"]
FOUND = st.tuples(
    st.sampled_from(CATALOGS),
    st.sampled_from(["one", "two"]),
    st.sampled_from(["04.00", "05.00"]),
    st.sampled_from([10.0, 10.4]),
    st.sampled_from([0.3, 1.0]),
)


@given(found=st.lists(FOUND, min_size=1, max_size=6, unique_by=lambda one: one[:3]), data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_newest_items_of_each_catalog_are_current(
    engine: Engine, found: list[Any], data: st.DataObject
) -> None:
    """In any order, one by one or together, found once or twice; each catalog on its own."""
    collection = f"c{uuid4().hex}"
    items = [
        replace(item(name, baseline, west=west, width=width, catalog=catalog), collection=collection)
        for catalog, name, baseline, west, width in found
    ]
    look(engine, items[: data.draw(st.integers(0, len(items)))])
    for one in data.draw(st.permutations(items)):
        look(engine, [one])
    query = text(
        "SELECT s.catalog, i.item_id, i.processing_baseline FROM segwatch.scene_item i"
        " JOIN segwatch.scene s ON s.id = i.scene_id WHERE s.collection = :c AND i.superseded_at IS NULL"
    )
    with engine.connect() as conn:
        in_force = {tuple(row) for row in conn.execute(query, {"c": collection})}
    assert in_force == {
        (catalog, one.id, one.processing_baseline)
        for catalog in CATALOGS
        for one in select_newest([x for x in items if x.catalog == catalog])
    }
