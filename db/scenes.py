"""Scenes: acquisitions of one catalog, and which versions of their items are current."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, select, text
from sqlalchemy.dialects.postgresql import insert

from segwatch.db import items, tables
from segwatch.db.codec import from_ewkb, to_ewkb
from segwatch.db.errors import NotFound
from segwatch.db.ids import make_id
from segwatch.geo.antimeridian import compute_coverage
from segwatch.geo.text.redaction import to_public_url
from segwatch.geo.types.scene import Item, Scene

_item = tables.scene_item

_KNOWN = text(
    """
    SELECT id, footprint, ST_Covers(footprint, CAST(:footprint AS geometry)) AS covered FROM segwatch.scene
    WHERE key = :key FOR NO KEY UPDATE
    """
)
_GROW = text("UPDATE segwatch.scene SET footprint = CAST(:footprint AS geometry) WHERE id = :id")


def make_scene_id(scene: Scene) -> UUID:
    """Make the id of a new scene. Scenes stored before keys named the catalog keep their ids."""
    return make_id("scene", scene.key)


def upsert(conn: Connection, scenes: Sequence[Scene]) -> list[UUID]:
    """Store scenes and the versions of their items; repeating it changes nothing.

    The key of a scene names its catalog, so items of another catalog never change it. See :mod:`segwatch.db.items`.

    Returns
    -------
    list[UUID]
        Ids of the scenes, in the given order.
    """
    # sorted, so that two concurrent calls cannot deadlock
    ids = {scene.key: _scene(conn, scene) for scene in sorted(scenes, key=lambda one: one.key)}
    for scene in scenes:
        items.store_items(conn, ids[scene.key], scene)
    return [ids[scene.key] for scene in scenes]


def _scene(conn: Connection, scene: Scene) -> UUID:
    """Store a scene without its items and lock its row; returns its id."""
    footprint = to_ewkb(scene.footprint)
    row = {
        "id": make_scene_id(scene),
        "key": scene.key,
        "catalog": scene.catalog,
        "collection": scene.collection,
        "platform": scene.platform,
        "relative_orbit": scene.relative_orbit,
        "solar_day": scene.solar_day,
        "acquired_at": scene.acquired_at,
        "footprint": footprint,
    }
    wanted = {"key": scene.key, "footprint": footprint}
    known = conn.execute(_KNOWN, wanted).first()
    if known is None:
        # another worker may have inserted it first
        conn.execute(insert(tables.scene).values(row).on_conflict_do_nothing(index_elements=["key"]))
        known = conn.execute(_KNOWN, wanted).one()
    if not known.covered:
        # another watch may have found other items of the pass
        grown = compute_coverage([from_ewkb(known.footprint), scene.footprint])
        conn.execute(_GROW, {"id": known.id, "footprint": to_ewkb(grown)})
    identity: UUID = known.id
    return identity


_ITEM_ROWS = text(
    """
    SELECT i.id, i.scene_id, i.store, i.version_id, i.superseded_at IS NULL AS in_force
    FROM segwatch.scene_item i WHERE i.scene_id = ANY(CAST(:ids AS uuid[]))
    ORDER BY i.scene_id, i.store, i.superseded_at IS NULL DESC, i.recorded_at DESC, i.id
    """
)
_TOGGLE = text(
    """
    UPDATE segwatch.scene_item
    SET superseded_at = CASE WHEN superseded_at IS NULL THEN clock_timestamp() END
    WHERE id = ANY(CAST(:ids AS uuid[]))
    """
)


def settle(conn: Connection, ids: Sequence[UUID], newest: Callable[[Sequence[Item]], Sequence[Item]]) -> None:
    """Supersede items that another item of the scene replaces under another id; repeating it changes no row.

    ``newest`` returns the current ones among the items of a scene. It is given superseded items too, so that the order
    of arrival makes no difference. The current row of a version represents it, else the newest one.
    """
    rows = conn.execute(_ITEM_ROWS, {"ids": list(ids)}).all()
    for (identity, _), group in groupby(rows, key=lambda row: (row.scene_id, row.store)):
        representing: dict[UUID, Any] = {}
        for row in group:
            representing.setdefault(row.version_id, row)
        if len(representing) > 1:
            known = _items(conn, identity, [row.id for row in representing.values()])
            kept = {id(item) for item in newest(list(known.values()))}
            force = {row: id(item) in kept for row, item in known.items()}
            toggled = [row.id for row in representing.values() if row.in_force != force[row.id]]
            if toggled:
                conn.execute(_TOGGLE, {"ids": toggled})


def load(conn: Connection, identity: UUID, versions: Collection[UUID] | None = None) -> Scene:
    """Load a scene with the given versions of its items, or with the current ones.

    Raises
    ------
    NotFound
        No scene has this id.
    """
    row = conn.execute(select(tables.scene).where(tables.scene.c.id == identity)).mappings().first()
    if row is None:
        raise NotFound(f"no scene {identity} in the ledger")
    return Scene(
        row["collection"],
        row["platform"],
        row["relative_orbit"],
        row["solar_day"],
        row["acquired_at"],
        tuple(_items(conn, identity, versions).values()),
        from_ewkb(row["footprint"].data),
        row["catalog"],
    )


def _items(conn: Connection, identity: UUID, rows: Collection[UUID] | None) -> dict[UUID, Item]:
    """Load items of a scene by row id, from the given rows or the current ones; sorted by item id."""
    chosen = _item.c.superseded_at.is_(None) if rows is None else _item.c.id.in_(rows)
    scene = tables.scene.c
    query = (
        select(_item, scene.catalog, scene.collection, scene.platform, scene.relative_orbit)
        .join(tables.scene, scene.id == _item.c.scene_id)
        .where(_item.c.scene_id == identity, chosen)
        .order_by(_item.c.item_id, _item.c.id)
    )
    return {row["id"]: _load_item(row) for row in conn.execute(query).mappings()}


def _load_item(row: Any) -> Item:
    return Item(
        id=row["item_id"],
        collection=row["collection"],
        href=row["href"],
        acquired_at=row["acquired_at"],
        updated_at=items.clamp_update_time(row["updated_at"], row["recorded_at"]),
        platform=row["platform"],
        relative_orbit=row["relative_orbit"],
        processing_baseline=row["processing_baseline"],
        footprint=from_ewkb(row["footprint"].data),
        assets=row["assets"] | row["links"],
        properties=row["properties"],
        catalog=row["catalog"],
        store=row["store"],
    )


_COUNT_ENDED = text(
    """
    SELECT count(*) FROM segwatch.rejected_item
    WHERE revision_id = :revision_id AND collection = :collection AND item_id = :item_id AND reason = :reason
      AND ended_at IS NOT NULL
    """
)
_END_OTHERS = text(
    """
    UPDATE segwatch.rejected_item r SET ended_at = clock_timestamp()
    FROM segwatch.watch w JOIN segwatch.watch n ON n.name = w.name
    WHERE n.id = :revision AND r.revision_id = w.id AND r.item_id = :item AND r.collection = :collection
      AND r.id <> :id AND r.ended_at IS NULL
    """
)
_END_USABLE = text(
    """
    UPDATE segwatch.rejected_item r SET ended_at = clock_timestamp()
    FROM segwatch.watch w
    WHERE w.name = :watch AND r.revision_id = w.id AND r.ended_at IS NULL
      AND r.id <> ALL(CAST(:current AS uuid[]))
      AND (r.href = ANY(CAST(:hrefs AS text[]))
           OR r.collection = '*' AND r.item_id = ANY(CAST(:ids AS text[]))
           OR (r.item_id, r.collection) IN (
               SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:collections AS text[]))))
    """
)
_END_MISSING = text(
    """
    UPDATE segwatch.rejected_item r SET ended_at = clock_timestamp()
    FROM segwatch.watch w
    WHERE w.name = :watch AND r.revision_id = w.id AND r.ended_at IS NULL
      AND r.id <> ALL(CAST(:current AS uuid[]))
    """
)


def reject(
    conn: Connection,
    revision_id: UUID,
    item_id: str,
    collection: str,
    href: str,
    reason: str,
    *,
    acquired_at: datetime | None = None,
    footprint: BaseGeometry | None = None,
) -> UUID:
    """Record an item that cannot be used, so that nothing found is silently dropped.

    Earlier rejections of the item by the watch end. Repeating it changes nothing while the rejection is current.

    Parameters
    ----------
    acquired_at, footprint
        None if the item has none. The footprint is in EPSG:4326.

    Returns
    -------
    UUID
        Id of the current rejection.
    """
    parts: tuple[object, ...] = (revision_id, collection, item_id, reason)
    same = dict(zip(("revision_id", "collection", "item_id", "reason"), parts, strict=True))
    ended = conn.execute(_COUNT_ENDED, same).scalar_one()
    identity = make_id("rejected", *parts, *((ended,) if ended else ()))
    row = {
        "id": identity,
        "revision_id": revision_id,
        "collection": collection,
        "item_id": item_id,
        "href": href,
        "reason": reason,
        "acquired_at": acquired_at,
        "footprint": None if footprint is None else to_ewkb(footprint),
    }
    conn.execute(insert(tables.rejected_item).values(row).on_conflict_do_nothing())
    conn.execute(
        _END_OTHERS, {"id": identity, "revision": revision_id, "item": item_id, "collection": collection}
    )
    return identity


def end_rejections(conn: Connection, watch: str, usable: Iterable[Item], current: Collection[UUID]) -> None:
    """End the watch's rejections of items that turned out usable, by their id or the address of their file.

    ``current`` are ids of rejections that the same search returned: they stay.
    """
    found = sorted({(item.id, item.collection, to_public_url(item.href)) for item in usable})
    if found:
        ids, collections, hrefs = (list(column) for column in zip(*found, strict=True))
        given = {"ids": ids, "collections": collections, "hrefs": hrefs}
        conn.execute(_END_USABLE, {"watch": watch, "current": list(current), **given})


def end_missing_rejections(conn: Connection, watch: str, current: Collection[UUID]) -> None:
    """End all rejections of the watch but those that a complete search returned (ids of :func:`reject`)."""
    conn.execute(_END_MISSING, {"watch": watch, "current": list(current)})
