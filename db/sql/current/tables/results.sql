CREATE TABLE segwatch.judgement_evidence (
    id UUID NOT NULL,
    content JSONB NOT NULL,
    CONSTRAINT judgement_evidence_pk PRIMARY KEY (id)
);

CREATE TABLE segwatch.series (
    id UUID NOT NULL,
    watch_name TEXT NOT NULL,
    instruction_id UUID NOT NULL,
    model_version TEXT NOT NULL,
    origin_lon DOUBLE PRECISION NOT NULL,
    origin_lat DOUBLE PRECISION NOT NULL,
    seeded_from UUID,
    seed_valid_at TIMESTAMP WITH TIME ZONE,
    seed_known_at TIMESTAMP WITH TIME ZONE,
    recorded_to TIMESTAMP WITH TIME ZONE,
    CONSTRAINT series_pk PRIMARY KEY (id),
    CONSTRAINT series_identity UNIQUE (watch_name, instruction_id, model_version),
    CONSTRAINT series_instruction_id_fk FOREIGN KEY(instruction_id) REFERENCES segwatch.instruction (id),
    CONSTRAINT series_seeded_from_fk FOREIGN KEY(seeded_from) REFERENCES segwatch.series (id)
);

CREATE TABLE segwatch.observation (
    id UUID NOT NULL,
    series_id UUID NOT NULL,
    scene_id UUID NOT NULL,
    revision_id UUID NOT NULL,
    model_version TEXT NOT NULL,
    state TEXT NOT NULL,
    priority INTEGER NOT NULL,
    acquired_at TIMESTAMP WITH TIME ZONE NOT NULL,
    lease_worker TEXT,
    lease_until TIMESTAMP WITH TIME ZONE,
    attempts INTEGER DEFAULT '0' NOT NULL,
    reason TEXT,
    answer TEXT,
    footprint geometry(GEOMETRY,4326),
    clear_share DOUBLE PRECISION,
    tiles INTEGER,
    tiles_failed INTEGER,
    area_km2 DOUBLE PRECISION,
    bytes_read DOUBLE PRECISION,
    compute_seconds DOUBLE PRECISION,
    discovered_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    leased_at TIMESTAMP WITH TIME ZONE,
    read_at TIMESTAMP WITH TIME ZONE,
    inferred_at TIMESTAMP WITH TIME ZONE,
    committed_at TIMESTAMP WITH TIME ZONE,
    items UUID[] NOT NULL,
    version INTEGER DEFAULT '1' NOT NULL,
    superseded_at TIMESTAMP WITH TIME ZONE,
    evidence TEXT,
    not_before TIMESTAMP WITH TIME ZONE,
    circuits TEXT[] DEFAULT '{}' NOT NULL,
    refusals INTEGER DEFAULT '0' NOT NULL,
    refused_since TIMESTAMP WITH TIME ZONE,
    refused_at TIMESTAMP WITH TIME ZONE,
    lost_leases INTEGER DEFAULT '0' NOT NULL,
    shift_east_m DOUBLE PRECISION,
    shift_north_m DOUBLE PRECISION,
    shift_quality DOUBLE PRECISION,
    shift_source TEXT,
    CONSTRAINT observation_pk PRIMARY KEY (id),
    CONSTRAINT observation_state CHECK (state IN ('pending', 'leased', 'inferred', 'observed', 'skipped', 'failed')),
    CONSTRAINT observation_shift_source CHECK (shift_source IN ('pixels', 'outlines', 'none')),
    CONSTRAINT observation_series_id_fk FOREIGN KEY(series_id) REFERENCES segwatch.series (id),
    CONSTRAINT observation_scene_id_fk FOREIGN KEY(scene_id) REFERENCES segwatch.scene (id),
    CONSTRAINT observation_revision_id_fk FOREIGN KEY(revision_id) REFERENCES segwatch.watch (id)
);

CREATE INDEX observation_footprint_ix ON segwatch.observation USING gist (footprint);

CREATE INDEX observation_open_ix ON segwatch.observation (priority DESC, acquired_at) WHERE state IN ('pending', 'leased');

CREATE INDEX observation_scene_ix ON segwatch.observation (scene_id);

CREATE INDEX observation_series_ix ON segwatch.observation (series_id, acquired_at, scene_id);

CREATE INDEX observation_versions_ix ON segwatch.observation (series_id, scene_id);

CREATE TABLE segwatch.track (
    id UUID NOT NULL,
    series_id UUID NOT NULL,
    target TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    object_id UUID NOT NULL,
    CONSTRAINT track_pk PRIMARY KEY (id),
    CONSTRAINT track_series_id_fk FOREIGN KEY(series_id) REFERENCES segwatch.series (id)
);

CREATE INDEX track_object_ix ON segwatch.track (object_id);

CREATE INDEX track_page_ix ON segwatch.track (series_id, id);

CREATE TABLE segwatch.change (
    id UUID NOT NULL,
    track_id UUID NOT NULL,
    observation_id UUID NOT NULL,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    valid_at TIMESTAMP WITH TIME ZONE NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    before_m2 DOUBLE PRECISION NOT NULL,
    after_m2 DOUBLE PRECISION NOT NULL,
    gained geometry(GEOMETRY,4326),
    lost geometry(GEOMETRY,4326),
    geom geometry(GEOMETRY,4326) NOT NULL,
    score DOUBLE PRECISION NOT NULL,
    baseline BOOLEAN NOT NULL,
    retracted_at TIMESTAMP WITH TIME ZONE,
    is_open BOOLEAN DEFAULT 'false' NOT NULL,
    altered_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT change_pk PRIMARY KEY (id),
    CONSTRAINT change_track_id_fk FOREIGN KEY(track_id) REFERENCES segwatch.track (id),
    CONSTRAINT change_observation_id_fk FOREIGN KEY(observation_id) REFERENCES segwatch.observation (id)
);

CREATE INDEX change_altered_ix ON segwatch.change (altered_at);

CREATE INDEX change_geom_ix ON segwatch.change USING gist (geom);

CREATE INDEX change_observation_ix ON segwatch.change (observation_id);

CREATE INDEX change_open_ix ON segwatch.change USING gist (geom) WHERE is_open AND retracted_at IS NULL;

CREATE INDEX change_track_ix ON segwatch.change (track_id);

CREATE INDEX change_valid_ix ON segwatch.change (valid_at);

CREATE TABLE segwatch.detection (
    id UUID NOT NULL,
    observation_id UUID NOT NULL,
    ordinal INTEGER NOT NULL,
    target TEXT NOT NULL,
    geom geometry(GEOMETRY,4326) NOT NULL,
    score DOUBLE PRECISION NOT NULL,
    area_m2 DOUBLE PRECISION NOT NULL,
    track_id UUID,
    evidence JSONB,
    shadow_share DOUBLE PRECISION,
    shadow_iou DOUBLE PRECISION,
    CONSTRAINT detection_pk PRIMARY KEY (id),
    CONSTRAINT detection_identity UNIQUE (observation_id, ordinal),
    CONSTRAINT detection_observation_id_fk FOREIGN KEY(observation_id) REFERENCES segwatch.observation (id),
    CONSTRAINT detection_track_id_fk FOREIGN KEY(track_id) REFERENCES segwatch.track (id)
);

CREATE INDEX detection_near_ix ON segwatch.detection USING gist (observation_id, geom);

CREATE INDEX detection_opinion_ix ON segwatch.detection (track_id, observation_id) WHERE evidence IS NOT NULL OR shadow_share IS NOT NULL;

CREATE TABLE segwatch.observation_chip (
    observation_id UUID NOT NULL,
    crs TEXT NOT NULL,
    pixel_m DOUBLE PRECISION NOT NULL,
    grid_row INTEGER NOT NULL,
    grid_col INTEGER NOT NULL,
    content BYTEA NOT NULL,
    CONSTRAINT observation_chip_pk PRIMARY KEY (observation_id, crs, pixel_m, grid_row, grid_col),
    CONSTRAINT observation_chip_observation_id_fk FOREIGN KEY(observation_id) REFERENCES segwatch.observation (id)
);

CREATE TABLE segwatch.review (
    id UUID NOT NULL,
    track_id UUID NOT NULL,
    ordinal INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    reviewer TEXT NOT NULL,
    reason TEXT NOT NULL,
    decided_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    geom geometry(GEOMETRY,4326),
    area_m2 DOUBLE PRECISION,
    outline geometry(GEOMETRY,4326) NOT NULL,
    looked_at TIMESTAMP WITH TIME ZONE NOT NULL,
    carried_from UUID,
    CONSTRAINT review_pk PRIMARY KEY (id),
    CONSTRAINT review_identity UNIQUE (track_id, ordinal),
    CONSTRAINT review_verdict CHECK (verdict IN ('confirmed', 'rejected', 'edited')),
    CONSTRAINT review_edit_has_outline CHECK ((verdict = 'edited') = (geom IS NOT NULL)),
    CONSTRAINT review_track_id_fk FOREIGN KEY(track_id) REFERENCES segwatch.track (id),
    CONSTRAINT review_carried_from_fk FOREIGN KEY(carried_from) REFERENCES segwatch.review (id)
);

CREATE INDEX review_geom_ix ON segwatch.review USING gist (geom);

CREATE INDEX review_outline_ix ON segwatch.review USING gist (outline);

CREATE TABLE segwatch.seen_ground (
    series_id UUID NOT NULL,
    observation_id UUID NOT NULL,
    inherited BOOLEAN NOT NULL,
    geom geometry(GEOMETRY,4326) NOT NULL,
    CONSTRAINT seen_ground_pk PRIMARY KEY (series_id, observation_id),
    CONSTRAINT seen_ground_series_id_fk FOREIGN KEY(series_id) REFERENCES segwatch.series (id),
    CONSTRAINT seen_ground_observation_id_fk FOREIGN KEY(observation_id) REFERENCES segwatch.observation (id)
);

CREATE INDEX seen_ground_geom_ix ON segwatch.seen_ground USING gist (series_id, geom);

CREATE TABLE segwatch.series_counts (
    observation_id UUID NOT NULL,
    target TEXT NOT NULL,
    counts JSONB NOT NULL,
    CONSTRAINT series_counts_pk PRIMARY KEY (observation_id, target),
    CONSTRAINT series_counts_observation_id_fk FOREIGN KEY(observation_id) REFERENCES segwatch.observation (id)
);

CREATE TABLE segwatch.series_reference (
    series_id UUID NOT NULL,
    crs TEXT NOT NULL,
    pixel_m DOUBLE PRECISION NOT NULL,
    grid_row INTEGER NOT NULL,
    grid_col INTEGER NOT NULL,
    observation_id UUID NOT NULL,
    shift_east_m DOUBLE PRECISION NOT NULL,
    shift_north_m DOUBLE PRECISION NOT NULL,
    shift_quality DOUBLE PRECISION NOT NULL,
    shift_source TEXT NOT NULL,
    CONSTRAINT series_reference_pk PRIMARY KEY (series_id, crs, pixel_m, grid_row, grid_col),
    CONSTRAINT series_reference_series_id_fk FOREIGN KEY(series_id) REFERENCES segwatch.series (id),
    CONSTRAINT series_reference_observation_id_fk FOREIGN KEY(observation_id) REFERENCES segwatch.observation (id)
);

CREATE TABLE segwatch.track_lineage (
    parent UUID NOT NULL,
    child UUID NOT NULL,
    kind TEXT NOT NULL,
    valid_at TIMESTAMP WITH TIME ZONE NOT NULL,
    observation_id UUID NOT NULL,
    retracted_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT track_lineage_pk PRIMARY KEY (parent, child, kind),
    CONSTRAINT track_lineage_parent_fk FOREIGN KEY(parent) REFERENCES segwatch.track (id),
    CONSTRAINT track_lineage_child_fk FOREIGN KEY(child) REFERENCES segwatch.track (id),
    CONSTRAINT track_lineage_observation_id_fk FOREIGN KEY(observation_id) REFERENCES segwatch.observation (id)
);

CREATE INDEX track_lineage_child_ix ON segwatch.track_lineage (child);

CREATE INDEX track_lineage_observation_ix ON segwatch.track_lineage (observation_id);

CREATE TABLE segwatch.track_state (
    id UUID NOT NULL,
    track_id UUID NOT NULL,
    observation_id UUID NOT NULL,
    valid TSTZRANGE NOT NULL,
    recorded TSTZRANGE NOT NULL,
    geom geometry(GEOMETRY,4326) NOT NULL,
    area_m2 DOUBLE PRECISION NOT NULL,
    score DOUBLE PRECISION NOT NULL,
    first_seen TIMESTAMP WITH TIME ZONE NOT NULL,
    last_seen TIMESTAMP WITH TIME ZONE NOT NULL,
    last_looked TIMESTAMP WITH TIME ZONE NOT NULL,
    misses INTEGER NOT NULL,
    missed_since TIMESTAMP WITH TIME ZONE,
    visible_share DOUBLE PRECISION NOT NULL,
    alive BOOLEAN NOT NULL,
    merged_into UUID,
    change TEXT,
    confidence DOUBLE PRECISION,
    status TEXT,
    observations_for INTEGER,
    observations_against INTEGER,
    CONSTRAINT track_state_pk PRIMARY KEY (id),
    CONSTRAINT track_state_no_overlap EXCLUDE USING gist (track_id WITH =, valid WITH &&, recorded WITH &&),
    CONSTRAINT track_state_ranges_not_empty CHECK (NOT isempty(valid) AND NOT isempty(recorded)),
    CONSTRAINT track_state_status CHECK (status IN ('provisional', 'confirmed', 'refuted')),
    CONSTRAINT track_state_judged CHECK (num_nulls(confidence, status, observations_for, observations_against) IN (0, 4)),
    CONSTRAINT track_state_track_id_fk FOREIGN KEY(track_id) REFERENCES segwatch.track (id),
    CONSTRAINT track_state_observation_id_fk FOREIGN KEY(observation_id) REFERENCES segwatch.observation (id),
    CONSTRAINT track_state_merged_into_fk FOREIGN KEY(merged_into) REFERENCES segwatch.track (id)
);

CREATE INDEX track_state_closed_ix ON segwatch.track_state (upper(recorded)) WHERE upper_inf(valid) AND NOT upper_inf(recorded);

CREATE INDEX track_state_geom_ix ON segwatch.track_state USING gist (geom);

CREATE INDEX track_state_learned_ix ON segwatch.track_state (lower(recorded)) WHERE upper_inf(valid);

CREATE INDEX track_state_now_ix ON segwatch.track_state USING gist (geom) WHERE upper_inf(valid) AND upper_inf(recorded);

CREATE INDEX track_state_observation_ix ON segwatch.track_state (observation_id) WHERE upper_inf(recorded);

CREATE INDEX track_state_track_ix ON segwatch.track_state (track_id);

CREATE TABLE segwatch.change_judgement (
    id UUID NOT NULL,
    change_id UUID NOT NULL,
    observation_id UUID NOT NULL,
    acquired_at TIMESTAMP WITH TIME ZONE NOT NULL,
    scene_id UUID NOT NULL,
    confidence DOUBLE PRECISION NOT NULL,
    status TEXT NOT NULL,
    observations_for INTEGER NOT NULL,
    observations_against INTEGER NOT NULL,
    earliest TIMESTAMP WITH TIME ZONE NOT NULL,
    latest TIMESTAMP WITH TIME ZONE NOT NULL,
    views JSONB NOT NULL,
    evidence_id UUID,
    recorded TSTZRANGE NOT NULL,
    CONSTRAINT change_judgement_pk PRIMARY KEY (id),
    CONSTRAINT change_judgement_range_not_empty CHECK (NOT isempty(recorded)),
    CONSTRAINT change_judgement_status CHECK (status IN ('provisional', 'confirmed', 'refuted')),
    CONSTRAINT change_judgement_change_id_fk FOREIGN KEY(change_id) REFERENCES segwatch.change (id),
    CONSTRAINT change_judgement_observation_id_fk FOREIGN KEY(observation_id) REFERENCES segwatch.observation (id),
    CONSTRAINT change_judgement_scene_id_fk FOREIGN KEY(scene_id) REFERENCES segwatch.scene (id),
    CONSTRAINT change_judgement_evidence_id_fk FOREIGN KEY(evidence_id) REFERENCES segwatch.judgement_evidence (id)
);

CREATE INDEX change_judgement_closed_ix ON segwatch.change_judgement (upper(recorded)) WHERE NOT upper_inf(recorded);

CREATE INDEX change_judgement_made_ix ON segwatch.change_judgement (lower(recorded));

CREATE UNIQUE INDEX change_judgement_now_ix ON segwatch.change_judgement (change_id, acquired_at DESC, scene_id DESC) WHERE upper_inf(recorded);

CREATE INDEX change_judgement_observation_ix ON segwatch.change_judgement (observation_id) WHERE upper_inf(recorded);
