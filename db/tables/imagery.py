"""Scenes, the STAC items they are made of, and items that cannot be used."""

from __future__ import annotations

from sqlalchemy import Column, Date, Index, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB, UUID

from segwatch.db.tables.columns import geometry, identity, metadata, reference, string, time

scene = Table(
    "scene",
    metadata,
    identity(),
    #: catalog, collection, platform, relative orbit and solar day
    Column("key", Text, nullable=False, unique=True),
    string("collection"),
    string("platform"),
    string("relative_orbit"),
    Column("solar_day", Date, nullable=False),
    time("acquired_at"),
    geometry("footprint"),
    time("discovered_at", now=True),
    #: identity of the catalog; empty for unobserved rows from before it was stored
    string("catalog"),
    Index("scene_footprint_ix", "footprint", postgresql_using="gist"),
)

#: A row that an observation used never changes, except for ``links`` and ``superseded_at``.
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
    #: asset name -> link without signature
    Column("assets", JSONB, nullable=False),
    Column("properties", JSONB, nullable=False),
    geometry("footprint"),
    time("recorded_at", now=True),
    time("superseded_at", nullable=True),
    #: version of the item: its rows differ only in their links
    Column("version_id", UUID(as_uuid=True), nullable=False),
    #: object store of the links; empty = web links
    Column("store", Text, nullable=False, server_default=""),
    #: asset name -> signed link to read, where it differs from ``assets``
    Column("links", JSONB, nullable=False, server_default="{}"),
    Index("scene_item_scene_ix", "scene_id"),
    Index("scene_item_item_ix", "item_id"),
)

#: Scenes that only the fallback catalog of a watch has shown so far.
fallback_scene = Table(
    "fallback_scene",
    metadata,
    reference("scene_id", "scene", primary_key=True),
    #: address of that catalog
    string("address"),
    time("found_at", now=True),
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
    #: null if the item has none
    time("acquired_at", nullable=True),
    geometry("footprint", nullable=True),
    #: when the item became usable, was rejected for another reason, or was no longer found; null until then
    time("ended_at", nullable=True),
    Index("rejected_item_item_ix", "item_id"),
    Index("rejected_item_current_ix", "revision_id", postgresql_where=text("ended_at IS NULL")),
)
