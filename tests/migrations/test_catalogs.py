"""Upgrading a ledger whose scenes did not name their catalog: nothing is observed twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from alembic import command
from psycopg import sql
from psycopg.types.json import Jsonb
from shapely.geometry import box
from sqlalchemy import Engine, text

from segwatch.db import ledger, migrate, observations, scenes, watches
from segwatch.db.codec import dump_watch
from segwatch.db.embedded.cluster import Cluster
from segwatch.db.engine import make_engine
from segwatch.db.ids import make_id
from segwatch.geo.scenes import select_newest
from segwatch.geo.sources import profiles
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.watch import Instruction, Watch
from tests.migrations.conftest import create_database, drop_database

MODEL = "m@1"
START = datetime(2024, 1, 1, 10, tzinfo=UTC)
GROUND = box(10, 50, 10.1, 50.1)
A, B = "http://a.example:80/v1/", "https://b.example/v1"
_OLD_TABLES = {
    "area": "id, geom", "instruction": "id, text, targets", "watch_head": "name, watch_id",
    "watch": "id, name, instruction_id, area_id, definition, priority",
    "series": "id, watch_name, instruction_id, model_version, origin_lon, origin_lat",
    "scene": "id, key, collection, platform, relative_orbit, solar_day, acquired_at, footprint",
    "scene_item": "id, scene_id, item_id, href, acquired_at, updated_at, processing_baseline, assets, properties,"
    " footprint, superseded_at",
    "observation": "id, series_id, scene_id, watch_id, model_version, state, priority, acquired_at, items, version",
}  # fmt: skip


class Old:
    """A database of revision 0010, with rows as the code of that time wrote them."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.url = cluster.info().url_for("segwatch_owner", database=name)
        self._superuser = cluster.info().superuser_url(name)

    def put(self, table: str, *values: object) -> None:
        """A row, unless it is there."""
        names = [sql.Identifier(one.strip()) for one in _OLD_TABLES[table].split(",")]
        statement = sql.SQL("INSERT INTO segwatch.{} ({}) VALUES ({}) ON CONFLICT DO NOTHING").format(
            sql.Identifier(table),
            sql.SQL(", ").join(names),
            sql.SQL(", ").join([sql.Placeholder()] * len(names)),
        )
        with psycopg.connect(self._superuser, autocommit=True) as conn:
            conn.execute(statement, values)

    def apply(self, watch: Watch, *, head: bool = True) -> UUID:
        definition = dump_watch(watch)
        del definition["catalog_name"]
        revision = make_id("watch", watch.name, watch.catalog)
        instruction, area = (
            watches.make_instruction_id(watch.instruction),
            make_id("area", watch.area.wkb_hex),
        )
        self.put("area", area, f"SRID=4326;{watch.area.wkt}")
        self.put("instruction", instruction, watch.instruction.text, list(watch.instruction.targets))
        self.put("watch", revision, watch.name, instruction, area, Jsonb(definition), watch.priority)
        if head:
            self.put("watch_head", watch.name, revision)
        self.put("series", _series(watch), watch.name, instruction, MODEL, 10.05, 50.05)
        return revision

    def observe(self, revision: UUID, watch: Watch, scene: Scene, state: str = "observed") -> UUID:
        """A scene with its items and an observation of all of them."""
        key = f"{scene.collection}/{scene.platform}/{scene.relative_orbit}/{scene.solar_day}"
        identity, ground = make_id("scene", key), f"SRID=4326;{scene.footprint.wkt}"
        named = scene.collection, scene.platform, scene.relative_orbit, scene.solar_day, scene.acquired_at
        self.put("scene", identity, key, *named, ground)
        items = [_old_item_id(one) for one in scene.items]
        for row, one in zip(items, scene.items, strict=True):
            times = one.acquired_at, one.updated_at
            self.put("scene_item", row, identity, one.id, one.href, *times, one.processing_baseline,
                     Jsonb(dict(one.assets)), Jsonb(dict(one.properties)), ground, None)  # fmt: skip
        observation = make_id("observation", _series(watch), identity, *sorted(items))
        self.put("observation", observation, _series(watch), identity, revision, MODEL, state, 100,
                 scene.acquired_at, sorted(items), 1)  # fmt: skip
        return observation


def _series(watch: Watch) -> UUID:
    return make_id("series", watch.name, watches.make_instruction_id(watch.instruction), MODEL)


def _old_item_id(item: Item) -> UUID:
    return make_id("item", item.collection, item.id, item.updated_at, item.processing_baseline)


def watch(name: str, catalog: str) -> Watch:
    profile = profiles.load("rgb-cog")
    return Watch(name, Instruction("segment the water", ("water",)), GROUND, profile, catalog, START)


def scene(day: int, base: str, *ids: str, catalog: str = "") -> Scene:
    at = START + timedelta(days=day)
    items = tuple(
        Item(f"{one}{day}", "visual", f"{base}/items/{one}{day}", at, at, "p", "1", "", GROUND,
             {"visual": f"{base}/{one}{day}.tif"}, {}, catalog)
        for one in ids or ("i",)
    )  # fmt: skip
    return Scene("visual", "p", "1", at.date(), at, items, GROUND, catalog)


@pytest.fixture(scope="module")
def template(cluster: Cluster) -> Iterator[str]:
    """Name of an empty database of revision 0010."""
    create_database(cluster, "revision_0010")
    migrate.upgrade(cluster.info().url_for("segwatch_owner", database="revision_0010"), "0010")
    yield "revision_0010"
    drop_database(cluster, "revision_0010")


@pytest.fixture
def old(cluster: Cluster, template: str) -> Iterator[Old]:
    copy = sql.SQL("CREATE DATABASE old TEMPLATE {} OWNER segwatch_owner")
    with psycopg.connect(cluster.info().superuser_url("postgres"), autocommit=True) as conn:
        conn.execute(copy.format(sql.Identifier(template)))
    yield Old(cluster, "old")
    drop_database(cluster, "old")


@pytest.fixture
def upgraded(old: Old) -> Iterator[Any]:
    """Return a function that upgrades the database and makes an engine."""
    engines: list[Engine] = []

    def upgrade() -> Engine:
        migrate.upgrade(old.url)
        engines.append(make_engine(old.url))
        return engines[-1]

    yield upgrade
    for engine in engines:
        engine.dispose()


def find(engine: Engine, name: str, *found: Scene) -> int:
    with engine.begin() as conn:
        ids = scenes.upsert(conn, found)
        scenes.settle(conn, ids, select_newest)
        return observations.enqueue(conn, watches.load_current(conn, name).revision_id, MODEL, ids)


def rows(engine: Engine, query: str) -> list[Any]:
    with engine.connect() as conn:
        return [tuple(row) for row in conn.execute(text(query))]


COVERAGE = (
    "SELECT watch, catalog, state, item_hrefs FROM watch.coverage ORDER BY acquired_at, watch, discovered_at"
)


def test_scenes_of_one_catalog_are_not_observed_again(old: Old, upgraded: Any) -> None:
    lakes = watch("lakes", A)
    revision = old.apply(lakes)
    ids = [old.observe(revision, lakes, scene(day, "http://a.example/v1"), state) for day, state in enumerate(
        ["observed", "skipped", "pending"])]  # fmt: skip
    engine = upgraded()
    assert [row[:3] for row in rows(engine, COVERAGE)] == [
        ("lakes", "http://a.example/v1", state) for state in ("observed", "skipped", "pending")
    ]
    before = rows(engine, "SELECT xmin, * FROM segwatch.scene ORDER BY id")
    items = rows(engine, "SELECT xmin, * FROM segwatch.scene_item ORDER BY id")
    again = [scene(day, "http://a.example/v1", catalog="http://a.example/v1") for day in range(3)]
    assert find(engine, "lakes", *again) == 0
    assert rows(engine, "SELECT xmin, * FROM segwatch.scene ORDER BY id") == before
    assert rows(engine, "SELECT xmin, * FROM segwatch.scene_item ORDER BY id") == items
    assert {row[0] for row in rows(engine, "SELECT id FROM segwatch.observation")} == set(ids)
    # a new scene, and a further item of an old one, are found as ever
    more = scene(1, "http://a.example/v1", "i", "j", catalog="http://a.example/v1")
    assert find(engine, "lakes", more, scene(3, "http://a.example/v1", catalog="http://a.example/v1")) == 2


def test_scenes_of_a_moved_catalog_belong_to_its_new_address(old: Old, upgraded: Any) -> None:
    """A search at the new address had refreshed the links; scenes linked elsewhere count as found there, too."""
    lakes, moved = watch("lakes", A), watch("lakes", B)
    first = old.apply(lakes, head=False)
    old.apply(moved)
    old.observe(first, lakes, scene(0, B))
    old.observe(first, lakes, scene(1, "https://elsewhere.example"))
    old.observe(first, lakes, scene(2, "http://a.example:80/v1"))
    engine = upgraded()
    assert [row[1] for row in rows(engine, COVERAGE)] == [B, B, "http://a.example/v1"]
    again = [scene(0, B, catalog=B), scene(1, "https://elsewhere.example", catalog=B)]
    assert find(engine, "lakes", *again) == 0


def test_a_scene_shared_by_two_catalogs_is_split(old: Old, upgraded: Any) -> None:
    optical, radar = watch("optical", A), watch("radar", B)
    # the second one found the pass of the first and mixed both items
    mixed = replace(scene(0, B), items=(*scene(0, "http://a.example/v1", "a").items, *scene(0, B, "b").items))
    one = old.observe(old.apply(optical), optical, replace(mixed, items=mixed.items[:1]))
    two = old.observe(old.apply(radar), radar, mixed, "inferred")
    engine = upgraded()
    hrefs = ["http://a.example/v1/items/a0", f"{B}/items/b0"]
    assert rows(engine, COVERAGE) == [
        ("optical", "http://a.example/v1", "observed", hrefs[:1]), ("radar", B, "inferred", hrefs),
    ]  # fmt: skip
    ids = dict(rows(engine, "SELECT catalog, id FROM segwatch.scene"))
    assert ids["http://a.example/v1"] == make_id("scene", "visual/p/1/2024-01-01"), "tracks are named by it"
    assert set(ids) == {"", "http://a.example/v1", B}
    assert {row[0] for row in rows(engine, "SELECT id FROM segwatch.observation")} == {one, two}
    # each is observed once more, of its own pixels alone
    assert find(engine, "optical", scene(0, "http://a.example/v1", "a", catalog="http://a.example/v1")) == 1
    assert find(engine, "radar", scene(0, B, "b", catalog=B)) == 1
    query = "SELECT watch, version, item_hrefs FROM watch.coverage ORDER BY watch, version"
    assert rows(engine, query)[1::2] == [("optical", 2, hrefs[:1]), ("radar", 2, hrefs[1:])]
    assert find(engine, "radar", scene(0, B, "b", catalog=B)) == 0


def test_pending_observations_of_a_mixed_scene_are_queued_again(old: Old, upgraded: Any) -> None:
    optical, radar = watch("optical", A), watch("radar", B)
    old.observe(old.apply(optical), optical, scene(0, B, "x"), "pending")
    old.observe(old.apply(radar), radar, scene(0, B, "x"), "failed")
    engine = upgraded()
    states = rows(engine, "SELECT state, reason LIKE 'superseded:%' FROM watch.coverage")
    assert states == [("skipped", True)] * 2
    assert find(engine, "radar", scene(0, B, "x", catalog=B)) == 1
    with engine.begin() as conn:
        leased = ledger.lease(conn, worker="w", seconds=60, model_version=MODEL)
    assert leased is not None
    assert [(one.catalog, one.id) for one in leased.scene.items] == [(B, "x0")]


def test_a_downgrade_is_possible_until_new_scenes_are_found(old: Old, upgraded: Any) -> None:
    lakes = watch("lakes", A)
    old.observe(old.apply(lakes), lakes, scene(0, "http://a.example/v1"))
    engine = upgraded()
    with engine.begin() as conn:
        command.downgrade(migrate.make_config(conn), "0010")
    assert rows(engine, "SELECT key FROM segwatch.scene") == [("visual/p/1/2024-01-01",)]
    migrate.upgrade(old.url)
    further_item = scene(0, "http://a.example/v1", "i", "j", catalog="http://a.example/v1")
    further_scene = scene(1, "http://a.example/v1", catalog="http://a.example/v1")
    for more, scene_count, item_count in ((further_item, 0, 1), (further_scene, 1, 2)):
        find(engine, "lakes", more)
        words = rf"{scene_count} scene\(s\) and {item_count} item\(s\) .* restore the backup"
        with pytest.raises(RuntimeError, match=words), engine.begin() as conn:
            command.downgrade(migrate.make_config(conn), "0010")
