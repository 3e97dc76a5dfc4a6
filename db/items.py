"""Versions of STAC items, and the links to their assets.

A *version* is what a catalog held under an id at one time: catalog, collection and id, with an update time (or creation
time) and a processing baseline. A new version is observed again. Rows of one version differ only in their links:

- A row that an observation used is never rewritten. Links that moved make another row of the same version, which later
  observations use; the scene is not observed again, as its pixels are the same.
- Assets that another profile needs are added to an unused row, else in another row.
- Links that differ only in their query, such as signed ones, count as equal: the row stays, and ``links`` holds the
  newest ones for reading.
- Pending and failed observations have used nothing and follow to the current row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, func, insert, select, text, update

from segwatch.db import tables
from segwatch.db.codec import to_ewkb
from segwatch.db.ids import make_id
from segwatch.geo.clock import ITEM_TOLERANCE, clamp_to_receipt
from segwatch.geo.identity import normalize_link
from segwatch.geo.text.redaction import to_public_url
from segwatch.geo.types.scene import Item, Scene, get_production_time, to_baseline_key

_item = tables.scene_item

#: A leased observation may have read it. The lock keeps pending ones from being leased meanwhile.
_USES = text(
    """
    SELECT state NOT IN ('pending', 'failed') FROM segwatch.observation
    WHERE scene_id = :scene_id AND :id = ANY(items) ORDER BY id FOR SHARE
    """
)
#: Pending observations use the current links and watch revision, which knows the host of a catalog that moved.
_FOLLOW = text(
    """
    UPDATE segwatch.observation o SET items = n.items, revision_id = n.revision_id
    FROM (
        SELECT p.id, array_agg(coalesce(c.id, i.id) ORDER BY coalesce(c.id, i.id)) AS items,
               coalesce((SELECT w.id FROM segwatch.series s
                         JOIN segwatch.watch_head h ON h.name = s.watch_name
                         JOIN segwatch.watch w ON w.id = h.revision_id AND w.instruction_id = s.instruction_id
                         WHERE s.id = p.series_id), p.revision_id) AS revision_id
        FROM segwatch.observation p
        CROSS JOIN LATERAL unnest(p.items) AS u(id)
        JOIN segwatch.scene_item i ON i.id = u.id
        LEFT JOIN segwatch.scene_item c
            ON i.superseded_at IS NOT NULL AND c.superseded_at IS NULL
            AND c.scene_id = i.scene_id AND c.version_id = i.version_id AND c.store = i.store
        WHERE p.scene_id = :scene_id AND p.state IN ('pending', 'failed')
        GROUP BY p.id, p.series_id, p.revision_id) n
    WHERE o.id = n.id AND (o.items, o.revision_id) <> (n.items, n.revision_id) AND o.state IN ('pending', 'failed')
    """
)


@dataclass(slots=True)
class _Row:
    """A row of ``scene_item`` without its footprint."""

    id: UUID
    version_id: UUID
    item_id: str
    store: str
    href: str
    updated_at: datetime | None
    processing_baseline: str
    assets: dict[str, str]
    links: dict[str, str]
    properties: dict[str, Any]
    recorded_at: datetime
    superseded_at: datetime | None

    def is_version_of(self, item: Item) -> bool:
        """Tell whether the row is of the item's version."""
        made = "" if self.updated_at is not None else get_production_time(self.properties)
        return (self.updated_at, self.processing_baseline, made) == _version(item)

    @property
    def age(self) -> tuple[Any, ...]:
        """Sort key of the versions of one item: baseline, update time, creation time."""
        when = clamp_update_time(self.updated_at, self.recorded_at) or get_production_time(self.properties)
        return to_baseline_key(self.processing_baseline), self.updated_at is not None, when, self.version_id

    def leads_to(self, item: Item) -> bool:
        """Tell whether its links lead to the same places as the item's."""
        known = {name: normalize_link(href) for name, href in self.assets.items()}
        return normalize_link(self.href) == normalize_link(to_public_url(item.href)) and all(
            known.get(name) == normalize_link(to_public_url(href)) for name, href in item.assets.items()
        )


def clamp_update_time(updated_at: datetime | None, recorded_at: datetime) -> datetime | None:
    """Return the update time of an item, at most the time at which it was recorded."""
    return None if updated_at is None else clamp_to_receipt(updated_at, recorded_at, ITEM_TOLERANCE)


_Rows = dict[tuple[str, str], list[_Row]]
_COLUMNS = [_item.c[name] for name in _Row.__dataclass_fields__]


def store_items(conn: Connection, scene_id: UUID, scene: Scene) -> None:
    """Store new versions of a scene's items; repeating it changes no row.

    The newest version of each item is current whatever the order of arrival, unless :func:`segwatch.db.scenes.settle`
    found that another item replaces it. The caller holds a lock on the scene's row.
    """
    known: _Rows = defaultdict(list)
    query = select(*_COLUMNS).where(_item.c.scene_id == scene_id)
    wanted = query.where(_item.c.item_id.in_({item.id for item in scene.items})).order_by(_item.c.id)
    for row in conn.execute(wanted).mappings():
        known[row["item_id"], row["store"]].append(_Row(**row))
    ordered = sorted(scene.items, key=lambda one: (one.id, one.href))
    moved = [_keep_item(conn, scene_id, scene, item, known) for item in ordered]
    for rows in known.values():
        newest = max(row.age for row in rows)
        _end(conn, [row for row in rows if row.age != newest and row.superseded_at is None])
    if any(moved) or any(len({row.version_id for row in rows}) < len(rows) for rows in known.values()):
        conn.execute(_FOLLOW, {"scene_id": scene_id})


def _keep_item(conn: Connection, scene_id: UUID, scene: Scene, item: Item, known: _Rows) -> bool:
    """Store one item; returns whether links of a known version changed."""
    same = [row for row in known[item.id, item.store] if row.is_version_of(item)]
    if not same:
        version_id = _version_id(scene, item, known)
        identity = make_id("item", version_id, item.store) if item.store else version_id
        known[item.id, item.store].append(_add(conn, scene_id, identity, version_id, item))
        return False
    current = max(same, key=lambda row: (row.superseded_at is None, row.recorded_at, row.id))
    fitting = next((row for row in (current, *same) if row.leads_to(item)), None)
    moved = fitting is not current
    if fitting is None and _is_used(conn, scene_id, current.id):
        fitting = _add_moved(conn, scene_id, item, current, len(same))
        known[item.id, item.store].append(fitting)
    elif fitting is None:
        _move(conn, current, item)
        fitting = current
    if fitting is not current:
        _put_in_place(conn, fitting, current)
    _renew(conn, fitting, item)
    return moved


def _version(item: Item) -> tuple[datetime | None, str, str]:
    made = "" if item.updated_at is not None else get_production_time(item.properties)
    return item.updated_at, item.processing_baseline, made


def _version_id(scene: Scene, item: Item, known: _Rows) -> UUID:
    """Find or make the id of an item's version, which the stores of the item share.

    The id includes the scene: an item whose time or platform was corrected belongs to another one.
    """
    rows = (row for (item_id, _), some in known.items() if item_id == item.id for row in some)
    found = next((row.version_id for row in rows if row.is_version_of(item)), None)
    return found or make_id("item", scene.key, item.id, *_version(item))


def _is_used(conn: Connection, scene_id: UUID, identity: UUID) -> bool:
    return any(conn.execute(_USES, {"scene_id": scene_id, "id": identity}).scalars())


def _add(
    conn: Connection,
    scene_id: UUID,
    identity: UUID,
    version_id: UUID,
    item: Item,
    superseded_at: datetime | None = None,
    **parts: Any,
) -> _Row:
    values: dict[str, Any] = {
        "id": identity,
        "version_id": version_id,
        "item_id": item.id,
        "store": item.store,
        "href": to_public_url(item.href),
        "updated_at": item.updated_at,
        "processing_baseline": item.processing_baseline,
        "assets": _public_assets(item),
        "links": _select_links(item, _public_assets(item)),
        "properties": dict(item.properties),
        "superseded_at": superseded_at,
        **parts,
    }
    more = {
        "scene_id": scene_id,
        "acquired_at": item.acquired_at,
        "footprint": to_ewkb(item.footprint),
    }
    statement = insert(_item).values(**values, **more).returning(_item.c.recorded_at)
    return _Row(**values, recorded_at=conn.execute(statement).scalar_one())


def _add_moved(conn: Connection, scene_id: UUID, item: Item, current: _Row, ordinal: int) -> _Row:
    """Add a row to a version whose links moved; keeps the assets of other profiles."""
    assets = current.assets | _public_assets(item)
    # unused rows are rewritten, so links do not identify a row
    identity = make_id("item links", current.version_id, item.store, ordinal)
    links = {name: href for name, href in current.links.items() if name not in item.assets}
    return _add(
        conn,
        scene_id,
        identity,
        current.version_id,
        item,
        current.superseded_at,
        assets=assets,
        links=links | _select_links(item, assets),
        properties=dict(item.properties) | current.properties,
    )


def _move(conn: Connection, row: _Row, item: Item) -> None:
    """Rewrite the links of an unused row."""
    row.href, row.assets = to_public_url(item.href), row.assets | _public_assets(item)
    values = {"href": row.href, "assets": row.assets}
    conn.execute(update(_item).where(_item.c.id == row.id).values(values))


def _put_in_place(conn: Connection, row: _Row, of: _Row) -> None:
    """Let a row with current links replace another one of the same version, current or superseded."""
    row.superseded_at = of.superseded_at
    conn.execute(update(_item).where(_item.c.id == row.id).values(superseded_at=row.superseded_at))
    _end(conn, [of] if of.superseded_at is None else [])


def _end(conn: Connection, rows: Sequence[_Row]) -> None:
    if rows:
        ended = update(_item).where(_item.c.id.in_([row.id for row in rows]))
        at = conn.execute(ended.values(superseded_at=func.clock_timestamp()).returning(_item.c.superseded_at))
        moment = at.scalars().first()
        for row in rows:
            row.superseded_at = moment


def _renew(conn: Connection, row: _Row, item: Item) -> None:
    """Store the links by which assets are read now, and properties that are missing."""
    kept = {name: href for name, href in row.links.items() if name not in item.assets}
    links = kept | _select_links(item, row.assets)
    properties = dict(item.properties) | row.properties
    if (links, properties) != (row.links, row.properties):
        row.links, row.properties = links, properties
        values = {"links": links, "properties": properties}
        conn.execute(update(_item).where(_item.c.id == row.id).values(values))


def _public_assets(item: Item) -> dict[str, str]:
    return {name: to_public_url(href) for name, href in item.assets.items()}


def _select_links(item: Item, assets: dict[str, str]) -> dict[str, str]:
    """Select the links of the item that differ from the stored assets."""
    return {name: href for name, href in item.assets.items() if assets[name] != href}
