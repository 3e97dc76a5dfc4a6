CREATE TABLE segwatch.assessment (
    id UUID NOT NULL,
    series_id UUID NOT NULL,
    ordinal INTEGER NOT NULL,
    seed BIGINT NOT NULL,
    drawn_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT assessment_pk PRIMARY KEY (id),
    CONSTRAINT assessment_identity UNIQUE (series_id, ordinal),
    CONSTRAINT assessment_series_id_fk FOREIGN KEY(series_id) REFERENCES segwatch.series (id)
);

CREATE TABLE segwatch.calibration (
    series_id UUID NOT NULL,
    target TEXT NOT NULL,
    subject TEXT NOT NULL,
    version INTEGER NOT NULL,
    fitted_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    labels INTEGER NOT NULL,
    raw DOUBLE PRECISION[] NOT NULL,
    calibrated DOUBLE PRECISION[] NOT NULL,
    bins_before JSONB NOT NULL,
    bins_after JSONB NOT NULL,
    error_before DOUBLE PRECISION NOT NULL,
    error_after DOUBLE PRECISION NOT NULL,
    CONSTRAINT calibration_pk PRIMARY KEY (series_id, target, subject, version),
    CONSTRAINT calibration_subject CHECK (subject IN ('object', 'change')),
    CONSTRAINT calibration_series_id_fk FOREIGN KEY(series_id) REFERENCES segwatch.series (id)
);

CREATE TABLE segwatch.assessment_stratum (
    assessment_id UUID NOT NULL,
    target TEXT NOT NULL,
    stratum TEXT NOT NULL,
    unit TEXT NOT NULL,
    size DOUBLE PRECISION NOT NULL,
    area_m2 DOUBLE PRECISION NOT NULL,
    CONSTRAINT assessment_stratum_pk PRIMARY KEY (assessment_id, target, stratum),
    CONSTRAINT assessment_stratum_unit CHECK (unit IN ('point', 'object', 'change')),
    CONSTRAINT assessment_stratum_assessment_id_fk FOREIGN KEY(assessment_id) REFERENCES segwatch.assessment (id)
);

CREATE TABLE segwatch.target_accuracy (
    assessment_id UUID NOT NULL,
    target TEXT NOT NULL,
    labels INTEGER NOT NULL,
    words TEXT NOT NULL,
    estimates JSONB NOT NULL,
    CONSTRAINT target_accuracy_pk PRIMARY KEY (assessment_id, target),
    CONSTRAINT target_accuracy_assessment_id_fk FOREIGN KEY(assessment_id) REFERENCES segwatch.assessment (id)
);

CREATE TABLE segwatch.assessment_sample (
    id UUID NOT NULL,
    assessment_id UUID NOT NULL,
    ordinal INTEGER NOT NULL,
    target TEXT NOT NULL,
    stratum TEXT NOT NULL,
    probability DOUBLE PRECISION NOT NULL,
    geom geometry(GEOMETRY,4326) NOT NULL,
    track_id UUID,
    change_id UUID,
    confidence DOUBLE PRECISION,
    before_scene UUID,
    after_scene UUID NOT NULL,
    agreeing TEXT[] NOT NULL,
    CONSTRAINT assessment_sample_pk PRIMARY KEY (id),
    CONSTRAINT assessment_sample_identity UNIQUE (assessment_id, ordinal),
    CONSTRAINT assessment_sample_probability CHECK (probability > 0 AND probability <= 1),
    CONSTRAINT assessment_sample_stratum_fk FOREIGN KEY(assessment_id, target, stratum) REFERENCES segwatch.assessment_stratum (assessment_id, target, stratum),
    CONSTRAINT assessment_sample_assessment_id_fk FOREIGN KEY(assessment_id) REFERENCES segwatch.assessment (id),
    CONSTRAINT assessment_sample_track_id_fk FOREIGN KEY(track_id) REFERENCES segwatch.track (id),
    CONSTRAINT assessment_sample_change_id_fk FOREIGN KEY(change_id) REFERENCES segwatch.change (id),
    CONSTRAINT assessment_sample_before_scene_fk FOREIGN KEY(before_scene) REFERENCES segwatch.scene (id),
    CONSTRAINT assessment_sample_after_scene_fk FOREIGN KEY(after_scene) REFERENCES segwatch.scene (id)
);

CREATE INDEX assessment_sample_geom_ix ON segwatch.assessment_sample USING gist (geom);

CREATE TABLE segwatch.assessment_label (
    sample_id UUID NOT NULL,
    ordinal INTEGER NOT NULL,
    label TEXT NOT NULL,
    labeller TEXT NOT NULL,
    labelled_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT assessment_label_pk PRIMARY KEY (sample_id, ordinal),
    CONSTRAINT assessment_label_known CHECK (label IN ('both', 'after', 'before', 'neither', 'unclear')),
    CONSTRAINT assessment_label_sample_id_fk FOREIGN KEY(sample_id) REFERENCES segwatch.assessment_sample (id)
);
