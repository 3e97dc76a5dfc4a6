"""Scenes, the STAC items they are made of, and items that cannot be used."""

from __future__ import annotations

from sqlalchemy import Column, Date, Index, Table, Text
from sqlalchemy.dialects.postgresql import JSONB, UUID

from segwatch.db.tables.columns import geometry, identity, metadata, reference, string, time

scene = Table(
    "scene",
    metadata,
    identity(),
    #: begins with the catalog
    Column("key", Text, nullable=False, unique=True),
    string("collection"),
    string("platform"),
    string("relative_orbit"),
    Column("solar_day", Date, nullable=False),
    time("acquired_at"),
    geometry("footprint"),
    time("discovered_at", now=True),
    #: identity of the catalog; empty = unknown, of rows that nobody observed before it was kept
    string("catalog"),
    Index("scene_footprint_ix", "footprint", postgresql_using="gist"),
)

#: What an observation used stays as it is, but for ``links`` and ``superseded_at``.
scene_item = Table(
    "scene_item",
    metadata,
    identity(),
    reference("scene_id", "scene"),
    string("item_id"),
    string("href"),
    time("acquired_at"),
    time("updated_at", nullable=True),
    string("processing_baseline"),
    #: without signatures
    Column("assets", JSONB, nullable=False),
    Column("properties", JSONB, nullable=False),
    geometry("footprint"),
    time("recorded_at", now=True),
    time("superseded_at", nullable=True),
    #: the version of the item: rows of one version differ in their links only
    Column("version_id", UUID(as_uuid=True), nullable=False),
    #: the object store that the links are taken into; empty = web links
    Column("store", Text, nullable=False, server_default=""),
    #: how assets are to be read now, where that is not the link in ``assets``: the catalog signed it anew
    Column("links", JSONB, nullable=False, server_default="{}"),
    Index("scene_item_scene_ix", "scene_id"),
    Index("scene_item_item_ix", "item_id"),
)

rejected_item = Table(
    "rejected_item",
    metadata,
    identity(),
    reference("revision_id", "watch"),
    string("collection"),
    string("item_id"),
    string("href"),
    string("reason"),
    time("recorded_at", now=True),
    #: as far as the item tells them
    time("acquired_at", nullable=True),
    geometry("footprint", nullable=True),
    Index("rejected_item_item_ix", "item_id"),
)
