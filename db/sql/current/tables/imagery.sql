CREATE TABLE segwatch.scene (
    id UUID NOT NULL,
    key TEXT NOT NULL,
    collection TEXT NOT NULL,
    platform TEXT NOT NULL,
    relative_orbit TEXT NOT NULL,
    solar_day DATE NOT NULL,
    acquired_at TIMESTAMP WITH TIME ZONE NOT NULL,
    footprint geometry(GEOMETRY,4326) NOT NULL,
    discovered_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    catalog TEXT NOT NULL,
    CONSTRAINT scene_pk PRIMARY KEY (id),
    CONSTRAINT scene_key_key UNIQUE (key)
);

CREATE INDEX scene_footprint_ix ON segwatch.scene USING gist (footprint);

CREATE TABLE segwatch.fallback_scene (
    scene_id UUID NOT NULL,
    address TEXT NOT NULL,
    found_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT fallback_scene_pk PRIMARY KEY (scene_id),
    CONSTRAINT fallback_scene_scene_id_fk FOREIGN KEY(scene_id) REFERENCES segwatch.scene (id)
);

CREATE TABLE segwatch.scene_item (
    id UUID NOT NULL,
    scene_id UUID NOT NULL,
    item_id TEXT NOT NULL,
    href TEXT NOT NULL,
    acquired_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE,
    processing_baseline TEXT NOT NULL,
    assets JSONB NOT NULL,
    properties JSONB NOT NULL,
    footprint geometry(GEOMETRY,4326) NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    superseded_at TIMESTAMP WITH TIME ZONE,
    version_id UUID NOT NULL,
    store TEXT DEFAULT '' NOT NULL,
    links JSONB DEFAULT '{}' NOT NULL,
    CONSTRAINT scene_item_pk PRIMARY KEY (id),
    CONSTRAINT scene_item_scene_id_fk FOREIGN KEY(scene_id) REFERENCES segwatch.scene (id)
);

CREATE INDEX scene_item_item_ix ON segwatch.scene_item (item_id);

CREATE INDEX scene_item_scene_ix ON segwatch.scene_item (scene_id);

CREATE TABLE segwatch.rejected_item (
    id UUID NOT NULL,
    revision_id UUID NOT NULL,
    collection TEXT NOT NULL,
    item_id TEXT NOT NULL,
    href TEXT NOT NULL,
    reason TEXT NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    acquired_at TIMESTAMP WITH TIME ZONE,
    footprint geometry(GEOMETRY,4326),
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT rejected_item_pk PRIMARY KEY (id),
    CONSTRAINT rejected_item_revision_id_fk FOREIGN KEY(revision_id) REFERENCES segwatch.watch (id)
);

CREATE INDEX rejected_item_current_ix ON segwatch.rejected_item (revision_id) WHERE ended_at IS NULL;

CREATE INDEX rejected_item_item_ix ON segwatch.rejected_item (item_id);
