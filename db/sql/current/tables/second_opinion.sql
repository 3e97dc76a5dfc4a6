CREATE TABLE segwatch.index_cells (
    observation_id UUID NOT NULL,
    crs TEXT NOT NULL,
    cell_m DOUBLE PRECISION NOT NULL,
    west DOUBLE PRECISION NOT NULL,
    north DOUBLE PRECISION NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    names TEXT[] NOT NULL,
    values BYTEA NOT NULL,
    CONSTRAINT index_cells_pk PRIMARY KEY (observation_id),
    CONSTRAINT index_cells_observation_id_fk FOREIGN KEY(observation_id) REFERENCES segwatch.observation (id)
);

CREATE TABLE segwatch.shadow_agreement (
    observation_id UUID NOT NULL,
    target TEXT NOT NULL,
    both_m2 DOUBLE PRECISION NOT NULL,
    only_primary_m2 DOUBLE PRECISION NOT NULL,
    only_shadow_m2 DOUBLE PRECISION NOT NULL,
    primary_count INTEGER NOT NULL,
    shadow_count INTEGER NOT NULL,
    lost_count INTEGER,
    gained_count INTEGER,
    changed_count INTEGER,
    CONSTRAINT shadow_agreement_pk PRIMARY KEY (observation_id, target),
    CONSTRAINT shadow_agreement_observation_id_fk FOREIGN KEY(observation_id) REFERENCES segwatch.observation (id)
);

CREATE TABLE segwatch.shadow_difference (
    observation_id UUID NOT NULL,
    ordinal INTEGER NOT NULL,
    target TEXT NOT NULL,
    found_by TEXT NOT NULL,
    geom geometry(GEOMETRY,4326) NOT NULL,
    area_m2 DOUBLE PRECISION NOT NULL,
    CONSTRAINT shadow_difference_pk PRIMARY KEY (observation_id, ordinal),
    CONSTRAINT shadow_difference_observation_id_fk FOREIGN KEY(observation_id) REFERENCES segwatch.observation (id)
);

CREATE INDEX shadow_difference_geom_ix ON segwatch.shadow_difference USING gist (geom);

CREATE TABLE segwatch.shadow_result (
    observation_id UUID NOT NULL,
    version TEXT NOT NULL,
    reason TEXT,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    share DOUBLE PRECISION DEFAULT 1 NOT NULL,
    CONSTRAINT shadow_result_pk PRIMARY KEY (observation_id),
    CONSTRAINT shadow_result_observation_id_fk FOREIGN KEY(observation_id) REFERENCES segwatch.observation (id)
);

CREATE TABLE segwatch.target_presence (
    observation_id UUID NOT NULL,
    target TEXT NOT NULL,
    presence DOUBLE PRECISION NOT NULL,
    tiles INTEGER NOT NULL,
    tiles_present INTEGER NOT NULL,
    CONSTRAINT target_presence_pk PRIMARY KEY (observation_id, target),
    CONSTRAINT target_presence_observation_id_fk FOREIGN KEY(observation_id) REFERENCES segwatch.observation (id)
);

CREATE TABLE segwatch.change_evidence (
    change_id UUID NOT NULL,
    before_id UUID,
    evidence JSONB NOT NULL,
    CONSTRAINT change_evidence_pk PRIMARY KEY (change_id),
    CONSTRAINT change_evidence_change_id_fk FOREIGN KEY(change_id) REFERENCES segwatch.change (id),
    CONSTRAINT change_evidence_before_id_fk FOREIGN KEY(before_id) REFERENCES segwatch.observation (id)
);
