"""Scenes that only the fallback catalog of a watch has shown so far: known scenes are not observed again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, text

from segwatch.db.codec import from_ewkb
from segwatch.geo.types.revisits import Acquisition

_KNOWN = text(
    """
    SELECT s.key, s.footprint, f.scene_id IS NOT NULL AS is_supplied,
           ARRAY(SELECT i.item_id FROM segwatch.scene_item i WHERE i.scene_id = s.id) AS item_ids
    FROM segwatch.scene s LEFT JOIN segwatch.fallback_scene f ON f.scene_id = s.id
    WHERE s.key = ANY(CAST(:keys AS text[]))
    """
)
_ADD = text(
    """
    INSERT INTO segwatch.fallback_scene (scene_id, address)
    SELECT id, :address FROM segwatch.scene WHERE key = ANY(CAST(:keys AS text[]))
    ON CONFLICT DO NOTHING
    """
)
_DROP = text("DELETE FROM segwatch.fallback_scene WHERE scene_id = ANY(CAST(:ids AS uuid[]))")
_SUPPLIED = text(
    """
    SELECT s.platform, s.relative_orbit, s.acquired_at, NULL AS published_at
    FROM segwatch.fallback_scene f JOIN segwatch.scene s ON s.id = f.scene_id
    WHERE s.catalog = :catalog AND s.id IN (
        SELECT o.scene_id FROM segwatch.series e JOIN segwatch.observation o ON o.series_id = e.id
        WHERE e.watch_name = :watch)
    ORDER BY s.acquired_at
    """
)
_NEWEST = text(
    """
    SELECT max(s.acquired_at) FROM segwatch.scene s
    WHERE s.catalog = :catalog AND s.id IN (
        SELECT o.scene_id FROM segwatch.series e JOIN segwatch.observation o ON o.series_id = e.id
        WHERE e.watch_name = :watch)
    """
)


@dataclass(frozen=True, slots=True)
class KnownScene:
    """What the ledger has of a scene."""

    footprint: BaseGeometry
    """EPSG:4326."""
    item_ids: frozenset[str]
    is_supplied: bool
    """Whether only a fallback catalog has shown it."""


def read_known(conn: Connection, keys: Collection[str]) -> dict[str, KnownScene]:
    """Read what the ledger has of the scenes with these keys, by key."""
    rows = conn.execute(_KNOWN, {"keys": sorted(keys)})
    return {
        row.key: KnownScene(from_ewkb(row.footprint), frozenset(row.item_ids), row.is_supplied)
        for row in rows
    }


def record_supplied(conn: Connection, keys: Collection[str], address: str) -> None:
    """Record that only the fallback catalog at this address has shown these scenes."""
    conn.execute(_ADD, {"keys": sorted(keys), "address": address})


def record_shown(conn: Connection, scene_ids: Sequence[UUID]) -> None:
    """Record that the watch's own catalog shows these scenes."""
    conn.execute(_DROP, {"ids": list(scene_ids)})


def list_supplied(conn: Connection, watch: str, catalog: str) -> list[Acquisition]:
    """List the acquisitions of a watch that its catalog has not shown, and a fallback has, the oldest first."""
    return [Acquisition(*row) for row in conn.execute(_SUPPLIED, {"watch": watch, "catalog": catalog})]


def find_newest(conn: Connection, watch: str, catalog: str) -> datetime | None:
    """Find the acquisition of the newest scene that a watch knows, UTC; None = it knows none."""
    newest: datetime | None = conn.execute(_NEWEST, {"watch": watch, "catalog": catalog}).scalar()
    return newest
