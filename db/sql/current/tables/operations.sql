CREATE TABLE segwatch.access_token (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    digest BYTEA NOT NULL,
    watches TEXT[],
    scopes TEXT[] NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    revoked_at TIMESTAMP WITH TIME ZONE,
    last_used_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT access_token_pk PRIMARY KEY (id),
    CONSTRAINT access_token_digest CHECK (octet_length(digest) = 32)
);

CREATE UNIQUE INDEX access_token_name_ix ON segwatch.access_token (name) WHERE revoked_at IS NULL;

CREATE TABLE segwatch.alert_age (
    watch_name TEXT NOT NULL,
    up_to_seconds DOUBLE PRECISION NOT NULL,
    alerts BIGINT NOT NULL,
    seconds DOUBLE PRECISION NOT NULL,
    CONSTRAINT alert_age_pk PRIMARY KEY (watch_name, up_to_seconds)
);

CREATE TABLE segwatch.announcement (
    id UUID NOT NULL,
    received_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT announcement_pk PRIMARY KEY (id)
);

CREATE INDEX announcement_received_ix ON segwatch.announcement (received_at);

CREATE TABLE segwatch.circuit (
    name TEXT NOT NULL,
    failures INTEGER DEFAULT '0' NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE,
    retry_at TIMESTAMP WITH TIME ZONE,
    probe_worker TEXT,
    probe_until TIMESTAMP WITH TIME ZONE,
    error TEXT,
    closed_at TIMESTAMP WITH TIME ZONE,
    probe_alive_until TIMESTAMP WITH TIME ZONE,
    CONSTRAINT circuit_pk PRIMARY KEY (name),
    CONSTRAINT circuit_open CHECK ((failures = 0) = (retry_at IS NULL))
);

CREATE TABLE segwatch.database_user (
    name TEXT NOT NULL,
    watches TEXT[],
    shows_names BOOLEAN NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT database_user_pk PRIMARY KEY (name)
);

CREATE TABLE segwatch.discovery_request (
    watch_name TEXT NOT NULL,
    requested_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    announcements INTEGER DEFAULT '1' NOT NULL,
    item_id TEXT NOT NULL,
    taken_until TIMESTAMP WITH TIME ZONE,
    attempts INTEGER DEFAULT '0' NOT NULL,
    CONSTRAINT discovery_request_pk PRIMARY KEY (watch_name)
);

CREATE TABLE segwatch.mutex (
    name TEXT NOT NULL,
    CONSTRAINT mutex_pk PRIMARY KEY (name)
);

CREATE TABLE segwatch.run (
    id UUID NOT NULL,
    flow TEXT NOT NULL,
    watch TEXT,
    subject TEXT,
    worker TEXT NOT NULL,
    flow_run_id UUID,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    heartbeat_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    lease_until TIMESTAMP WITH TIME ZONE NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    outcome TEXT,
    reported_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT run_pk PRIMARY KEY (id),
    CONSTRAINT run_ended CHECK ((ended_at IS NULL) = (outcome IS NULL))
);

CREATE UNIQUE INDEX run_alone_ix ON segwatch.run (subject) WHERE ended_at IS NULL;

CREATE INDEX run_ended_ix ON segwatch.run (ended_at);

CREATE INDEX run_flow_run_ix ON segwatch.run (flow_run_id);

CREATE TABLE segwatch.trial (
    id UUID NOT NULL,
    reader TEXT NOT NULL,
    source TEXT NOT NULL,
    definition JSONB NOT NULL,
    until TIMESTAMP WITH TIME ZONE,
    state TEXT NOT NULL,
    requested_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE,
    finished_at TIMESTAMP WITH TIME ZONE,
    worker TEXT,
    lease_until TIMESTAMP WITH TIME ZONE,
    attempts INTEGER DEFAULT '0' NOT NULL,
    stage TEXT,
    tiles_done INTEGER,
    tiles INTEGER,
    reason TEXT,
    result JSONB,
    picture BYTEA,
    CONSTRAINT trial_pk PRIMARY KEY (id),
    CONSTRAINT trial_state CHECK (state IN ('queued', 'running', 'done', 'failed')),
    CONSTRAINT trial_done CHECK ((state = 'done') = (result IS NOT NULL)),
    CONSTRAINT trial_leased CHECK ((state = 'running') = (lease_until IS NOT NULL))
);

CREATE INDEX trial_expires_ix ON segwatch.trial (expires_at);

CREATE INDEX trial_reader_ix ON segwatch.trial (reader, requested_at);

CREATE TABLE segwatch.usage (
    watch_name TEXT NOT NULL,
    month DATE NOT NULL,
    model_version TEXT NOT NULL,
    outcome TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    compute_seconds DOUBLE PRECISION NOT NULL,
    bytes_read DOUBLE PRECISION NOT NULL,
    area_km2 DOUBLE PRECISION NOT NULL,
    CONSTRAINT usage_pk PRIMARY KEY (watch_name, month, model_version, outcome)
);
