"""Scenes and the versions of their items."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert

from segwatch.db import tables
from segwatch.db.codec import from_ewkb
from segwatch.db.errors import NotFound
from segwatch.db.ids import make_id
from segwatch.geo.types import Item, Scene

_item = tables.scene_item

#: Only the newest version of an item may be in force; whether it is, is for :func:`settle` to say. It stays the newest
#: until a newer one comes, so nothing is put back here: what another item took the place of stays as it is.
_SUPERSEDE = text(
    """
    WITH ranked AS (
        SELECT id, row_number() OVER (
            ORDER BY updated_at DESC NULLS LAST, processing_baseline DESC, id) = 1 AS newest
        FROM segwatch.scene_item WHERE scene_id = :scene_id AND item_id = :item_id
    )
    UPDATE segwatch.scene_item i SET superseded_at = clock_timestamp()
    FROM ranked r WHERE i.id = r.id AND NOT r.newest AND i.superseded_at IS NULL
    """
)


def scene_id(scene: Scene) -> UUID:
    """Id of an acquisition, stable across reprocessing."""
    return make_id("scene", scene.key)


def upsert(conn: Connection, scenes: Sequence[Scene]) -> list[UUID]:
    """Store scenes and their items' versions; ids in order. The same again changes nothing.

    A version is an item with an update time and a processing baseline; the newest one is in force whatever
    the order of arrival, the others' rows stay. Links of a known version are refreshed, so that catalogs
    may move or sign them anew.
    """
    return [_upsert(conn, scene) for scene in scenes]


def _upsert(conn: Connection, scene: Scene) -> UUID:
    identity = scene_id(scene)
    row = {
        "id": identity,
        "key": scene.key,
        "collection": scene.collection,
        "platform": scene.platform,
        "relative_orbit": scene.relative_orbit,
        "solar_day": scene.solar_day,
        "acquired_at": scene.acquired_at,
        "footprint": f"SRID=4326;{scene.footprint.wkt}",
    }
    statement = insert(tables.scene).values(row)
    known, given = tables.scene.c.footprint, statement.excluded.footprint
    # another watch may have found other items of the same pass
    grown = {"footprint": func.ST_Union(known, given)}
    conn.execute(
        statement.on_conflict_do_update(
            index_elements=["id"], set_=grown, where=~func.ST_Covers(known, given)
        )
    )
    for item in sorted(scene.items, key=lambda one: one.id):
        _upsert_item(conn, identity, item)
    return identity


def _upsert_item(conn: Connection, scene: UUID, item: Item) -> None:
    version = make_id("item", item.collection, item.id, item.updated_at, item.processing_baseline)
    values: dict[str, Any] = {
        "id": version,
        "scene_id": scene,
        "item_id": item.id,
        "href": item.href,
        "acquired_at": item.acquired_at,
        "updated_at": item.updated_at,
        "processing_baseline": item.processing_baseline,
        "assets": dict(item.assets),
        "properties": dict(item.properties),
        "footprint": f"SRID=4326;{item.footprint.wkt}",
    }
    statement = insert(_item).values(values)
    links = {"href": statement.excluded.href, "assets": statement.excluded.assets}
    moved = or_(_item.c.href != links["href"], _item.c.assets != links["assets"])
    conn.execute(statement.on_conflict_do_update(index_elements=["id"], set_=links, where=moved))
    conn.execute(_SUPERSEDE, {"scene_id": scene, "item_id": item.id})


#: The newest version of each item of some scenes.
_NEWEST = text(
    """
    SELECT DISTINCT ON (scene_id, item_id) scene_id, id, item_id, superseded_at IS NULL AS in_force
    FROM segwatch.scene_item WHERE scene_id = ANY(CAST(:ids AS uuid[]))
    ORDER BY scene_id, item_id, updated_at DESC NULLS LAST, processing_baseline DESC, id
    """
)
_TURN = text(
    """
    UPDATE segwatch.scene_item
    SET superseded_at = CASE WHEN superseded_at IS NULL THEN clock_timestamp() END
    WHERE id = ANY(CAST(:ids AS uuid[]))
    """
)


def settle(conn: Connection, ids: Sequence[UUID], newest: Callable[[Sequence[Item]], Sequence[Item]]) -> None:
    """Supersede items that another one of the scene took the place of, under another id; the same again changes no row.

    ``newest`` tells which items of a scene are in force. It is asked about those that were superseded, too, so that
    the order in which items are found makes no difference.
    """
    rows = conn.execute(_NEWEST, {"ids": list(ids)}).all()
    for identity, group in groupby(rows, key=lambda row: row.scene_id):
        found = list(group)
        if len(found) > 1:
            items = load(conn, identity, [row.id for row in found]).items
            kept = {item.id for item in newest(items)}
            turned = [row.id for row in found if row.in_force != (row.item_id in kept)]
            if turned:
                conn.execute(_TURN, {"ids": turned})


def load(conn: Connection, identity: UUID, versions: Collection[UUID] | None = None) -> Scene:
    """A scene with these versions of its items, or with those in force.

    Raises
    ------
    NotFound
        There is no such scene.
    """
    row = conn.execute(select(tables.scene).where(tables.scene.c.id == identity)).mappings().first()
    if row is None:
        raise NotFound(f"no scene {identity} in the ledger")
    chosen = _item.c.superseded_at.is_(None) if versions is None else _item.c.id.in_(versions)
    query = select(_item).where(_item.c.scene_id == identity, chosen).order_by(_item.c.item_id, _item.c.id)
    items = tuple(_load_item(one, row) for one in conn.execute(query).mappings())
    return Scene(
        row["collection"],
        row["platform"],
        row["relative_orbit"],
        row["solar_day"],
        row["acquired_at"],
        items,
        from_ewkb(row["footprint"].data),
    )


def _load_item(row: Any, scene: Any) -> Item:
    return Item(
        id=row["item_id"],
        collection=scene["collection"],
        href=row["href"],
        acquired_at=row["acquired_at"],
        updated_at=row["updated_at"],
        platform=scene["platform"],
        relative_orbit=scene["relative_orbit"],
        processing_baseline=row["processing_baseline"],
        footprint=from_ewkb(row["footprint"].data),
        assets=row["assets"],
        properties=row["properties"],
    )


def reject(
    conn: Connection,
    watch_id: UUID,
    item_id: str,
    collection: str,
    href: str,
    reason: str,
    *,
    acquired_at: datetime | None = None,
    footprint: BaseGeometry | None = None,
) -> None:
    """Record an item that could not be used, so that nothing found is silently dropped.

    ``acquired_at`` and ``footprint`` are None where the item does not tell them.
    """
    row = {
        "id": make_id("rejected", watch_id, collection, item_id, reason),
        "watch_id": watch_id,
        "collection": collection,
        "item_id": item_id,
        "href": href,
        "reason": reason,
        "acquired_at": acquired_at,
        "footprint": None if footprint is None else f"SRID=4326;{footprint.wkt}",
    }
    conn.execute(insert(tables.rejected_item).values(row).on_conflict_do_nothing())
