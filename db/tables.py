"""The ledger's tables (schema ``segwatch``). Geometries are EPSG:4326, areas geodesic m², times UTC."""

from __future__ import annotations

from typing import Any

from geoalchemy2 import Geometry
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSTZRANGE, UUID, ExcludeConstraint

SCHEMA = "segwatch"
#: No two rows of one track may say different things of the same instant at the same state of knowledge.
TRACK_STATE_NO_OVERLAP = "track_state_no_overlap"
TRACK_STATE_NOT_EMPTY = "track_state_ranges_not_empty"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pk",
        "fk": "%(table_name)s_%(column_0_name)s_fk",
        "uq": "%(table_name)s_%(column_0_name)s_key",
    },
)


def _id() -> Column[Any]:
    return Column("id", UUID(as_uuid=True), primary_key=True)


def _ref(name: str, table: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, UUID(as_uuid=True), ForeignKey(f"{SCHEMA}.{table}.id"), nullable=nullable)


def _geom(name: str = "geom", *, nullable: bool = False) -> Column[Any]:
    return Column(name, Geometry("GEOMETRY", 4326, spatial_index=False), nullable=nullable)


def _time(name: str, *, nullable: bool = False, now: bool = False) -> Column[Any]:
    default = func.clock_timestamp() if now else None
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=default)


def _text(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, Text, nullable=nullable)


area = Table("area", metadata, _id(), _geom())

instruction = Table(
    "instruction", metadata, _id(), _text("text"), Column("targets", ARRAY(Text), nullable=False)
)

watch = Table(
    "watch",
    metadata,
    _id(),
    _text("name"),
    _ref("instruction_id", "instruction"),
    _ref("area_id", "area"),
    Column("definition", JSONB, nullable=False),
    Column("priority", Integer, nullable=False),
    _time("created_at", now=True),
    #: its address as strangers may see it
    Column("catalog", Text, nullable=False, server_default=""),
    Index("watch_name_ix", "name"),
)

watch_head = Table(
    "watch_head",
    metadata,
    Column("name", Text, primary_key=True),
    _ref("watch_id", "watch"),
    _time("applied_at", now=True),
)

#: The areas that a watch had in force, one after the other.
watch_area = Table(
    "watch_area",
    metadata,
    Column("watch_name", Text, primary_key=True),
    Column("since", DateTime(timezone=True), primary_key=True),
    #: null = it is in force
    _time("until", nullable=True),
    _ref("area_id", "area"),
    #: whether some earlier area had ground that this one has not
    Column("narrowed", Boolean, nullable=False),
)

series = Table(
    "series",
    metadata,
    _id(),
    _text("watch_name"),
    _ref("instruction_id", "instruction"),
    _text("model_version"),
    Column("origin_lon", Double, nullable=False),
    Column("origin_lat", Double, nullable=False),
    #: the series whose objects it took over, as they were at one time and as that was known at another
    _ref("seeded_from", "series", nullable=True),
    _time("seed_valid_at", nullable=True),
    _time("seed_known_at", nullable=True),
    UniqueConstraint("watch_name", "instruction_id", "model_version", name="series_identity"),
)

scene = Table(
    "scene",
    metadata,
    _id(),
    #: begins with the catalog
    Column("key", Text, nullable=False, unique=True),
    #: identity of the catalog; empty = unknown, of rows that nobody observed before it was kept
    _text("catalog"),
    _text("collection"),
    _text("platform"),
    _text("relative_orbit"),
    Column("solar_day", Date, nullable=False),
    _time("acquired_at"),
    _geom("footprint"),
    _time("discovered_at", now=True),
    Index("scene_footprint_ix", "footprint", postgresql_using="gist"),
)

#: What an observation used stays as it is, but for ``links`` and ``superseded_at``.
scene_item = Table(
    "scene_item",
    metadata,
    _id(),
    _ref("scene_id", "scene"),
    #: the version of the item: rows of one version differ in their links only
    Column("version_id", UUID(as_uuid=True), nullable=False),
    _text("item_id"),
    #: the object store that the links are taken into; empty = web links
    Column("store", Text, nullable=False, server_default=""),
    _text("href"),
    _time("acquired_at"),
    _time("updated_at", nullable=True),
    _text("processing_baseline"),
    #: without signatures
    Column("assets", JSONB, nullable=False),
    #: how assets are to be read now, where that is not the link in ``assets``: the catalog signed it anew
    Column("links", JSONB, nullable=False, server_default="{}"),
    Column("properties", JSONB, nullable=False),
    _geom("footprint"),
    _time("recorded_at", now=True),
    _time("superseded_at", nullable=True),
    Index("scene_item_scene_ix", "scene_id"),
    Index("scene_item_item_ix", "item_id"),
)

#: How far the catalog of a watch was searched.
discovery = Table(
    "discovery",
    metadata,
    Column("watch_name", Text, primary_key=True),
    _time("attempted_at"),
    #: the last time that the catalog answered
    _time("answered_at", nullable=True),
    #: in a row, up to the last attempt
    Column("failures", Integer, nullable=False, server_default="0"),
    _text("error", nullable=True),
    CheckConstraint("(failures = 0) = (error IS NULL)", name="discovery_error"),
)

watermark = Table(
    "watermark",
    metadata,
    Column("watch_id", UUID(as_uuid=True), ForeignKey(f"{SCHEMA}.watch.id"), primary_key=True),
    #: when everything the catalog holds was last compared with the ledger
    _time("reconciled_at", nullable=True),
    #: acquisition time up to which a comparison that goes on has come
    _time("reconciling_to", nullable=True),
    #: newest ``updated`` of the items seen; null when some item has none
    _time("updated_to", nullable=True),
)

rejected_item = Table(
    "rejected_item",
    metadata,
    _id(),
    _ref("watch_id", "watch"),
    _text("collection"),
    _text("item_id"),
    _text("href"),
    _text("reason"),
    _time("recorded_at", now=True),
    #: as far as the item tells them
    _time("acquired_at", nullable=True),
    _geom("footprint", nullable=True),
    Index("rejected_item_item_ix", "item_id"),
)

observation = Table(
    "observation",
    metadata,
    _id(),
    _ref("series_id", "series"),
    _ref("scene_id", "scene"),
    _ref("watch_id", "watch"),
    _text("model_version"),
    _text("state"),
    Column("priority", Integer, nullable=False),
    _time("acquired_at"),
    _text("lease_worker", nullable=True),
    _time("lease_until", nullable=True),
    Column("attempts", Integer, nullable=False, server_default="0"),
    _text("reason", nullable=True),
    _text("answer", nullable=True),
    _geom("footprint", nullable=True),
    Column("clear_share", Double),
    Column("tiles", Integer),
    Column("tiles_failed", Integer),
    Column("area_km2", Double),
    Column("bytes_read", Double),
    Column("compute_seconds", Double),
    _time("discovered_at", now=True),
    _time("leased_at", nullable=True),
    _time("read_at", nullable=True),
    _time("inferred_at", nullable=True),
    _time("committed_at", nullable=True),
    #: the versions of the scene's items that it answers for, sorted
    Column("items", ARRAY(UUID(as_uuid=True)), nullable=False),
    #: counts the looks at one scene; the highest one that was answered is in force
    Column("version", Integer, nullable=False, server_default="1"),
    _time("superseded_at", nullable=True),
    #: a small picture of what the model saw; a path below the folder or bucket of pictures
    _text("evidence", nullable=True),
    #: a failed attempt waits until then
    _time("not_before", nullable=True),
    #: circuits that must be closed for its pixels to be read; known once one of them was open
    Column("circuits", ARRAY(Text), nullable=False, server_default="{}"),
    #: attempts that were not counted, since the source or the machine was to blame, in a row
    Column("refusals", Integer, nullable=False, server_default="0"),
    #: the first and the last of them
    _time("refused_since", nullable=True),
    _time("refused_at", nullable=True),
    #: leases that ran out, in a row: a killed worker costs no attempt, a scene that kills its workers still ends
    Column("lost_leases", Integer, nullable=False, server_default="0"),
    CheckConstraint(
        "state IN ('pending', 'leased', 'inferred', 'observed', 'skipped', 'failed')",
        name="observation_state",
    ),
    Index(
        "observation_open_ix",
        text("priority DESC"),
        "acquired_at",
        postgresql_where=text("state IN ('pending', 'leased')"),
    ),
    Index("observation_series_ix", "series_id", "acquired_at", "scene_id"),
    # the id names series, scene and items; an index over all items of a large scene would have rows too long for a page
    Index("observation_versions_ix", "series_id", "scene_id"),
    Index("observation_scene_ix", "scene_id"),
    Index("observation_footprint_ix", "footprint", postgresql_using="gist"),
)

track = Table(
    "track",
    metadata,
    _id(),
    _ref("series_id", "series"),
    _text("target"),
    _time("created_at", now=True),
    #: the object's first identity; another one than its own where a new model or instruction took it over
    Column("object_id", UUID(as_uuid=True), nullable=False),
    Index("track_object_ix", "object_id"),
    Index("track_series_ix", "series_id"),
)

detection = Table(
    "detection",
    metadata,
    _id(),
    _ref("observation_id", "observation"),
    Column("ordinal", Integer, nullable=False),
    _text("target"),
    _geom(),
    Column("score", Double, nullable=False),
    Column("area_m2", Double, nullable=False),
    _ref("track_id", "track", nullable=True),
    UniqueConstraint("observation_id", "ordinal", name="detection_identity"),
    Index("detection_geom_ix", "geom", postgresql_using="gist"),
)

#: Ground that an observation was the first of its series to see clearly; the rows of a series are disjoint. Worked out
#: from the footprints, like tracks, and made anew where a late scene saw it earlier.
seen_ground = Table(
    "seen_ground",
    metadata,
    Column("series_id", UUID(as_uuid=True), ForeignKey(f"{SCHEMA}.series.id"), primary_key=True),
    Column("observation_id", UUID(as_uuid=True), ForeignKey(f"{SCHEMA}.observation.id"), primary_key=True),
    #: whether the observation is of the series that this one took over from: it counts as earlier than all others
    Column("inherited", Boolean, nullable=False),
    _geom(),
    Index("seen_ground_geom_ix", "series_id", "geom", postgresql_using="gist"),
)

track_state = Table(
    "track_state",
    metadata,
    _id(),
    _ref("track_id", "track"),
    _ref("observation_id", "observation"),
    Column("valid", TSTZRANGE, nullable=False),
    Column("recorded", TSTZRANGE, nullable=False),
    _geom(),
    Column("area_m2", Double, nullable=False),
    Column("score", Double, nullable=False),
    _time("first_seen"),
    _time("last_seen"),
    _time("last_looked"),
    Column("misses", Integer, nullable=False),
    _time("missed_since", nullable=True),
    Column("visible_share", Double, nullable=False),
    Column("alive", Boolean, nullable=False),
    _ref("merged_into", "track", nullable=True),
    _text("change", nullable=True),
    ExcludeConstraint(
        ("track_id", "="), ("valid", "&&"), ("recorded", "&&"), name=TRACK_STATE_NO_OVERLAP, using="gist"
    ),
    CheckConstraint("NOT isempty(valid) AND NOT isempty(recorded)", name=TRACK_STATE_NOT_EMPTY),
    Index(
        "track_state_now_ix",
        "geom",
        postgresql_using="gist",
        postgresql_where=text("upper_inf(valid) AND upper_inf(recorded)"),
    ),
    Index("track_state_track_ix", "track_id"),
    Index("track_state_observation_ix", "observation_id", postgresql_where=text("upper_inf(recorded)")),
)

track_lineage = Table(
    "track_lineage",
    metadata,
    Column("parent", UUID(as_uuid=True), ForeignKey(f"{SCHEMA}.track.id"), primary_key=True),
    Column("child", UUID(as_uuid=True), ForeignKey(f"{SCHEMA}.track.id"), primary_key=True),
    Column("kind", Text, primary_key=True),
    _time("valid_at"),
    _ref("observation_id", "observation"),
    _time("retracted_at", nullable=True),
    Index("track_lineage_observation_ix", "observation_id"),
)

change = Table(
    "change",
    metadata,
    _id(),
    _ref("track_id", "track"),
    _ref("observation_id", "observation"),
    _text("kind"),
    _text("target"),
    _time("valid_at"),
    _time("recorded_at", now=True),
    Column("before_m2", Double, nullable=False),
    Column("after_m2", Double, nullable=False),
    _geom("gained", nullable=True),
    _geom("lost", nullable=True),
    _geom(),
    Column("score", Double, nullable=False),
    Column("baseline", Boolean, nullable=False),
    _time("retracted_at", nullable=True),
    Index("change_geom_ix", "geom", postgresql_using="gist"),
    Index("change_valid_ix", "valid_at"),
    Index("change_track_ix", "track_id"),
    Index("change_observation_ix", "observation_id"),
)

review = Table(
    "review",
    metadata,
    _id(),
    _ref("track_id", "track"),
    #: counts the verdicts about one track; the highest holds
    Column("ordinal", Integer, nullable=False),
    _text("verdict"),
    _text("reviewer"),
    _text("reason"),
    _time("decided_at", now=True),
    _geom(nullable=True),
    Column("area_m2", Double),
    #: the object as it was; what is found there again under another identity gets the same verdict
    _geom("outline"),
    _time("looked_at"),
    _ref("carried_from", "review", nullable=True),
    UniqueConstraint("track_id", "ordinal", name="review_identity"),
    CheckConstraint("verdict IN ('confirmed', 'rejected', 'edited')", name="review_verdict"),
    CheckConstraint("(verdict = 'edited') = (geom IS NOT NULL)", name="review_edit_has_outline"),
    Index("review_outline_ix", "outline", postgresql_using="gist"),
    Index("review_geom_ix", "geom", postgresql_using="gist"),
)

alert = Table(
    "alert",
    metadata,
    _id(),
    _ref("change_id", "change"),
    _ref("watch_id", "watch"),
    _text("rule"),
    _time("created_at", now=True),
    #: told to further channels then, unless somebody marked it
    _time("escalate_at", nullable=True),
    Column("escalate_to", ARRAY(Text), nullable=False, server_default="{}"),
    UniqueConstraint("change_id", "rule", name="alert_identity"),
    Index("alert_escalate_ix", "escalate_at", postgresql_where=text("escalate_at IS NOT NULL")),
)

alert_correction = Table(
    "alert_correction",
    metadata,
    Column("alert_id", UUID(as_uuid=True), ForeignKey(f"{SCHEMA}.alert.id"), primary_key=True),
    #: from 1 on; what a channel is told of them is in the outbox, and feeds have no channel
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    _text("kind"),
    _time("recorded_at"),
    CheckConstraint("kind IN ('retracted', 'reinstated', 'updated')", name="alert_correction_kind"),
)

delivery = Table(
    "delivery",
    metadata,
    _id(),
    #: null in the message of a digest, which is about several
    _ref("alert_id", "alert", nullable=True),
    _text("channel"),
    Column("idempotency_key", Text, nullable=False, unique=True),
    Column("payload", JSONB, nullable=False),
    _text("state"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    _time("next_attempt_at", now=True),
    _text("lease_worker", nullable=True),
    _time("lease_until", nullable=True),
    _text("last_error", nullable=True),
    _time("created_at", now=True),
    _time("delivered_at", nullable=True),
    #: 0 is the alert; odd ones say that it does not hold after all, further even ones that it does again
    Column("ordinal", Integer, nullable=False, server_default="0"),
    _ref("track_id", "track", nullable=True),
    #: messages about one object reach a channel in this order
    Column("sequence", BigInteger, Identity(), nullable=False),
    #: given up some time after this; replaying begins anew
    _time("tried_since", now=True),
    #: not sent by itself but with a digest of then or later
    _time("digest_at", nullable=True),
    #: the message of that digest, once it is written
    _ref("digest_id", "delivery", nullable=True),
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
)

channel = Table(
    "channel",
    metadata,
    Column("name", Text, primary_key=True),
    #: in a row
    Column("failures", Integer, nullable=False, server_default="0"),
    _time("resting_until", nullable=True),
    _text("last_error", nullable=True),
    _time("changed_at", now=True),
    #: it answered that it wants no more
    _time("gone_at", nullable=True),
)

#: Hosts and credentials that failed: shared by all workers, so that an outage is found once and not by every scene.
circuit = Table(
    "circuit",
    metadata,
    Column("name", Text, primary_key=True),
    #: in a row; 0 = closed
    Column("failures", Integer, nullable=False, server_default="0"),
    _time("opened_at", nullable=True),
    #: then one scene is tried
    _time("retry_at", nullable=True),
    #: the worker that tries it, and until when it is waited for
    _text("probe_worker", nullable=True),
    _time("probe_until", nullable=True),
    _text("error", nullable=True),
    #: the last time that it closed
    _time("closed_at", nullable=True),
    CheckConstraint("(failures = 0) = (retry_at IS NULL)", name="circuit_open"),
)

alert_mark = Table(
    "alert_mark",
    metadata,
    _id(),
    _ref("alert_id", "alert"),
    _ref("track_id", "track"),
    Column("ordinal", Integer, nullable=False),
    _text("mark"),
    _text("person"),
    _text("note"),
    _time("until", nullable=True),
    _time("marked_at", now=True),
    UniqueConstraint("alert_id", "ordinal", name="alert_mark_identity"),
    CheckConstraint("mark IN ('acknowledged', 'snoozed', 'resolved', 'reopened')", name="alert_mark_known"),
    CheckConstraint("(mark = 'snoozed') = (until IS NOT NULL)", name="alert_mark_snooze_ends"),
    Index("alert_mark_track_ix", "track_id"),
)

#: Rows that are locked where only one session may do something at a time.
mutex = Table("mutex", metadata, Column("name", Text, primary_key=True))

#: Runs at work, and what became of those of the last days.
run = Table(
    "run",
    metadata,
    _id(),
    _text("flow"),
    #: null = no watch in particular
    _text("watch", nullable=True),
    #: what only one run at a time may work on
    _text("subject", nullable=True),
    #: host and process id
    _text("worker"),
    #: null = Prefect has no part in it
    Column("flow_run_id", UUID(as_uuid=True), nullable=True),
    _time("started_at", now=True),
    _time("heartbeat_at", now=True),
    _time("lease_until"),
    _time("ended_at", nullable=True),
    #: completed, failed, stopped or lost
    _text("outcome", nullable=True),
    #: when Prefect was told that the run is lost
    _time("reported_at", nullable=True),
    CheckConstraint("(ended_at IS NULL) = (outcome IS NULL)", name="run_ended"),
    Index("run_alone_ix", "subject", unique=True, postgresql_where=text("ended_at IS NULL")),
    Index("run_flow_run_ix", "flow_run_id"),
    Index("run_ended_ix", "ended_at"),
)

event = Table(
    "event",
    metadata,
    _id(),
    _text("source"),
    _text("external_id"),
    _text("revision"),
    _text("kind"),
    _text("title"),
    _time("occurred_at", nullable=True),
    _geom(nullable=True),
    Column("properties", JSONB, nullable=False),
    _time("recorded_at", now=True),
    UniqueConstraint("source", "external_id", "revision", name="event_identity"),
)

event_name = Table(
    "event_name",
    metadata,
    Column("source", Text, primary_key=True),
    Column("external_id", Text, primary_key=True),
    #: of the event's rows
    _text("event_source"),
    _text("event_external_id"),
    _time("since", nullable=True),
    _time("withdrawn_at", nullable=True),
    _time("recorded_at", now=True),
    Index("event_name_event_ix", "event_source", "event_external_id"),
)

#: Who may read over HTTP, and do more. Of the secret a digest is kept alone.
access_token = Table(
    "access_token",
    metadata,
    Column("id", Text, primary_key=True),
    _text("name"),
    #: SHA-256
    Column("digest", LargeBinary, nullable=False),
    #: null = all, those that come later too
    Column("watches", ARRAY(Text)),
    Column("scopes", ARRAY(Text), nullable=False),
    _time("created_at", now=True),
    _time("expires_at", nullable=True),
    _time("revoked_at", nullable=True),
    CheckConstraint("octet_length(digest) = 32", name="access_token_digest"),
    Index("access_token_name_ix", "name", unique=True, postgresql_where=text("revoked_at IS NULL")),
)
