CREATE SCHEMA IF NOT EXISTS segwatch;
GRANT USAGE ON SCHEMA segwatch TO segwatch_worker;

CREATE SCHEMA IF NOT EXISTS watch;
GRANT USAGE ON SCHEMA watch TO segwatch_analyst, segwatch_worker;
COMMENT ON SCHEMA watch IS
    'Watches and what they found, read-only. Geometries in EPSG:4326, areas geodesic, times in UTC.';
