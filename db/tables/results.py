"""Series and what they found: observations, detections, tracks with their history, changes and reviews."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSTZRANGE, UUID, ExcludeConstraint

from segwatch.db.tables.columns import geometry, identity, metadata, reference, string, time

_STATUSES = "status IN ('provisional', 'confirmed', 'refuted')"


def _belief(*, nullable: bool = False) -> tuple[Column[Any], ...]:
    return (
        Column("confidence", Double, nullable=nullable),
        string("status", nullable=nullable),
        Column("observations_for", Integer, nullable=nullable),
        Column("observations_against", Integer, nullable=nullable),
    )


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
    #: recorded time of the latest publication or verdict. Whoever writes one holds the lock of this row until the
    #: commit, so what is committed later is recorded later: delta feeds resume from here. Null before the first one
    time("recorded_to", nullable=True),
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
    #: how far tracking moved footprint and detections to the series' reference; null before it was tracked
    Column("shift_east_m", Double),
    Column("shift_north_m", Double),
    Column("shift_quality", Double),
    string("shift_source", nullable=True),
    CheckConstraint(
        "state IN ('pending', 'leased', 'inferred', 'observed', 'skipped', 'failed')",
        name="observation_state",
    ),
    CheckConstraint("shift_source IN ('pixels', 'outlines', 'none')", name="observation_shift_source"),
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
    # pages of the objects of a series, in order of id
    Index("track_page_ix", "series_id", "id"),
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
    # detections of one observation near a place
    Index("detection_near_ix", "observation_id", "geom", postgresql_using="gist"),
    Index(
        "detection_opinion_ix",
        "track_id",
        "observation_id",
        postgresql_where=text("evidence IS NOT NULL OR shadow_share IS NOT NULL"),
    ),
)

#: Small grey pictures of fixed cells of the ground, by which the observation is registered to its series; at most nine.
observation_chip = Table(
    "observation_chip",
    metadata,
    reference("observation_id", "observation", primary_key=True),
    #: the lattice of cells: CRS, and side of a pixel in metres
    Column("crs", Text, primary_key=True),
    Column("pixel_m", Double, primary_key=True),
    #: cells of 128 x 128 pixels below and right of the CRS's origin
    Column("grid_row", Integer, primary_key=True),
    Column("grid_col", Integer, primary_key=True),
    #: see segwatch.geo.types.chips.Chip
    Column("content", LargeBinary, nullable=False),
)

#: Chips of the series that this one took over, by which its observations are registered to the objects it took over.
#: Copied once, when the series begins; their observations belong to earlier series.
series_reference = Table(
    "series_reference",
    metadata,
    reference("series_id", "series", primary_key=True),
    Column("crs", Text, primary_key=True),
    Column("pixel_m", Double, primary_key=True),
    Column("grid_row", Integer, primary_key=True),
    Column("grid_col", Integer, primary_key=True),
    reference("observation_id", "observation"),
    #: by which the observation was moved then
    Column("shift_east_m", Double, nullable=False),
    Column("shift_north_m", Double, nullable=False),
    Column("shift_quality", Double, nullable=False),
    string("shift_source"),
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
    #: belief that the object is there after its observation; null in rows from before segwatch judged
    *_belief(nullable=True),
    ExcludeConstraint(
        ("track_id", "="), ("valid", "&&"), ("recorded", "&&"), name="track_state_no_overlap", using="gist"
    ),
    CheckConstraint("NOT isempty(valid) AND NOT isempty(recorded)", name="track_state_ranges_not_empty"),
    CheckConstraint(_STATUSES, name="track_state_status"),
    CheckConstraint(
        "num_nulls(confidence, status, observations_for, observations_against) IN (0, 4)",
        name="track_state_judged",
    ),
    Index(
        "track_state_now_ix",
        "geom",
        postgresql_using="gist",
        postgresql_where=text("upper_inf(valid) AND upper_inf(recorded)"),
    ),
    Index("track_state_geom_ix", "geom", postgresql_using="gist"),
    Index("track_state_track_ix", "track_id"),
    Index("track_state_observation_ix", "observation_id", postgresql_where=text("upper_inf(recorded)")),
    # the latest states that became known, or were found wrong, after a recorded time: delta feeds
    Index("track_state_learned_ix", text("lower(recorded)"), postgresql_where=text("upper_inf(valid)")),
    Index(
        "track_state_closed_ix",
        text("upper(recorded)"),
        postgresql_where=text("upper_inf(valid) AND NOT upper_inf(recorded)"),
    ),
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
    Index("track_lineage_child_ix", "child"),
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
    #: whether its newest judgement has evidence, so that the next observation of its ground judges it again
    Column("is_open", Boolean, nullable=False, server_default="false"),
    #: recorded time at which the row was last written otherwise: recorded, retracted, reinstated or measured anew
    time("altered_at", now=True),
    Index("change_geom_ix", "geom", postgresql_using="gist"),
    Index(
        "change_open_ix",
        "geom",
        postgresql_using="gist",
        postgresql_where=text("is_open AND retracted_at IS NULL"),
    ),
    Index("change_valid_ix", "valid_at"),
    Index("change_track_ix", "track_id"),
    Index("change_observation_ix", "observation_id"),
    Index("change_altered_ix", "altered_at"),
)

#: What later observations are compared with to judge a change. The id comes from the content: judgements share it.
judgement_evidence = Table(
    "judgement_evidence",
    metadata,
    identity(),
    Column("content", JSONB, nullable=False),
)

#: Belief of a change after an observation of its ground. A late scene closes rows that no longer hold and adds others.
change_judgement = Table(
    "change_judgement",
    metadata,
    identity(),
    reference("change_id", "change"),
    reference("observation_id", "observation"),
    #: acquisition time and scene of the observation: they order the judgements of a change
    time("acquired_at"),
    reference("scene_id", "scene"),
    *_belief(),
    #: interval in which the change happened on the ground
    time("earliest"),
    time("latest"),
    #: what each observation so far showed of the ground of the change
    Column("views", JSONB, nullable=False),
    #: what later observations are compared with; null once the change is decided, or cannot be judged
    reference("evidence_id", "judgement_evidence", nullable=True),
    Column("recorded", TSTZRANGE, nullable=False),
    CheckConstraint("NOT isempty(recorded)", name="change_judgement_range_not_empty"),
    CheckConstraint(_STATUSES, name="change_judgement_status"),
    Index(
        "change_judgement_now_ix",
        "change_id",
        text("acquired_at DESC"),
        text("scene_id DESC"),
        unique=True,
        postgresql_where=text("upper_inf(recorded)"),
    ),
    Index("change_judgement_observation_ix", "observation_id", postgresql_where=text("upper_inf(recorded)")),
    # judgements that were made, or given up, after a recorded time: delta feeds
    Index("change_judgement_made_ix", text("lower(recorded)")),
    Index(
        "change_judgement_closed_ix",
        text("upper(recorded)"),
        postgresql_where=text("NOT upper_inf(recorded)"),
    ),
)

#: Running counts of a series for each target, after an observation. Derived from the observations, like tracks, and
#: replaced where a late scene comes before it.
series_counts = Table(
    "series_counts",
    metadata,
    reference("observation_id", "observation", primary_key=True),
    Column("target", Text, primary_key=True),
    Column("counts", JSONB, nullable=False),
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
