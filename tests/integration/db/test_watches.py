"""Watches and scenes load as they were stored, and storing them again changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, text

from segwatch.db import scenes, watches
from segwatch.db.codec import dump_watch, load_watch
from segwatch.db.errors import CodecError, NotFound


def _counts(engine: Engine) -> dict[str, int]:
    with engine.connect() as conn:
        names = ("watch", "area", "instruction", "scene", "scene_item", "rejected_item")
        return {n: conn.execute(text(f"SELECT count(*) FROM segwatch.{n}")).scalar_one() for n in names}


def test_a_watch_reads_back_as_it_was(world: Any, kit: Any) -> None:
    with world.engine.begin() as conn:
        stored = watches.load_current(conn, "lakes")
        assert watches.list_names(conn) == ["lakes"]
    # not-a-number is not equal to itself, so it is compared apart
    known, back = (replace(one.profile, nodata=None) for one in (kit.watch(), stored.watch))
    assert replace(stored.watch, profile=back) == replace(kit.watch(), profile=known)
    assert stored.watch.profile.nodata != stored.watch.profile.nodata
    assert stored.watch.area.equals_exact(kit.watch().area, 0)


def test_applying_again_changes_nothing_and_an_old_definition_reuses_its_revision(
    world: Any, kit: Any
) -> None:
    before = _counts(world.engine)
    with world.engine.begin() as conn:
        assert watches.apply(conn, kit.watch()) == watches.Applied(world.revision, False)
    assert _counts(world.engine) == before
    with world.engine.begin() as conn:
        other = watches.apply(conn, replace(kit.watch(), priority=5))
        assert other.created
        assert other.revision_id != world.revision
        assert watches.apply(conn, kit.watch()) == watches.Applied(world.revision, True)
        assert watches.load_current(conn, "lakes").revision_id == world.revision


def test_whole_numbers_and_decimals_are_the_same_definition(kit: Any) -> None:
    whole, decimal = (replace(kit.watch(), min_polygon_m2=value) for value in (500, 500.0))
    assert repr(dump_watch(whole)) == repr(dump_watch(decimal))


def test_an_unknown_watch_is_named(world: Any) -> None:
    with world.engine.begin() as conn, pytest.raises(NotFound, match="nothing here"):
        watches.load_current(conn, "nothing here")


def test_a_definition_that_cannot_be_read_is_named(kit: Any) -> None:
    document = dump_watch(kit.watch())
    del document["profile"]
    with pytest.raises(CodecError, match="lakes"):
        load_watch(document)


def test_scenes_are_stored_once_and_read_back(world: Any, kit: Any) -> None:
    scene = kit.scene(0, item_ids=("a", "b"))
    with world.engine.begin() as conn:
        (identity,) = scenes.upsert(conn, [scene])
        before = _counts(world.engine)
        assert scenes.upsert(conn, [scene, scene]) == [identity, identity]
        assert scenes.load(conn, identity) == scene
    assert before["scene_item"] in (0, 2)
    assert _counts(world.engine)["scene_item"] == 2


def test_a_reprocessed_item_is_a_new_version_of_the_same_acquisition(world: Any, kit: Any) -> None:
    old, new = kit.scene(0), kit.scene(0, updated=1)
    with world.engine.begin() as conn:
        assert scenes.upsert(conn, [old]) == scenes.upsert(conn, [new])
        (identity,) = scenes.upsert(conn, [old])
        assert scenes.load(conn, identity).items == new.items
    assert _counts(world.engine)["scene_item"] == 2


def test_any_order_of_arrival_ends_with_the_newest_version(world: Any, kit: Any) -> None:
    old, new = kit.scene(0), kit.scene(0, updated=1)
    with world.engine.begin() as conn:
        (identity,) = scenes.upsert(conn, [new])
        scenes.upsert(conn, [old])
        assert scenes.load(conn, identity).items == new.items


def test_links_that_moved_are_refreshed(world: Any, kit: Any) -> None:
    scene = kit.scene(0)
    moved = replace(
        scene, items=(replace(scene.items[0], assets={"red": "https://elsewhere.example/a.tif"}),)
    )
    with world.engine.begin() as conn:
        (identity,) = scenes.upsert(conn, [scene])
        scenes.upsert(conn, [moved])
        assert scenes.load(conn, identity).items == moved.items


def test_rejections_are_recorded_once(world: Any) -> None:
    with world.engine.begin() as conn:
        for _ in range(2):
            scenes.reject(conn, world.revision, "bad", "c", "https://stac.example/bad", "no asset red")
    assert _counts(world.engine)["rejected_item"] == 1
