"""Two catalogs with the same collection, day and item ids: each watch uses only its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from shapely import wkb
from shapely.geometry import box, mapping
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Engine, text

from segwatch.db import watches
from segwatch.flows.config.settings import load_settings
from segwatch.flows.inference.drain import Drain
from segwatch.flows.pipeline.discovery import discover_watch
from segwatch.flows.pipeline.tracking import track_ready
from segwatch.geo.crs import to_lonlat
from segwatch.geo.grid import get_crs
from segwatch.geo.identity import identify_catalog
from segwatch.geo.sources import profiles
from segwatch.geo.types.source import BandRef, Profile
from segwatch.geo.types.watch import Instruction, Watch
from tests.conftest import Database
from tests.support.colour_segmenter import Well
from tests.support.images import GRID
from tests.support.serving import Files, serving_files
from tests.support.stac_store import Store, stac_store

WATER, LAND = (10, 20, 30), (200, 180, 160)
START, NOW = datetime(2024, 4, 1, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC)
OPTICAL = profiles.load("rgb-cog")
SAME_NAMES = replace(OPTICAL, name="radar")
RADAR = replace(SAME_NAMES, red=BandRef("vv"), green=BandRef("vv", 2), blue=BandRef("vv", 3))


@dataclass(frozen=True)
class Ground:
    """An image of 400 x 400 m with one lake, this many pixels east of the grid's origin."""

    shift: int
    lake: tuple[int, int, int, int]
    """First and last column and row, in pixels of the image."""

    @property
    def transform(self) -> Affine:
        return GRID.transform @ Affine.translation(self.shift, 0)

    def outline(self, west: float, north: float, east: float, south: float) -> BaseGeometry:
        left, top = self.transform @ (west, north)
        right, bottom = self.transform @ (east, south)
        return to_lonlat(box(left, bottom, right, top), get_crs(GRID))

    @property
    def footprint(self) -> BaseGeometry:
        return self.outline(0, 0, GRID.width, GRID.height)

    @property
    def water(self) -> BaseGeometry:
        west, east, north, south = self.lake
        return self.outline(west, north, east, south)

    def picture(self) -> bytes:
        west, east, north, south = self.lake
        values = np.empty((3, GRID.height, GRID.width), np.uint8)
        values[:] = np.array(LAND, np.uint8)[:, None, None]
        values[:, north:south, west:east] = np.array(WATER, np.uint8)[:, None, None]
        size = {"width": GRID.width, "height": GRID.height, "count": 3, "dtype": "uint8"}
        with rasterio.MemoryFile() as memory:
            with memory.open(
                driver="GTiff", crs=get_crs(GRID).to_wkt(), transform=self.transform, **size
            ) as file:
                file.write(values)
            return bytes(memory.read())


class World:
    """An optical and a radar watch over one area, each with its own catalog."""

    def __init__(self, engine: Engine, database: Database, grounds: dict[str, Ground]) -> None:
        self.engine = engine
        self.grounds = grounds
        self.catalogs: dict[str, str] = {}
        self._settings = load_settings(database_url=database.url(), linger_seconds=0)

    def watch(self, name: str, catalog: str, profile: Profile, **more: Any) -> None:
        whole = box(*self.grounds["optical"].footprint.union(self.grounds["radar"].footprint).bounds)
        self.catalogs[name] = identify_catalog(catalog, more.get("catalog_name", ""))
        made = Watch(
            name, Instruction("segment the water", ("water",)), whole, profile, catalog, START, **more
        )
        with self.engine.begin() as conn:
            watches.apply(conn, made)

    def discover(self, name: str) -> int:
        return discover_watch(self.engine, name, model_version=Well.version, now=NOW).queued

    def answer(self) -> None:
        Drain(self.engine, Well(), self._settings).run()
        track_ready(self.engine)

    def rows(self, query: str, **values: object) -> list[dict[str, Any]]:
        with self.engine.connect() as conn:
            return [dict(row) for row in conn.execute(text(query), values).mappings()]


def put(store: Store, ground: Ground, asset: str, link: str) -> None:
    """An item with the id that all catalogs use, over this area."""
    store.put("item", "2024-05-01T10:00:00Z")
    store.items["item"]["geometry"] = mapping(ground.footprint)
    store.items["item"]["assets"] = {asset: {"href": link}}


@contextmanager
def catalogs(
    engine: Engine, database: Database, radar: Profile, shift: int
) -> Iterator[tuple[World, dict[str, Store], Files]]:
    grounds = {"optical": Ground(0, (4, 16, 4, 30)), "radar": Ground(shift, (22, 36, 10, 36))}
    pictures = {f"/{name}.tif": ground.picture() for name, ground in grounds.items()}
    stores = {name: Store() for name in grounds}
    world = World(engine, database, grounds)
    with ExitStack() as stack:
        files = stack.enter_context(serving_files(pictures))
        for name, profile in (("optical", OPTICAL), ("radar", radar)):
            put(stores[name], grounds[name], profile.red.asset, f"{files.url}/{name}.tif")
            world.watch(name, stack.enter_context(stac_store(stores[name])), profile)
        yield world, stores, files


def same(one: BaseGeometry, other: BaseGeometry) -> float:
    """Intersection over union."""
    return float(one.intersection(other).area / one.union(other).area)


def check(world: World) -> None:
    """Polygons, footprints, links and keys of each watch come from its catalog."""
    for name, ground in world.grounds.items():
        (lake,) = world.rows("SELECT geom, item_hrefs FROM watch.objects_now WHERE watch = :name", name=name)
        assert same(wkb.loads(lake["geom"], hex=True), ground.water) > 0.98
        (seen,) = world.rows("SELECT * FROM watch.coverage WHERE watch = :name", name=name)
        assert (seen["state"], seen["catalog"]) == ("observed", world.catalogs[name])
        assert seen["scene_key"].startswith(f"{world.catalogs[name]}/visual/")
        assert same(wkb.loads(seen["geom"], hex=True), ground.footprint) > 0.98
        assert seen["item_hrefs"] == [f"{world.catalogs[name]}/collections/visual/items/item"]
        assert lake["item_hrefs"] == seen["item_hrefs"]


@pytest.mark.parametrize("radar", [SAME_NAMES, RADAR], ids=["same assets", "other assets"])
@pytest.mark.parametrize("shift", [0, 160], ids=["same ground", "1.6 km apart"])
@pytest.mark.parametrize("first", ["optical", "radar"])
@pytest.mark.parametrize("together", [True, False])
def test_each_watch_sees_its_own(
    engine: Engine, database: Database, radar: Profile, shift: int, first: str, together: bool
) -> None:
    with catalogs(engine, database, radar, shift) as (world, _, _):
        for name in sorted(world.grounds, reverse=first == "radar"):
            assert world.discover(name) == 1
            if not together:
                world.answer()
        world.answer()
        check(world)
        before = world.rows("SELECT xmin, * FROM segwatch.scene_item ORDER BY id")
        assert [world.discover(name) for name in world.grounds] == [0, 0]
        assert world.rows("SELECT xmin, * FROM segwatch.scene_item ORDER BY id") == before


def test_the_map_shows_each_watch_its_own_pixels(
    engine: Engine, database: Database, analyst_engine: Engine
) -> None:
    from segwatch.db import analyst
    from segwatch.flows.web.pixels.shown import shown_scene

    with catalogs(engine, database, RADAR, 0) as (world, _, files):
        for name in world.grounds:
            world.discover(name)
        world.answer()
        with analyst_engine.connect() as conn:
            for name, other in (("optical", "radar"), ("radar", "optical")):
                (scene,) = analyst.list_scenes(conn, name)
                shown = shown_scene(analyst.list_readable_items(conn, name, str(scene["scene_id"])))
                (item,) = shown.scene.items
                assert set(item.assets.values()) == {f"{files.url}/{name}.tif"}
                assert analyst.list_readable_items(conn, other, str(scene["scene_id"])) == []


def test_a_catalog_that_moves_keeps_its_identity_by_name(engine: Engine, database: Database) -> None:
    """The same items at another URL: nothing is observed again, and later scenes are read there."""
    with catalogs(engine, database, SAME_NAMES, 0) as (world, stores, files), ExitStack() as stack:
        store = stores["optical"]
        old, new = (stack.enter_context(stac_store(store)) for _ in range(2))
        world.watch("optical", old, OPTICAL, catalog_name="ours")
        assert world.discover("optical") == 1
        world.discover("radar")
        world.answer()
        world.watch("optical", new, OPTICAL, catalog_name="ours")
        assert world.discover("optical") == 0
        (seen,) = world.rows("SELECT item_hrefs, catalog FROM watch.coverage WHERE watch = 'optical'")
        assert (seen["catalog"], seen["item_hrefs"]) == ("ours", [f"{old}/collections/visual/items/item"])
        store.items["item"]["properties"]["datetime"] = "2024-05-02T10:00:00Z"
        store.items["item"]["assets"]["visual"]["href"] = f"{files.url}/optical.tif?day=2"
        assert world.discover("optical") == 1
        # without the name, the catalog has another identity
        world.watch("optical", new, OPTICAL)
        assert world.discover("optical") == 1


def test_versions_of_one_product_in_two_catalogs_do_not_supersede_each_other(
    engine: Engine, database: Database
) -> None:
    with catalogs(engine, database, SAME_NAMES, 0) as (world, stores, _):
        for name, baseline in (("optical", "05.09"), ("radar", "05.11")):
            more = {"grid:code": "MGRS-33TVL", "s2:processing_baseline": baseline}
            stores[name].items["item"]["properties"].update(more)
            world.discover(name)
        query = "SELECT processing_baseline AS baseline FROM segwatch.scene_item WHERE superseded_at IS NULL"
        assert sorted(row["baseline"] for row in world.rows(query)) == ["05.09", "05.11"]
        world.answer()
        check(world)


def test_items_of_one_id_in_two_collections_are_two_items(engine: Engine, database: Database) -> None:
    """A profile for any collection, and ids that are unique only within one."""
    with catalogs(engine, database, SAME_NAMES, 0) as (world, stores, _), ExitStack() as stack:
        store = stores["optical"]
        store.items["other"] = {**store.items["item"], "collection": "another"}
        url = stack.enter_context(stac_store(store))
        world.watch("any", url, replace(OPTICAL, name="any", collection="*"))
        assert world.discover("any") == 2
        keys = world.rows("SELECT scene_key FROM watch.coverage WHERE watch = 'any' ORDER BY 1")
        assert [row["scene_key"].removeprefix(url).split("/")[1] for row in keys] == ["another", "visual"]


def test_rejected_items_belong_to_one_watch(engine: Engine, database: Database) -> None:
    with catalogs(engine, database, RADAR, 0) as (world, stores, _):
        stores["radar"].items["item"]["assets"] = {}
        assert [world.discover(name) for name in ("optical", "radar")] == [1, 0]
        (row,) = world.rows("SELECT watch, href FROM watch.rejected_items")
        assert row["watch"] == "radar"
        assert row["href"].startswith(world.catalogs["radar"])
        world.answer()
        covered = {
            (one["watch"], one["state"]) for one in world.rows("SELECT watch, state FROM watch.coverage")
        }
        assert covered == {("optical", "observed"), ("radar", "rejected")}
