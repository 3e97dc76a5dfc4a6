"""Discovery into a real ledger: new, late and reprocessed items are found once, whatever the catalog does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from shapely.geometry import box
from sqlalchemy import Engine, text

from segwatch.db import watches
from segwatch.flows.pipeline.discovery import DiscoveryCounts, discover_watch
from segwatch.geo.errors import CatalogUnreachable
from segwatch.geo.sources import profiles
from segwatch.geo.types.source import BandRef
from segwatch.geo.types.watch import Instruction, Watch
from tests.support.stac_store import QUERY, Store, stac_store

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class World:
    """A watch on a catalog, and a clock that tests set."""

    def __init__(self, engine: Engine, url: str, store: Store) -> None:
        self.engine = engine
        self.store = store
        self.now = NOW
        area = box(0.2, 0.2, 0.8, 0.8)
        start = datetime(2020, 1, 1, tzinfo=UTC)
        profile = profiles.load("rgb-cog")
        with engine.begin() as conn:
            watches.apply(conn, Watch("w", Instruction("segment the water"), area, profile, url, start))

    def look(self, after: timedelta = HOUR) -> DiscoveryCounts:
        """Advance the clock and run discovery."""
        self.now += after
        return discover_watch(self.engine, "w", model_version="m@1", now=self.now)

    def rows(self, query: str) -> list[Any]:
        with self.engine.connect() as conn:
            return [tuple(row) for row in conn.execute(text(query))]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def world(engine: Engine, store: Store) -> Iterator[World]:
    with stac_store(store) as url:
        yield World(engine, url, store)


def test_every_item_is_found_once_in_parts_of_a_year(world: World) -> None:
    for year in range(2020, 2025):
        for day in range(1, 5):
            world.store.put(f"{year}-{day}", f"{year}-03-0{day}T10:00:00Z", updated=f"{year}-03-09T00:00:00Z")
    first = world.look()
    assert (first.items, first.scenes, first.queued) == (20, 20, 20)
    assert len(world.store.searches) == 5
    # the newest items are requested again: others updated at the same time may become visible later
    again = world.look()
    assert (again.items, again.queued) == (4, 0)
    assert len(world.store.searches) == 6


def test_only_updated_items_are_requested(world: World) -> None:
    world.store.put("a", "2024-05-01T10:00:00Z", updated="2024-05-02T00:00:00Z")
    world.look()
    world.store.searches.clear()
    world.store.put("late", "2021-01-01T10:00:00Z", updated="2024-06-01T13:30:00Z")
    assert world.look().queued == 1
    (asked,) = world.store.searches
    assert asked["query"]["updated"]["gt"] == "2024-05-01T23:00:00Z"
    world.look()
    assert world.store.searches[-1]["query"]["updated"]["gt"] == "2024-06-01T12:30:00Z"


def test_an_item_published_with_an_old_time_is_found_within_a_day(world: World) -> None:
    world.store.put("a", "2024-05-01T10:00:00Z", updated="2024-05-02T00:00:00Z")
    world.look()
    world.store.put("hidden", "2024-04-01T10:00:00Z", updated="2024-04-02T00:00:00Z")
    assert world.look().queued == 0
    assert world.look(timedelta(days=1)).queued == 1


def test_an_update_time_in_the_future_hides_no_later_item(world: World) -> None:
    world.store.put("a", "2024-05-01T10:00:00Z", updated="2099-01-01T00:00:00Z")
    world.look()
    world.store.put("b", "2024-05-02T10:00:00Z", updated="2024-06-01T13:00:00Z")
    assert world.look().queued == 1


@pytest.mark.parametrize("says", ["items", "catalog"])
def test_without_update_times_the_whole_period_is_searched(world: World, says: str) -> None:
    """No item is missed where items have no update time, or the catalog cannot filter by it."""
    if says == "catalog":
        world.store.conforms.remove(QUERY)
    world.store.put("a", "2024-05-01T10:00:00Z", updated=None if says == "items" else "2024-05-02T00:00:00Z")
    world.look()
    world.store.put("b", "2020-05-02T10:00:00Z", updated=None if says == "items" else "2024-06-01T13:00:00Z")
    assert world.look().queued == 1


def test_a_reprocessed_item_is_observed_again_and_the_old_one_superseded(world: World) -> None:
    world.store.put("a_0", "2024-05-01T10:00:00Z", updated="2024-05-02T00:00:00Z", **{"grid:code": "MGRS-1"})
    assert world.look().queued == 1
    again = {"grid:code": "MGRS-1", "s2:processing_baseline": "05.10"}
    world.store.put("a_1", "2024-05-01T10:00:00Z", updated="2024-06-01T13:30:00Z", **again)
    assert world.look().queued == 1
    items = world.rows("SELECT item_id, superseded_at IS NULL FROM segwatch.scene_item ORDER BY item_id")
    assert items == [("a_0", False), ("a_1", True)]
    states = world.rows(
        "SELECT version, state, cardinality(items) FROM segwatch.observation ORDER BY version"
    )
    assert states == [(1, "skipped", 1), (2, "pending", 1)]
    # the old version appears again
    world.look(timedelta(days=2))
    assert (
        world.rows("SELECT item_id, superseded_at IS NULL FROM segwatch.scene_item ORDER BY item_id") == items
    )
    assert world.rows("SELECT count(*) FROM segwatch.observation") == [(2,)]


def test_older_versions_found_together_are_recorded_too(world: World) -> None:
    tile = {"grid:code": "MGRS-1"}
    world.store.put("a_0", "2024-05-01T10:00:00Z", **tile)
    world.store.put("a_1", "2024-05-01T10:00:00Z", **tile, **{"s2:processing_baseline": "05.10"})
    assert world.look().queued == 1
    items = world.rows("SELECT item_id, superseded_at IS NULL FROM segwatch.scene_item ORDER BY item_id")
    assert items == [("a_0", False), ("a_1", True)]
    assert world.rows("SELECT cardinality(items) FROM segwatch.observation") == [(1,)]


def test_a_time_without_a_zone_is_utc(world: World) -> None:
    for day in range(1, 6):
        world.store.put(f"a{day}", f"2024-05-0{day}T10:00:00Z")
    start, end = datetime(2024, 5, 2, 10), datetime(2024, 5, 4, 9, 59)
    found = discover_watch(world.engine, "w", model_version="m@1", start=start, end=end, now=NOW)
    assert found.queued == 2
    (asked,) = world.store.searches
    assert asked["datetime"] == "2024-05-02T10:00:00Z/2024-05-04T09:59:00Z"


def test_searching_again_changes_no_row(world: World) -> None:
    """Neither the next search nor the daily reconcile changes a row, also with two products of one tile."""
    tile = {"grid:code": "MGRS-1"}
    world.store.put("a_0", "2024-05-01T10:00:00Z", updated="2024-05-03T00:00:00Z", **tile)
    newer = {"updated": "2024-05-02T00:00:00Z", "s2:processing_baseline": "05.10"}
    world.store.put("a_1", "2024-05-01T10:00:00Z", **tile, **newer)
    world.store.put("b", "2024-05-02T10:00:00Z")
    world.look()

    def rows() -> list[list[Any]]:
        names = ("scene", "scene_item", "observation")
        return [world.rows(f"SELECT xmin, x.* FROM segwatch.{name} x ORDER BY x.id") for name in names]

    before = rows()
    for after in (HOUR, timedelta(days=1), timedelta(days=1)):
        world.look(after)
        assert rows() == before


def test_an_interrupted_backfill_continues(world: World) -> None:
    for year in range(2020, 2025):
        world.store.put(str(year), f"{year}-03-01T10:00:00Z", updated=f"{year}-03-02T00:00:00Z")
    down = (503, {"retry-after": "0"}, b"{}")
    world.store.fault = lambda number: down if number > 2 else None
    with pytest.raises(CatalogUnreachable, match=r"503|error"):
        world.look()
    assert world.rows("SELECT count(*) FROM segwatch.observation") == [(2,)]
    world.store.fault = lambda number: None
    world.store.searches.clear()
    assert world.look().queued == 3
    begins = [one["datetime"][:4] for one in world.store.searches]
    assert begins == ["2022", "2023", "2024"]
    # the update times of the first two parts are lost, so the watermark has none
    world.store.put("late", "2020-03-05T10:00:00Z", updated="2020-03-06T00:00:00Z")
    assert world.look().queued == 1


@pytest.mark.parametrize(
    "fault",
    [
        (429, {"retry-after": "0"}, b"{}"),
        (500, {}, b"{}"),
        (502, {}, b"<html>"),
        (200, {"content-length": "5000"}, b'{"type": "FeatureColl'),
    ],
    ids=["429", "500", "502", "cut"],
)
def test_intermittent_failures_are_retried(world: World, fault: tuple[int, dict[str, str], bytes]) -> None:
    for day in range(1, 9):
        world.store.put(f"a{day}", f"2024-05-0{day}T10:00:00Z")
    world.store.fault = lambda number: fault if number % 3 == 2 else None
    assert world.look().queued == 8


def test_unusable_items_are_recorded_and_the_others_observed(world: World) -> None:
    world.store.put("good", "2024-05-01T10:00:00Z")
    world.store.put("flat", "2024-05-02T10:00:00Z")
    world.store.items["flat"]["geometry"] = None
    world.store.put("timeless", "2024-05-03T10:00:00Z")
    world.store.items["timeless"]["properties"]["datetime"] = None
    world.store.put("bare", "2024-05-04T10:00:00Z")
    world.store.items["bare"]["assets"] = {}
    found = world.look()
    assert (found.queued, found.rejected) == (1, 3)
    reasons = dict(world.rows("SELECT item_id, reason FROM segwatch.rejected_item"))
    assert "no geometry" in reasons["flat"]
    assert "time is missing or invalid" in reasons["timeless"]
    assert "asset 'visual' is missing" in reasons["bare"]


def test_rejected_items_are_in_coverage_until_usable(world: World) -> None:
    held = (
        "SELECT state, count(*) FROM watch.coverage WHERE superseded_at IS NULL GROUP BY state ORDER BY state"
    )
    world.store.put("good", "2024-05-01T10:00:00Z")
    world.store.put("bare", "2024-05-04T10:00:00Z")
    assets = world.store.items["bare"].pop("assets")
    world.store.put("timeless", "2024-05-03T10:00:00Z")
    world.store.items["timeless"]["properties"]["datetime"] = None
    found = world.look()
    assert sum(found.reasons.values()) == found.rejected == 2
    assert world.rows(held) == [("pending", 1), ("rejected", 2)]
    there = "SELECT answer FROM watch.why_not(0.5, 0.5, '2024-05-03T12:00Z', 'w') ORDER BY answer"
    # the item without a time may be of that day, the other one is not
    assert world.rows(there) == [("pending",), ("rejected",)]
    elsewhere = "SELECT answer FROM watch.why_not(0.1, 0.1, now(), 'w')"
    assert set(world.rows(elsewhere)) == {("not imaged",)}
    # rejected again, for another reason
    world.store.items["bare"] |= {"assets": assets, "geometry": None}
    world.look()
    assert world.rows(held) == [("pending", 1), ("rejected", 2)]
    assert (
        "no geometry"
        in dict(world.rows("SELECT item_id, reason FROM watch.rejected_items WHERE superseded_at IS NULL"))[
            "bare"
        ]
    )
    world.store.put("bare", "2024-05-04T10:00:00Z")
    world.look()
    assert world.rows(held) == [("pending", 2), ("rejected", 1)]
    world.look()
    assert world.rows(held) == [("pending", 2), ("rejected", 1)]


def test_an_item_that_another_watch_can_use_stays_rejected(world: World) -> None:
    world.store.put("one", "2024-05-01T10:00:00Z")
    world.store.items["one"]["assets"] = {"other": {"href": "https://data.example.org/one.tif"}}
    world.look()
    profile = profiles.load("rgb-cog")
    other = replace(
        profile, red=BandRef("other"), green=BandRef("other", 2), blue=BandRef("other", 3), name="other"
    )
    with world.engine.begin() as conn:
        watch = watches.load_current(conn, "w").watch
        watches.apply(conn, replace(watch, name="v", profile=other))
    discover_watch(world.engine, "v", model_version="m@1", now=world.now)
    states = "SELECT watch, state FROM watch.coverage WHERE superseded_at IS NULL ORDER BY watch"
    assert world.rows(states) == [("v", "pending"), ("w", "rejected")]
    with world.engine.begin() as conn:
        watches.apply(conn, replace(watch, profile=other))
    world.look()
    assert world.rows(states) == [("v", "pending"), ("w", "pending")], "and its profile was mended"
