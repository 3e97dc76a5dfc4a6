CREATE TABLE segwatch.model_switch (
    watch_name TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    folder TEXT NOT NULL,
    model_version TEXT NOT NULL,
    from_version TEXT NOT NULL,
    switched_by TEXT NOT NULL,
    switched_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    undone_by TEXT,
    undone_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT model_switch_pk PRIMARY KEY (watch_name, ordinal),
    CONSTRAINT model_switch_undone CHECK ((undone_by IS NULL) = (undone_at IS NULL))
);

CREATE TABLE segwatch.rewording (
    instruction_id UUID NOT NULL,
    model_version TEXT NOT NULL,
    watch_name TEXT NOT NULL,
    scene_id UUID NOT NULL,
    wordings TEXT[] NOT NULL,
    tiles INTEGER NOT NULL,
    agreement DOUBLE PRECISION,
    by_target JSONB NOT NULL,
    measured_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT rewording_pk PRIMARY KEY (instruction_id, model_version, watch_name),
    CONSTRAINT rewording_instruction_id_fk FOREIGN KEY(instruction_id) REFERENCES segwatch.instruction (id),
    CONSTRAINT rewording_scene_id_fk FOREIGN KEY(scene_id) REFERENCES segwatch.scene (id)
);
