"""Watches and their immutable revisions, and the searches of their catalogs."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    Index,
    Integer,
    Table,
    Text,
)
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
    #: public address of the catalog, without secrets
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

#: AOIs of a watch over time.
watch_area = Table(
    "watch_area",
    metadata,
    Column("watch_name", Text, primary_key=True),
    Column("since", DateTime(timezone=True), primary_key=True),
    #: null = current
    time("until", nullable=True),
    reference("area_id", "area"),
    #: whether it lacks ground of an earlier AOI
    Column("narrowed", Boolean, nullable=False),
)

#: Who paused, resumed or archived a watch, and when; the last one is in force. Rows are only ever added.
watch_action = Table(
    "watch_action",
    metadata,
    Column("watch_name", Text, primary_key=True),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    string("action"),
    string("person"),
    string("note"),
    time("acted_at", now=True),
    CheckConstraint("action IN ('paused', 'resumed', 'archived')", name="watch_action_known"),
)

#: Transactions that last changed what the map shows of a watch; see segwatch.touch_watch.
watch_touch = Table(
    "watch_touch",
    metadata,
    Column("watch_name", Text, primary_key=True),
    Column("began_at", DateTime(timezone=True), primary_key=True),
    Column("transaction", BigInteger, primary_key=True, autoincrement=False),
)

#: Outcome of the last search of a watch's catalog.
discovery = Table(
    "discovery",
    metadata,
    Column("watch_name", Text, primary_key=True),
    time("attempted_at"),
    #: the last time that the catalog answered
    time("answered_at", nullable=True),
    #: failed searches in a row
    Column("failures", Integer, nullable=False, server_default="0"),
    string("error", nullable=True),
    #: median and 95th percentile of the time from acquisition to publication; null where no scene tells it
    Column("lag_p50_seconds", Double),
    Column("lag_p95_seconds", Double),
    #: when the channels were told that the catalog shows nothing of any orbit; null while it does
    time("silent_at", nullable=True),
    CheckConstraint("(failures = 0) = (error IS NULL)", name="discovery_error"),
)

#: What each orbit should have shown of a watch's AOI and did, as of the last search of its catalog; see
#: segwatch.geo.revisits.
revisit = Table(
    "revisit",
    metadata,
    Column("watch_name", Text, primary_key=True),
    Column("platform", Text, primary_key=True),
    Column("relative_orbit", Text, primary_key=True),
    #: identity of the catalog
    string("catalog"),
    Column("repeat_days", Integer, nullable=False),
    #: acquisitions that the catalog shows
    Column("seen", Integer, nullable=False),
    #: the newest of them, and the next one that is not due yet
    time("last_at"),
    time("next_at"),
    #: expected acquisitions that the catalog does not show, in order
    Column("missing", ARRAY(DateTime(timezone=True)), nullable=False),
    #: those since the newest one that it shows
    Column("missed_in_a_row", Integer, nullable=False),
)

#: How far the catalog of a watch revision was searched.
watermark = Table(
    "watermark",
    metadata,
    reference("revision_id", "watch", primary_key=True),
    #: when the whole catalog was last reconciled with the ledger
    time("reconciled_at", nullable=True),
    #: acquisition time that a running reconcile has reached
    time("reconciling_to", nullable=True),
    #: newest ``updated`` of the items found; null if an item has none
    time("updated_to", nullable=True),
)
