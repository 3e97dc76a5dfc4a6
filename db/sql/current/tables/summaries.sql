CREATE TABLE segwatch.admin_area (
    id UUID NOT NULL,
    layer TEXT NOT NULL,
    name TEXT NOT NULL,
    area_m2 DOUBLE PRECISION NOT NULL,
    geom geometry(GEOMETRY,4326) NOT NULL,
    loaded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT admin_area_pk PRIMARY KEY (id),
    CONSTRAINT admin_area_identity UNIQUE (layer, name)
);

CREATE TABLE segwatch.admin_area_part (
    admin_area_id UUID NOT NULL,
    ordinal INTEGER NOT NULL,
    geom geometry(GEOMETRY,4326) NOT NULL,
    CONSTRAINT admin_area_part_pk PRIMARY KEY (admin_area_id, ordinal),
    CONSTRAINT admin_area_part_admin_area_id_fk FOREIGN KEY(admin_area_id) REFERENCES segwatch.admin_area (id)
);

CREATE INDEX admin_area_part_geom_ix ON segwatch.admin_area_part USING gist (geom);

CREATE TABLE segwatch.area_by_week (
    series_id UUID NOT NULL,
    admin_area_id UUID NOT NULL,
    target TEXT NOT NULL,
    week DATE NOT NULL,
    confirmed_objects BIGINT NOT NULL,
    confirmed_cm2 BIGINT NOT NULL,
    provisional_objects BIGINT NOT NULL,
    provisional_cm2 BIGINT NOT NULL,
    refuted_objects BIGINT NOT NULL,
    refuted_cm2 BIGINT NOT NULL,
    not_judged_objects BIGINT NOT NULL,
    not_judged_cm2 BIGINT NOT NULL,
    CONSTRAINT area_by_week_pk PRIMARY KEY (series_id, admin_area_id, target, week),
    CONSTRAINT area_by_week_series_id_fk FOREIGN KEY(series_id) REFERENCES segwatch.series (id)
);

CREATE TABLE segwatch.observed_by_week (
    series_id UUID NOT NULL,
    admin_area_id UUID NOT NULL,
    week DATE NOT NULL,
    scenes INTEGER NOT NULL,
    observed_m2 DOUBLE PRECISION NOT NULL,
    CONSTRAINT observed_by_week_pk PRIMARY KEY (series_id, admin_area_id, week),
    CONSTRAINT observed_by_week_series_id_fk FOREIGN KEY(series_id) REFERENCES segwatch.series (id)
);

CREATE TABLE segwatch.reviewed_area (
    track_id UUID NOT NULL,
    admin_area_id UUID NOT NULL,
    week DATE NOT NULL,
    confirmed_objects BIGINT NOT NULL,
    confirmed_cm2 BIGINT NOT NULL,
    provisional_objects BIGINT NOT NULL,
    provisional_cm2 BIGINT NOT NULL,
    refuted_objects BIGINT NOT NULL,
    refuted_cm2 BIGINT NOT NULL,
    not_judged_objects BIGINT NOT NULL,
    not_judged_cm2 BIGINT NOT NULL,
    CONSTRAINT reviewed_area_pk PRIMARY KEY (track_id, admin_area_id, week),
    CONSTRAINT reviewed_area_track_id_fk FOREIGN KEY(track_id) REFERENCES segwatch.track (id)
);
