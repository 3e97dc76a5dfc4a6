"""Alerts, and the outbox of messages about them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from segwatch.db.tables.columns import identity, metadata, reference, string, time

alert = Table(
    "alert",
    metadata,
    identity(),
    reference("change_id", "change"),
    reference("revision_id", "watch"),
    string("rule"),
    time("created_at", now=True),
    #: when it escalates to further channels unless somebody marks it
    time("escalate_at", nullable=True),
    Column("escalate_to", ARRAY(Text), nullable=False, server_default="{}"),
    #: status of the change then, which a later message may correct; null = not judged, and no message follows
    string("raised_as", nullable=True),
    UniqueConstraint("change_id", "rule", name="alert_identity"),
    CheckConstraint("raised_as IN ('provisional', 'confirmed')", name="alert_raised_as"),
    Index("alert_escalate_ix", "escalate_at", postgresql_where=text("escalate_at IS NOT NULL")),
)

alert_correction = Table(
    "alert_correction",
    metadata,
    reference("alert_id", "alert", primary_key=True),
    #: from 1 on; feeds read these rows, channels get messages from the outbox
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    string("kind"),
    time("recorded_at"),
    CheckConstraint(
        "kind IN ('retracted', 'reinstated', 'updated', 'provisional', 'confirmed', 'refuted')",
        name="alert_correction_kind",
    ),
)

alert_mark = Table(
    "alert_mark",
    metadata,
    identity(),
    reference("alert_id", "alert"),
    reference("track_id", "track"),
    Column("ordinal", Integer, nullable=False),
    string("mark"),
    string("person"),
    string("note"),
    time("until", nullable=True),
    time("marked_at", now=True),
    UniqueConstraint("alert_id", "ordinal", name="alert_mark_identity"),
    CheckConstraint("mark IN ('acknowledged', 'snoozed', 'resolved', 'reopened')", name="alert_mark_known"),
    CheckConstraint("(mark = 'snoozed') = (until IS NOT NULL)", name="alert_mark_snooze_ends"),
    Index("alert_mark_track_ix", "track_id"),
)

delivery = Table(
    "delivery",
    metadata,
    identity(),
    #: null for a digest, which is about several alerts
    reference("alert_id", "alert", nullable=True),
    string("channel"),
    Column("idempotency_key", Text, nullable=False, unique=True),
    Column("payload", JSONB, nullable=False),
    string("state"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    time("next_attempt_at", now=True),
    string("lease_worker", nullable=True),
    time("lease_until", nullable=True),
    string("last_error", nullable=True),
    time("created_at", now=True),
    time("delivered_at", nullable=True),
    #: 0 is the first message about the alert on the channel, further ones correct it
    Column("ordinal", Integer, nullable=False, server_default="0"),
    reference("track_id", "track", nullable=True),
    #: order in which messages about one object reach a channel
    Column("sequence", BigInteger, Identity(), nullable=False),
    #: start of the time after which it is given up; replaying resets it
    time("tried_since", now=True),
    #: sent with a digest due then or later; null = sent by itself
    time("digest_at", nullable=True),
    #: the delivery of that digest, once it is written
    reference("digest_id", "delivery", nullable=True),
    UniqueConstraint("alert_id", "channel", "ordinal", name="delivery_identity"),
    CheckConstraint("state IN ('pending', 'delivered', 'dead', 'withdrawn')", name="delivery_state"),
    CheckConstraint("(alert_id IS NULL) = (track_id IS NULL)", name="delivery_subject"),
    CheckConstraint(
        "CASE WHEN alert_id IS NULL THEN digest_at IS NULL AND digest_id IS NULL"
        " ELSE digest_id IS NULL OR digest_at IS NOT NULL END",
        name="delivery_digest",
    ),
    Index(
        "delivery_digest_due_ix",
        "digest_at",
        postgresql_where=text("state = 'pending' AND digest_id IS NULL"),
    ),
    Index("delivery_digest_ix", "digest_id", postgresql_where=text("digest_id IS NOT NULL")),
    Index("delivery_due_ix", "next_attempt_at", postgresql_where=text("state = 'pending'")),
    Index("delivery_order_ix", "track_id", "channel", "sequence", postgresql_where=text("state = 'pending'")),
    # sent messages whose content retention may still take away
    Index(
        "delivery_sent_ix",
        "delivered_at",
        postgresql_where=text("state = 'delivered' AND payload <> '{}'"),
    ),
)

channel = Table(
    "channel",
    metadata,
    Column("name", Text, primary_key=True),
    #: failures in a row
    Column("failures", Integer, nullable=False, server_default="0"),
    time("resting_until", nullable=True),
    string("last_error", nullable=True),
    time("changed_at", now=True),
    #: when it answered that it refuses all messages (410 Gone)
    time("gone_at", nullable=True),
)
