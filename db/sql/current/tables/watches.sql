CREATE TABLE segwatch.area (
    id UUID NOT NULL,
    geom geometry(GEOMETRY,4326) NOT NULL,
    CONSTRAINT area_pk PRIMARY KEY (id)
);

CREATE TABLE segwatch.discovery (
    watch_name TEXT NOT NULL,
    attempted_at TIMESTAMP WITH TIME ZONE NOT NULL,
    answered_at TIMESTAMP WITH TIME ZONE,
    failures INTEGER DEFAULT '0' NOT NULL,
    error TEXT,
    lag_p50_seconds DOUBLE PRECISION,
    lag_p95_seconds DOUBLE PRECISION,
    silent_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT discovery_pk PRIMARY KEY (watch_name),
    CONSTRAINT discovery_error CHECK ((failures = 0) = (error IS NULL))
);

CREATE TABLE segwatch.instruction (
    id UUID NOT NULL,
    text TEXT NOT NULL,
    targets TEXT[] NOT NULL,
    CONSTRAINT instruction_pk PRIMARY KEY (id)
);

CREATE TABLE segwatch.revisit (
    watch_name TEXT NOT NULL,
    platform TEXT NOT NULL,
    relative_orbit TEXT NOT NULL,
    catalog TEXT NOT NULL,
    repeat_days INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    last_at TIMESTAMP WITH TIME ZONE NOT NULL,
    next_at TIMESTAMP WITH TIME ZONE NOT NULL,
    missing TIMESTAMP WITH TIME ZONE[] NOT NULL,
    missed_in_a_row INTEGER NOT NULL,
    CONSTRAINT revisit_pk PRIMARY KEY (watch_name, platform, relative_orbit)
);

CREATE TABLE segwatch.watch_action (
    watch_name TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    action TEXT NOT NULL,
    person TEXT NOT NULL,
    note TEXT NOT NULL,
    acted_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT watch_action_pk PRIMARY KEY (watch_name, ordinal),
    CONSTRAINT watch_action_known CHECK (action IN ('paused', 'resumed', 'archived'))
);

CREATE TABLE segwatch.watch_touch (
    watch_name TEXT NOT NULL,
    began_at TIMESTAMP WITH TIME ZONE NOT NULL,
    transaction BIGINT NOT NULL,
    CONSTRAINT watch_touch_pk PRIMARY KEY (watch_name, began_at, transaction)
);

CREATE TABLE segwatch.watch (
    id UUID NOT NULL,
    name TEXT NOT NULL,
    instruction_id UUID NOT NULL,
    area_id UUID NOT NULL,
    definition JSONB NOT NULL,
    priority INTEGER NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    catalog TEXT DEFAULT '' NOT NULL,
    CONSTRAINT watch_pk PRIMARY KEY (id),
    CONSTRAINT watch_instruction_id_fk FOREIGN KEY(instruction_id) REFERENCES segwatch.instruction (id),
    CONSTRAINT watch_area_id_fk FOREIGN KEY(area_id) REFERENCES segwatch.area (id)
);

CREATE INDEX watch_name_ix ON segwatch.watch (name);

CREATE TABLE segwatch.watch_area (
    watch_name TEXT NOT NULL,
    since TIMESTAMP WITH TIME ZONE NOT NULL,
    until TIMESTAMP WITH TIME ZONE,
    area_id UUID NOT NULL,
    narrowed BOOLEAN NOT NULL,
    CONSTRAINT watch_area_pk PRIMARY KEY (watch_name, since),
    CONSTRAINT watch_area_area_id_fk FOREIGN KEY(area_id) REFERENCES segwatch.area (id)
);

CREATE TABLE segwatch.watch_head (
    name TEXT NOT NULL,
    revision_id UUID NOT NULL,
    applied_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT watch_head_pk PRIMARY KEY (name),
    CONSTRAINT watch_head_revision_id_fk FOREIGN KEY(revision_id) REFERENCES segwatch.watch (id)
);

CREATE TABLE segwatch.watermark (
    revision_id UUID NOT NULL,
    reconciled_at TIMESTAMP WITH TIME ZONE,
    reconciling_to TIMESTAMP WITH TIME ZONE,
    updated_to TIMESTAMP WITH TIME ZONE,
    CONSTRAINT watermark_pk PRIMARY KEY (revision_id),
    CONSTRAINT watermark_revision_id_fk FOREIGN KEY(revision_id) REFERENCES segwatch.watch (id)
);
