"""Events such as earthquakes and floods, and their names."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB

from segwatch.db.tables.columns import geometry, identity, metadata, string, time

event = Table(
    "event",
    metadata,
    identity(),
    string("source"),
    string("external_id"),
    string("revision"),
    string("kind"),
    string("title"),
    time("occurred_at", nullable=True),
    geometry(nullable=True),
    Column("properties", JSONB, nullable=False),
    time("recorded_at", now=True),
    UniqueConstraint("source", "external_id", "revision", name="event_identity"),
)

event_name = Table(
    "event_name",
    metadata,
    Column("source", Text, primary_key=True),
    Column("external_id", Text, primary_key=True),
    #: name under which the rows of the event are stored
    string("event_source"),
    string("event_external_id"),
    time("since", nullable=True),
    time("withdrawn_at", nullable=True),
    time("recorded_at", now=True),
    Index("event_name_event_ix", "event_source", "event_external_id"),
)
