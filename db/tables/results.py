"""Series and what they found: observations, detections, tracks with their history, changes and reviews."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSTZRANGE, UUID, ExcludeConstraint

from segwatch.db.tables.columns import geometry, identity, metadata, reference, string, time

series = Table(
    "series",
    metadata,
    identity(),
    string("watch_name"),
    reference("instruction_id", "instruction"),
    string("model_version"),
    Column("origin_lon", Double, nullable=False),
    Column("origin_lat", Double, nullable=False),
    #: the series whose objects it took over, as they were at a valid time and known at a recorded time
    reference("seeded_from", "series", nullable=True),
    time("seed_valid_at", nullable=True),
    time("seed_known_at", nullable=True),
    UniqueConstraint("watch_name", "instruction_id", "model_version", name="series_identity"),
)

observation = Table(
    "observation",
    metadata,
    identity(),
    reference("series_id", "series"),
    reference("scene_id", "scene"),
    reference("revision_id", "watch"),
    string("model_version"),
    string("state"),
    Column("priority", Integer, nullable=False),
    time("acquired_at"),
    string("lease_worker", nullable=True),
    time("lease_until", nullable=True),
    Column("attempts", Integer, nullable=False, server_default="0"),
    string("reason", nullable=True),
    string("answer", nullable=True),
    geometry("footprint", nullable=True),
    Column("clear_share", Double),
    Column("tiles", Integer),
    Column("tiles_failed", Integer),
    Column("area_km2", Double),
    Column("bytes_read", Double),
    Column("compute_seconds", Double),
    time("discovered_at", now=True),
    time("leased_at", nullable=True),
    time("read_at", nullable=True),
    time("inferred_at", nullable=True),
    time("committed_at", nullable=True),
    #: ids of the item rows that it uses, sorted
    Column("items", ARRAY(UUID(as_uuid=True)), nullable=False),
    #: number among the observations of its scene; the highest one with a result is current
    Column("version", Integer, nullable=False, server_default="1"),
    time("superseded_at", nullable=True),
    #: path of the quicklook below the folder or bucket of SEGWATCH_EVIDENCE
    string("evidence", nullable=True),
    #: earliest time of the next attempt
    time("not_before", nullable=True),
    #: circuits that it needs, stored once one of them was open
    Column("circuits", ARRAY(Text), nullable=False, server_default="{}"),
    #: uncounted attempts in a row, for failures of the source or machine
    Column("refusals", Integer, nullable=False, server_default="0"),
    #: when the first and the last of them failed
    time("refused_since", nullable=True),
    time("refused_at", nullable=True),
    #: expired leases in a row; many of them fail a scene that kills its workers
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
    identity(),
    reference("series_id", "series"),
    string("target"),
    time("created_at", now=True),
    #: id of the object in the first series that found it; differs from ``id`` after a model or instruction change
    Column("object_id", UUID(as_uuid=True), nullable=False),
    Index("track_object_ix", "object_id"),
    Index("track_series_ix", "series_id"),
)

detection = Table(
    "detection",
    metadata,
    identity(),
    reference("observation_id", "observation"),
    Column("ordinal", Integer, nullable=False),
    string("target"),
    geometry(),
    Column("score", Double, nullable=False),
    Column("area_m2", Double, nullable=False),
    reference("track_id", "track", nullable=True),
    #: means of spectral indices, see segwatch.geo.types.evidence.SpectralEvidence.to_json
    Column("evidence", JSONB),
    #: agreement with the shadow segmenter on the ground that both observed
    Column("shadow_share", Double),
    Column("shadow_iou", Double),
    UniqueConstraint("observation_id", "ordinal", name="detection_identity"),
    Index("detection_geom_ix", "geom", postgresql_using="gist"),
    Index(
        "detection_evidence_ix", "track_id", "observation_id", postgresql_where=text("evidence IS NOT NULL")
    ),
)

#: Part of a footprint that the observation was the first of its series to cover; the rows of a series are disjoint.
#: Derived from the footprints, like tracks, and replaced where a late scene covered it earlier.
seen_ground = Table(
    "seen_ground",
    metadata,
    reference("series_id", "series", primary_key=True),
    reference("observation_id", "observation", primary_key=True),
    #: whether the observation belongs to the series that this one took over: it counts as earlier than all others
    Column("inherited", Boolean, nullable=False),
    geometry(),
    Index("seen_ground_geom_ix", "series_id", "geom", postgresql_using="gist"),
)

track_state = Table(
    "track_state",
    metadata,
    identity(),
    reference("track_id", "track"),
    reference("observation_id", "observation"),
    Column("valid", TSTZRANGE, nullable=False),
    Column("recorded", TSTZRANGE, nullable=False),
    geometry(),
    Column("area_m2", Double, nullable=False),
    Column("score", Double, nullable=False),
    time("first_seen"),
    time("last_seen"),
    time("last_looked"),
    Column("misses", Integer, nullable=False),
    time("missed_since", nullable=True),
    Column("visible_share", Double, nullable=False),
    Column("alive", Boolean, nullable=False),
    reference("merged_into", "track", nullable=True),
    string("change", nullable=True),
    ExcludeConstraint(
        ("track_id", "="), ("valid", "&&"), ("recorded", "&&"), name="track_state_no_overlap", using="gist"
    ),
    CheckConstraint("NOT isempty(valid) AND NOT isempty(recorded)", name="track_state_ranges_not_empty"),
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
    reference("parent", "track", primary_key=True),
    reference("child", "track", primary_key=True),
    Column("kind", Text, primary_key=True),
    time("valid_at"),
    reference("observation_id", "observation"),
    time("retracted_at", nullable=True),
    Index("track_lineage_observation_ix", "observation_id"),
)

change = Table(
    "change",
    metadata,
    identity(),
    reference("track_id", "track"),
    reference("observation_id", "observation"),
    string("kind"),
    string("target"),
    time("valid_at"),
    time("recorded_at", now=True),
    Column("before_m2", Double, nullable=False),
    Column("after_m2", Double, nullable=False),
    geometry("gained", nullable=True),
    geometry("lost", nullable=True),
    geometry(),
    Column("score", Double, nullable=False),
    Column("baseline", Boolean, nullable=False),
    time("retracted_at", nullable=True),
    Index("change_geom_ix", "geom", postgresql_using="gist"),
    Index("change_valid_ix", "valid_at"),
    Index("change_track_ix", "track_id"),
    Index("change_observation_ix", "observation_id"),
)

review = Table(
    "review",
    metadata,
    identity(),
    reference("track_id", "track"),
    #: number among the reviews of the track; the highest is in force
    Column("ordinal", Integer, nullable=False),
    string("verdict"),
    string("reviewer"),
    string("reason"),
    time("decided_at", now=True),
    geometry(nullable=True),
    Column("area_m2", Double),
    #: geometry of the object at the time; a track found there later inherits the verdict
    geometry("outline"),
    time("looked_at"),
    reference("carried_from", "review", nullable=True),
    UniqueConstraint("track_id", "ordinal", name="review_identity"),
    CheckConstraint("verdict IN ('confirmed', 'rejected', 'edited')", name="review_verdict"),
    CheckConstraint("(verdict = 'edited') = (geom IS NOT NULL)", name="review_edit_has_outline"),
    Index("review_outline_ix", "outline", postgresql_using="gist"),
    Index("review_geom_ix", "geom", postgresql_using="gist"),
)
