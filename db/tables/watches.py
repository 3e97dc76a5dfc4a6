"""Watches and their immutable revisions, and the searches of their catalogs."""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, DateTime, Index, Integer, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from segwatch.db.tables.columns import geometry, identity, metadata, reference, string, time

area = Table("area", metadata, identity(), geometry())

instruction = Table(
    "instruction", metadata, identity(), string("text"), Column("targets", ARRAY(Text), nullable=False)
)

watch = Table(
    "watch",
    metadata,
    identity(),
    string("name"),
    reference("instruction_id", "instruction"),
    reference("area_id", "area"),
    Column("definition", JSONB, nullable=False),
    Column("priority", Integer, nullable=False),
    time("created_at", now=True),
    #: its address as strangers may see it
    Column("catalog", Text, nullable=False, server_default=""),
    Index("watch_name_ix", "name"),
)

watch_head = Table(
    "watch_head",
    metadata,
    Column("name", Text, primary_key=True),
    reference("revision_id", "watch"),
    time("applied_at", now=True),
)

#: The areas that a watch had in force, one after the other.
watch_area = Table(
    "watch_area",
    metadata,
    Column("watch_name", Text, primary_key=True),
    Column("since", DateTime(timezone=True), primary_key=True),
    #: null = it is in force
    time("until", nullable=True),
    reference("area_id", "area"),
    #: whether some earlier area had ground that this one has not
    Column("narrowed", Boolean, nullable=False),
)

#: How far the catalog of a watch was searched.
discovery = Table(
    "discovery",
    metadata,
    Column("watch_name", Text, primary_key=True),
    time("attempted_at"),
    #: the last time that the catalog answered
    time("answered_at", nullable=True),
    #: in a row, up to the last attempt
    Column("failures", Integer, nullable=False, server_default="0"),
    string("error", nullable=True),
    CheckConstraint("(failures = 0) = (error IS NULL)", name="discovery_error"),
)

watermark = Table(
    "watermark",
    metadata,
    reference("revision_id", "watch", primary_key=True),
    #: when everything the catalog holds was last compared with the ledger
    time("reconciled_at", nullable=True),
    #: acquisition time up to which a comparison that goes on has come
    time("reconciling_to", nullable=True),
    #: newest ``updated`` of the items seen; null when some item has none
    time("updated_to", nullable=True),
)
