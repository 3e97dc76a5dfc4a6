"""Items of two catalogs, items of two profiles, and moved links: rows that an observation used never change."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from segwatch.db import ledger, observations, scenes, watches
from segwatch.geo.scenes import select_newest
from segwatch.geo.types.scene import Scene
from segwatch.geo.types.source import AssetAccess, BandRef

A, B = "https://a.example/v1", "https://b.example/v1"
FIXED = "id, scene_id, version_id, item_id, href, assets, footprint, processing_baseline, updated_at"


def rows(world: Any, query: str, **values: object) -> list[Any]:
    with world.engine.connect() as conn:
        return [tuple(row) for row in conn.execute(text(query), values)]


def linked(scene: Scene, catalog: str = A, *, host: str = "one", names: str = "red green blue scl") -> Scene:
    """The scene as a catalog gives it, with links to a host."""
    items = tuple(
        replace(
            one,
            catalog=catalog,
            href=f"https://{host}.example/items/{one.id}",
            assets={name: f"https://{host}.example/{one.id}/{name}.tif" for name in names.split()},
        )
        for one in scene.items
    )
    return replace(scene, catalog=catalog, items=items)


def signed(scene: Scene, token: str) -> Scene:
    """The same with a signature at every link."""
    items = tuple(
        replace(one, assets={name: f"{href}?se=1&sig={token}" for name, href in one.assets.items()})
        for one in scene.items
    )
    return replace(scene, items=items)


def find(world: Any, scene: Scene, revision: UUID | None = None) -> int:
    """Store scenes as a search of the catalog does; returns the number of queued observations."""
    with world.engine.begin() as conn:
        ids = scenes.upsert(conn, [scene])
        scenes.settle(conn, ids, select_newest)
        return observations.enqueue(conn, revision or world.revision, "tiny@0123456789ab", ids)


def in_force(world: Any) -> list[Any]:
    return rows(
        world, "SELECT assets FROM segwatch.scene_item WHERE superseded_at IS NULL ORDER BY recorded_at"
    )


def lease(world: Any) -> ledger.SceneLease:
    leased: ledger.SceneLease | None = world.lease()
    assert leased is not None
    return leased


def test_the_same_item_in_two_catalogs_is_two_items_of_two_scenes(world: Any, kit: Any) -> None:
    with world.engine.begin() as conn:
        other = watches.apply(conn, replace(kit.watch(), name="other", catalog=B)).revision_id
    one, two = linked(kit.scene(0), A), linked(kit.scene(0), B, host="two")
    assert find(world, one) == 1
    before = (
        rows(world, "SELECT xmin, * FROM segwatch.scene_item"),
        rows(world, "SELECT xmin, * FROM segwatch.scene"),
    )
    assert find(world, two, other) == 1
    after = [
        rows(world, f"SELECT xmin, * FROM segwatch.{table} ORDER BY {order}")
        for table, order in (("scene_item", "recorded_at"), ("scene", "discovered_at"))
    ]
    assert [part[:1] for part in after] == list(before)
    assert [len(part) for part in after] == [2, 2]
    coverage = rows(world, "SELECT watch, catalog, item_hrefs FROM watch.coverage ORDER BY watch")
    assert coverage == [
        ("lakes", A, ["https://one.example/items/a-0"]), ("other", B, ["https://two.example/items/a-0"]),
    ]  # fmt: skip
    by_watch = {one.scene.catalog: one.scene.items[0].assets["red"] for one in (lease(world), lease(world))}
    assert by_watch == {A: "https://one.example/a-0/red.tif", B: "https://two.example/a-0/red.tif"}


@pytest.mark.parametrize("state", ["leased", "inferred", "skipped"])
def test_moved_links_do_not_rewrite_items_that_an_observation_used(world: Any, kit: Any, state: str) -> None:
    find(world, linked(kit.scene(0)))
    held = lease(world).observations[0].id
    with world.engine.begin() as conn:
        if state == "inferred":
            ledger.save(conn, held, "w", kit.result(), {})
        if state == "skipped":
            ledger.skip(conn, held, "w", "cloudy")
    before = rows(world, f"SELECT {FIXED} FROM segwatch.scene_item")
    moved = linked(kit.scene(0), host="new")
    assert find(world, moved) == 0, "the pixels are the same"
    assert rows(world, f"SELECT {FIXED} FROM segwatch.scene_item ORDER BY recorded_at")[:1] == before
    assert rows(world, "SELECT item_hrefs FROM watch.coverage") == [(["https://one.example/items/a-0"],)]
    assert in_force(world) == [(dict(moved.items[0].assets),)]
    shown = rows(world, "SELECT item_href, assets FROM watch.imagery")
    assert shown == [("https://one.example/items/a-0", dict(moved.items[0].assets))]
    # the same again, and back: no further rows
    every = rows(world, "SELECT xmin, id FROM segwatch.scene_item ORDER BY id")
    find(world, moved)
    assert rows(world, "SELECT xmin, id FROM segwatch.scene_item ORDER BY id") == every
    find(world, linked(kit.scene(0)))
    assert len(rows(world, "SELECT 1 FROM segwatch.scene_item")) == 2
    assert [row[0]["red"] for row in in_force(world)] == ["https://one.example/a-0/red.tif"]


@pytest.mark.parametrize("failed", [False, True])
def test_pending_observations_read_by_the_new_links(world: Any, kit: Any, failed: bool) -> None:
    """Also if another series used the old ones; under the current watch revision, which knows the new host."""
    find(world, linked(kit.scene(0)))
    with world.engine.begin() as conn:
        ledger.save(conn, lease(world).observations[0].id, "w", kit.result(), {})
        again = replace(kit.watch(), name="again", catalog_name="a")
        second = watches.apply(conn, again).revision_id
    find(world, linked(kit.scene(0)), second)
    if failed:
        with world.engine.begin() as conn:
            ledger.fail(conn, lease(world).observations[0].id, "w", "gone", max_attempts=1)
    with world.engine.begin() as conn:
        third = watches.apply(conn, replace(again, catalog="https://new.example")).revision_id
    assert find(world, linked(kit.scene(0), host="new"), third) == 0
    with world.engine.begin() as conn:
        ledger.retry(conn, "again", model_version=kit.model)
    leased = lease(world)
    assert leased.scene.items[0].assets["red"] == "https://new.example/a-0/red.tif"
    assert [one.watch.catalog for one in leased.observations] == ["https://new.example"]


def test_an_unused_row_gets_the_new_links(world: Any, kit: Any) -> None:
    find(world, linked(kit.scene(0)))
    find(world, linked(kit.scene(0), host="new"))
    assert len(rows(world, "SELECT 1 FROM segwatch.scene_item")) == 1
    assert lease(world).scene.items[0].assets["red"] == "https://new.example/a-0/red.tif"


def test_signed_links_make_no_new_version_and_the_newest_is_read(world: Any, kit: Any) -> None:
    plain = linked(kit.scene(0))
    find(world, signed(plain, "first"))
    ledger_row = rows(world, f"SELECT {FIXED} FROM segwatch.scene_item")
    assert ledger_row[0][5] == dict(plain.items[0].assets), "no secret in the provenance"
    with world.engine.begin() as conn:
        ledger.save(conn, lease(world).observations[0].id, "w", kit.result(), {})
        second = watches.apply(conn, replace(kit.watch(), name="again")).revision_id
    for token in ("second", "third"):
        assert find(world, signed(plain, token)) == 0
    assert rows(world, f"SELECT {FIXED} FROM segwatch.scene_item") == ledger_row
    find(world, signed(plain, "third"), second)
    assert lease(world).scene.items[0].assets["red"].endswith("?se=1&sig=third")


@pytest.mark.parametrize("used", [False, True])
def test_two_profiles_of_one_catalog_read_one_scene(world: Any, kit: Any, used: bool) -> None:
    """The second one needs other assets of the same item; neither removes the other's."""
    bands = {name: BandRef(asset) for name, asset in (("red", "B04"), ("green", "B03"), ("blue", "B02"))}
    profile = replace(kit.watch().profile, name="numbered", clouds=None, **bands)
    with world.engine.begin() as conn:
        numbered = watches.apply(conn, replace(kit.watch(), name="numbered", profile=profile)).revision_id
    by_colour, by_number = linked(kit.scene(0)), linked(kit.scene(0), names="B04 B03 B02")
    find(world, by_colour)
    before = rows(world, f"SELECT {FIXED} FROM segwatch.scene_item")
    if used:
        with world.engine.begin() as conn:
            ledger.save(conn, lease(world).observations[0].id, "w", kit.result(), {})
    assert find(world, by_number, numbered) == 1
    for scene, revision in ((by_colour, world.revision), (by_number, numbered)):
        assert find(world, scene, revision) == 0
    assert len(rows(world, "SELECT 1 FROM segwatch.scene")) == 1
    if used:
        assert rows(world, f"SELECT {FIXED} FROM segwatch.scene_item ORDER BY recorded_at")[:1] == before
    leased = lease(world)
    for one in leased.observations:
        assert set(one.watch.profile.assets()) <= set(leased.scene.items[0].assets)
    assert "numbered" in {one.watch.name for one in leased.observations}


def test_an_observation_leaves_out_items_that_its_profile_cannot_read(world: Any, kit: Any) -> None:
    """Another watch may have stored items of the pass that this profile cannot read."""
    infrared = replace(kit.watch().profile, name="nir", red=BandRef("nir"), green=BandRef("red"), clouds=None)
    with world.engine.begin() as conn:
        nir = watches.apply(
            conn, replace(kit.watch(), name="nir", profile=infrared, priority=999)
        ).revision_id
    both = kit.scene(0, item_ids=("a", "b"))
    find(world, linked(both))
    some = linked(kit.scene(0, item_ids=("b",)), names="nir red blue")
    assert find(world, some, nir) == 1
    leased = lease(world)
    assert [one.watch.name for one in leased.observations] == ["nir"]
    assert [one.id for one in leased.scene.items] == ["b-0"]
    assert len(lease(world).scene.items) == 2


def test_an_item_with_other_assets_supersedes_no_readable_item(world: Any, kit: Any) -> None:
    """One catalog may hold a tile twice, in the styles of two others."""
    bands = {name: BandRef(asset) for name, asset in (("red", "B04"), ("green", "B03"), ("blue", "B02"))}
    profile = replace(kit.watch().profile, name="numbered", clouds=None, **bands)
    with world.engine.begin() as conn:
        numbered = watches.apply(conn, replace(kit.watch(), name="numbered", profile=profile)).revision_id

    def tile(name: str, baseline: str, assets: str) -> Scene:
        scene = linked(kit.scene(0, item_ids=(name,)), names=assets)
        more: Any = {"processing_baseline": baseline, "properties": {"grid:code": "MGRS-33TVL"}}
        return replace(scene, items=(replace(scene.items[0], **more),))

    by_colour, by_number = tile("a", "05.09", "red green blue scl"), tile("b", "05.11", "B04 B03 B02")
    found = [find(world, by_colour), find(world, by_number, numbered), find(world, by_colour)]
    assert found == [1, 1, 0]
    seen = {}
    for leased in (lease(world), lease(world)):
        (one,) = leased.observations
        seen[one.watch.name] = [item.id for item in leased.scene.items]
    assert seen == {"lakes": ["a-0"], "numbered": ["b-0"]}


def test_profiles_with_web_and_bucket_links_keep_both(world: Any, kit: Any) -> None:
    """One reads from the web, the other from the bucket; alternating searches remove no links."""
    bucket = replace(kit.watch().profile, name="bucket", access=AssetAccess("s3", region="eu-central-1"))
    with world.engine.begin() as conn:
        second = watches.apply(conn, replace(kit.watch(), name="bucket", profile=bucket)).revision_id
    web = linked(kit.scene(0))
    stored = linked(kit.scene(0), host="bucket.s3")
    stored = replace(stored, items=tuple(replace(one, store=bucket.store) for one in stored.items))
    turns = [(web, world.revision), (stored, second)]
    assert [find(world, *turn) for turn in turns * 2] == [1, 1, 0, 0]
    seen = {}
    for leased in (lease(world), lease(world)):
        seen[leased.observations[0].watch.name] = leased.scene.items[0].assets["red"]
    assert seen == {
        "lakes": "https://one.example/a-0/red.tif", "bucket": "https://bucket.s3.example/a-0/red.tif",
    }  # fmt: skip


def test_without_update_time_a_new_creation_time_makes_a_new_version(world: Any, kit: Any) -> None:
    """Some catalogs keep the id of reprocessed products and give no update time."""

    def made(at: str) -> Scene:
        scene = linked(kit.scene(0))
        items = tuple(replace(one, updated_at=None, properties={"created": at}) for one in scene.items)
        return replace(scene, items=items)

    assert [find(world, made(at)) for at in ("2024-01-02", "2024-06-01", "2024-01-02")] == [1, 1, 0]
    assert rows(world, "SELECT properties->>'created', superseded_at IS NULL FROM segwatch.scene_item ORDER BY 1") == [
        ("2024-01-02", False), ("2024-06-01", True),
    ]  # fmt: skip


def test_the_baseline_counts_before_the_update(world: Any, kit: Any) -> None:
    """The item that the catalog updated last need not be the one processed last."""

    def version(baseline: str, days: int) -> Scene:
        scene = linked(kit.scene(0))
        later = [one.updated_at + timedelta(days=days) for one in scene.items if one.updated_at]
        items = (replace(scene.items[0], processing_baseline=baseline, updated_at=later[0]),)
        return replace(scene, items=items)

    with world.engine.begin() as conn:
        scenes.upsert(conn, [version("05.11", 0)])
        scenes.upsert(conn, [version("05.09", 9)])
    query = "SELECT processing_baseline FROM segwatch.scene_item WHERE superseded_at IS NULL"
    assert rows(world, query) == [("05.11",)]


def test_links_that_come_and_go_between_uses(world: Any, kit: Any) -> None:
    """Each used row stays, and none is confused with another one."""
    hosts, used = ["one", "two", "three", "two", "one"], []
    for number, host in enumerate(hosts):
        with world.engine.begin() as conn:
            revision = watches.apply(conn, replace(kit.watch(), name=f"w{number}")).revision_id
        if number == 2:
            # nobody uses these: the row moves on
            find(world, linked(kit.scene(0), host="unused"))
        assert find(world, linked(kit.scene(0), host=host), revision) == 1
        leased = lease(world)
        used.append(leased.scene.items[0].assets["red"])
        with world.engine.begin() as conn:
            for one in leased.observations:
                ledger.save(conn, one.id, "w", kit.result(), {})
    assert used == [f"https://{host}.example/a-0/red.tif" for host in hosts]
    query = "SELECT watch, item_hrefs FROM watch.coverage WHERE watch LIKE 'w%' ORDER BY watch"
    assert rows(world, query) == [
        (f"w{number}", [f"https://{host}.example/items/a-0"]) for number, host in enumerate(hosts)
    ]


def test_an_item_whose_time_was_corrected_is_observed_in_its_new_scene(world: Any, kit: Any) -> None:
    scene = linked(kit.scene(0))
    find(world, scene)
    later = scene.acquired_at + timedelta(days=1)
    items = (replace(scene.items[0], acquired_at=later),)
    moved = replace(scene, solar_day=later.date(), acquired_at=later, items=items)
    assert [find(world, one) for one in (moved, moved, scene)] == [1, 0, 0]
