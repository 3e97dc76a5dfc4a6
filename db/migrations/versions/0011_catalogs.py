# mypy: disable-error-code="attr-defined"
"""Scenes belong to one catalog, and what an observation used of an item is never rewritten.

Scenes keep their ids, from which those of tracks and changes follow: nothing is observed or sent again for the upgrade.
A scene that watches of several catalogs shared may have mixed their pixels. Each of them gets a scene of its own, with
all its observations and what was tracked; the mixed items stay with a scene without a catalog, for provenance; and the
scene is observed once more when its catalog is searched next.
"""

from __future__ import annotations

import json
import re
from datetime import UTC
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid5

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from segwatch.db.migrations import views

SQL = Path(__file__).parents[2] / "sql"

revision = '0011'
down_revision = '0010'
branch_labels = None
depends_on = None

_REASON = "superseded: its scene mixed items of two catalogs; it is queued anew when its own is searched next"

_KEY = """concat_ws('/', {catalog}, replace(replace(s.collection, '%', '%25'), '/', '%2F'), s.platform,
                   replace(replace(s.relative_orbit, '%', '%25'), '/', '%2F'), to_char(s.solar_day, 'YYYY-MM-DD'))"""

#: Of the catalogs that a watch had: the one that links of the observed items lead to, else the one it has now, under
#: which what was found before counted as found.
_FOUND_IN = """
    CREATE TEMP TABLE found_in ON COMMIT DROP AS
    SELECT o.id AS observation_id, o.scene_id, o.state, o.discovered_at, (
        SELECT c.catalog FROM watch_catalog c
        WHERE c.name = own.name AND (c.watch_id = own.watch_id OR c.collection IN (s.collection, '*'))
        ORDER BY EXISTS (SELECT 1 FROM segwatch.scene_item i
                         WHERE i.id = ANY(o.items) AND starts_with(lower(i.href), c.origin)) DESC, c.rank
        LIMIT 1) AS catalog
    FROM segwatch.observation o
    JOIN segwatch.scene s ON s.id = o.scene_id
    JOIN watch_catalog own ON own.watch_id = o.watch_id
"""
#: The catalog of most answers keeps the scene's id.
_CATALOGS = """
    CREATE TEMP TABLE scene_catalog ON COMMIT DROP AS
    SELECT scene_id, catalog, count(*) OVER (PARTITION BY scene_id) AS shared_by, row_number() OVER (
        PARTITION BY scene_id
        ORDER BY count(*) FILTER (WHERE state = 'observed') DESC, min(discovered_at), catalog) AS place
    FROM found_in WHERE catalog <> '' GROUP BY scene_id, catalog
"""


def upgrade() -> None:
    op.add_column('scene', sa.Column('catalog', sa.Text(), nullable=True), schema='segwatch')
    op.add_column('scene_item', sa.Column('version_id', sa.UUID(), nullable=True), schema='segwatch')
    op.add_column('scene_item', sa.Column('store', sa.Text(), server_default='', nullable=False), schema='segwatch')
    op.add_column(
        'scene_item',
        sa.Column('links', postgresql.JSONB(astext_type=sa.Text()), server_default='{}', nullable=False),
        schema='segwatch',
    )
    op.execute("UPDATE segwatch.scene SET catalog = ''")
    op.execute("UPDATE segwatch.scene_item SET version_id = id")
    _name_catalogs()
    op.alter_column('scene', 'catalog', nullable=False, schema='segwatch')
    op.alter_column('scene_item', 'version_id', nullable=False, schema='segwatch')
    for part in sorted((SQL / "0011").glob("*.sql")):
        op.execute(sa.text(part.read_text(encoding="utf-8").replace(":", "\\:")))


def _name_catalogs() -> None:
    conn = op.get_bind()
    conn.execute(sa.text(
        "CREATE TEMP TABLE watch_catalog (watch_id uuid PRIMARY KEY, name text, catalog text, collection text,"
        " origin text, rank bigint) ON COMMIT DROP"
    ))
    watches = conn.execute(sa.text(
        "SELECT w.id, w.name, w.definition->>'catalog' AS url, w.definition->'profile'->>'collection' AS collection,"
        " row_number() OVER (PARTITION BY w.name ORDER BY h.watch_id IS NOT NULL DESC, w.created_at DESC, w.id) AS rank"
        " FROM segwatch.watch w LEFT JOIN segwatch.watch_head h ON h.watch_id = w.id"
    )).all()
    rows = [
        {
            "watch_id": row.id, "name": row.name, "catalog": _catalog(row.url or ""), "collection": row.collection or "",
            "origin": _origin(row.url or ""), "rank": row.rank,
        }
        for row in watches
    ]
    if not rows:
        return
    conn.execute(sa.text(
        "INSERT INTO watch_catalog VALUES (:watch_id, :name, :catalog, :collection, :origin, :rank)"
    ), rows)
    conn.execute(sa.text(_FOUND_IN))
    conn.execute(sa.text(_CATALOGS))
    conn.execute(sa.text("CREATE INDEX ON found_in (scene_id)"))
    shared = conn.execute(sa.text(
        "SELECT DISTINCT scene_id FROM scene_catalog WHERE shared_by > 1 ORDER BY scene_id"
    )).scalars().all()
    mixed = {scene: _set_apart(conn, scene) for scene in shared}
    conn.execute(sa.text(
        f"UPDATE segwatch.scene s SET catalog = c.catalog, key = {_KEY.format(catalog='c.catalog')}"
        " FROM scene_catalog c WHERE c.scene_id = s.id AND c.place = 1"
    ))
    for scene, items_at in mixed.items():
        _split(conn, scene, items_at)


def _set_apart(conn: Any, scene: UUID) -> UUID:
    """A scene without a catalog that takes all items of a shared one, under its old key; its id."""
    apart = _make_id("mixed scene", scene)
    # two rows cannot have one key: the shared one gets its own in a moment
    key = conn.execute(sa.text("SELECT key FROM segwatch.scene WHERE id = :id"), {"id": scene}).scalar_one()
    conn.execute(sa.text("UPDATE segwatch.scene SET key = CAST(id AS text) WHERE id = :id"), {"id": scene})
    _copy_scene(conn, scene, apart, "", key)
    conn.execute(sa.text("UPDATE segwatch.scene_item SET scene_id = :apart WHERE scene_id = :scene"),
                 {"apart": apart, "scene": scene})
    conn.execute(sa.text(
        "UPDATE segwatch.observation SET state = 'skipped', reason = :reason, committed_at = clock_timestamp(),"
        " superseded_at = clock_timestamp(), lease_worker = NULL, lease_until = NULL"
        " WHERE scene_id = :scene AND state IN ('pending', 'leased', 'failed')"
    ), {"scene": scene, "reason": _REASON})
    return apart


def _split(conn: Any, scene: UUID, items_at: UUID) -> None:
    """Give the observations of every further catalog a scene of their own."""
    further = conn.execute(sa.text(
        f"SELECT c.catalog, {_KEY.format(catalog='c.catalog')} AS key FROM scene_catalog c"
        " JOIN segwatch.scene s ON s.id = c.scene_id WHERE c.scene_id = :scene AND c.place > 1"
    ), {"scene": scene}).all()
    for row in further:
        own = _make_id("scene", row.key)
        _copy_scene(conn, scene, own, row.catalog, row.key)
        conn.execute(sa.text(
            "UPDATE segwatch.observation o SET scene_id = :own FROM found_in f"
            " WHERE f.observation_id = o.id AND f.scene_id = :scene AND f.catalog = :catalog"
        ), {"own": own, "scene": scene, "catalog": row.catalog})


def _copy_scene(conn: Any, scene: UUID, copy: UUID, catalog: str, key: str) -> None:
    conn.execute(sa.text(
        "INSERT INTO segwatch.scene (id, key, catalog, collection, platform, relative_orbit, solar_day, acquired_at,"
        " footprint, discovered_at) SELECT :copy, :key, :catalog, collection, platform, relative_orbit, solar_day,"
        " acquired_at, footprint, discovered_at FROM segwatch.scene WHERE id = :scene"
    ), {"copy": copy, "key": key, "catalog": catalog, "scene": scene})


def _catalog(url: str) -> str:
    """As segwatch.geo.identity does it; a migration keeps what it did."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return url
    scheme, host = parts.scheme.lower(), (parts.hostname or "").rstrip(".")
    host = f"[{host}]" if ":" in host else host
    shown = "" if port in {None, {"http": 80, "https": 443}.get(scheme)} else f":{port}"
    found = urlunsplit((scheme, f"{host}{shown}", parts.path, "", "")).rstrip("/")
    return re.sub(r"/(search|collections(/[^/]+(/items)?)?)$", "", found).rstrip("/")


def _origin(url: str) -> str:
    """What links to the catalog's own host begin with."""
    parts = urlsplit(url.strip())
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/".lower() if parts.netloc else "none:"


def _make_id(kind: str, *parts: object) -> UUID:
    namespace = UUID("6f1d3f0e-5a0b-5b5e-9a53-6a1f5c7f2a10")
    return uuid5(namespace, json.dumps([kind, *map(str, parts)], ensure_ascii=True))


def downgrade() -> None:
    _check_that_all_is_old()
    views.drop()
    op.execute(f"UPDATE segwatch.scene s SET key = {_KEY.format(catalog='NULL')} WHERE catalog <> ''")
    for name in ('links', 'store', 'version_id'):
        op.drop_column('scene_item', name, schema='segwatch')
    op.drop_column('scene', 'catalog', schema='segwatch')
    views.restore(before=revision)


def _old_item_id(row: Any) -> UUID:
    updated = row.updated_at.replace(tzinfo=UTC) if row.updated_at is not None else None
    return _make_id("item", row.collection, row.item_id, updated, row.processing_baseline)


def _check_that_all_is_old() -> None:
    """Stop where scenes or items were found since: an earlier version would not know them by their ids."""
    conn = op.get_bind()
    keys = conn.execute(sa.text(
        f"SELECT s.id, {_KEY.format(catalog='NULL')} AS key FROM segwatch.scene s WHERE s.catalog <> ''"
    ))
    new = sum(row.id != _make_id("scene", row.key) for row in keys)
    rows = conn.execute(sa.text(
        "SELECT i.id, s.collection, i.item_id, i.updated_at AT TIME ZONE 'UTC' AS updated_at, i.processing_baseline"
        " FROM segwatch.scene_item i JOIN segwatch.scene s ON s.id = i.scene_id WHERE s.catalog <> ''"
    ))
    items = sum(row.id != _old_item_id(row) for row in rows)
    if new or items:
        raise RuntimeError(
            f"{new} scene(s) and {items} item(s) were found since this ledger was upgraded, and an earlier version would"
            " observe them again; restore the backup made before the upgrade in place of going back"
        )
