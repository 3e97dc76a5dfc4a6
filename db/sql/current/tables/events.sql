CREATE TABLE segwatch.event (
    id UUID NOT NULL,
    source TEXT NOT NULL,
    external_id TEXT NOT NULL,
    revision TEXT NOT NULL,
    kind TEXT NOT NULL,
    title TEXT NOT NULL,
    occurred_at TIMESTAMP WITH TIME ZONE,
    geom geometry(GEOMETRY,4326),
    properties JSONB NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT event_pk PRIMARY KEY (id),
    CONSTRAINT event_identity UNIQUE (source, external_id, revision)
);

CREATE TABLE segwatch.event_name (
    source TEXT NOT NULL,
    external_id TEXT NOT NULL,
    event_source TEXT NOT NULL,
    event_external_id TEXT NOT NULL,
    since TIMESTAMP WITH TIME ZONE,
    withdrawn_at TIMESTAMP WITH TIME ZONE,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT event_name_pk PRIMARY KEY (source, external_id)
);

CREATE INDEX event_name_event_ix ON segwatch.event_name (event_source, event_external_id);
