CREATE OR REPLACE VIEW watch.watches AS
SELECT h.name AS watch, w.id AS watch_revision, i.text AS instruction, i.targets, w.instruction_id AS instruction_revision,
       w.definition->'profile'->>'name' AS profile, w.definition->'profile'->>'collection' AS collection,
       w.catalog,
       CAST(w.definition->'profile'->>'gsd_m' AS float8) AS gsd_m,
       greatest(CAST(w.definition->>'min_polygon_m2' AS float8),
                power(CAST(w.definition->'profile'->>'gsd_m' AS float8), 2)) AS min_polygon_m2,
       CAST(w.definition->'tracking'->>'min_change_m2' AS float8) AS min_change_m2,
       CAST(w.definition->'tracking'->>'min_change_ratio' AS float8) AS min_change_ratio,
       CAST(w.definition->>'start' AS timestamptz) AS starts_at, CAST(w.definition->>'end' AS timestamptz) AS ends_at,
       w.definition->>'schedule' AS schedule, w.priority, h.applied_at, a.geom,
       coalesce(l.state, CASE WHEN CAST(w.definition->>'end' AS timestamptz) <= clock_timestamp() THEN 'ended' ELSE 'active' END) AS state,
       l.acted_at AS state_since,
       n.model_version AS model, coalesce(segwatch.is_demonstration(n.model_version), false) AS is_demonstration
FROM segwatch.watch_head h
JOIN segwatch.watch w ON w.id = h.revision_id
JOIN segwatch.instruction i ON i.id = w.instruction_id
JOIN segwatch.area a ON a.id = w.area_id
LEFT JOIN LATERAL (
    SELECT s.model_version FROM segwatch.series s
    WHERE s.watch_name = h.name AND s.id IN (SELECT series_id FROM segwatch.current_series) LIMIT 1) n ON true
LEFT JOIN LATERAL (
    SELECT x.action AS state, x.acted_at
    FROM (SELECT n.* FROM segwatch.watch_action n WHERE n.watch_name = h.name ORDER BY n.ordinal DESC LIMIT 1) x
    -- applying its file again resumes an archived watch
    WHERE x.action = 'paused' OR (x.action = 'archived' AND h.applied_at <= x.acted_at)) l ON true
WHERE ((SELECT segwatch.reads_all_watches()) OR h.name = ANY (CAST((SELECT segwatch.readable_watches()) AS text[])));

GRANT SELECT ON watch.watches TO segwatch_analyst, segwatch_worker;

COMMENT ON VIEW watch.watches IS
    'Every watch as it is now, with the smallest sizes that it reports.';
COMMENT ON COLUMN watch.watches.watch IS
    'Name of the watch.';
COMMENT ON COLUMN watch.watches.watch_revision IS
    'Id of the watch revision.';
COMMENT ON COLUMN watch.watches.instruction IS
    'Text of the standing instruction.';
COMMENT ON COLUMN watch.watches.targets IS
    'Targets of the instruction, in the order in which the model predicts them.';
COMMENT ON COLUMN watch.watches.instruction_revision IS
    'Id of the instruction revision.';
COMMENT ON COLUMN watch.watches.profile IS
    'Name of the source profile.';
COMMENT ON COLUMN watch.watches.collection IS
    'Id of the STAC collection; * = any.';
COMMENT ON COLUMN watch.watches.catalog IS
    'Address of the STAC API or static catalog, without user information, query and tokens.';
COMMENT ON COLUMN watch.watches.gsd_m IS
    'Ground sample distance at which the imagery is read, metres.';
COMMENT ON COLUMN watch.watches.min_polygon_m2 IS
    'Smallest object reported, square metres; at least one pixel.';
COMMENT ON COLUMN watch.watches.min_change_m2 IS
    'Smallest growth or shrinkage reported, square metres.';
COMMENT ON COLUMN watch.watches.min_change_ratio IS
    'Smallest growth or shrinkage reported, as a share of the object''s area.';
COMMENT ON COLUMN watch.watches.starts_at IS
    'Only scenes acquired from then on are observed, UTC.';
COMMENT ON COLUMN watch.watches.ends_at IS
    'Only scenes acquired before then are observed, UTC; null = no end.';
COMMENT ON COLUMN watch.watches.schedule IS
    'Cron expression of the watch''s runs, UTC; null = runs are started by hand.';
COMMENT ON COLUMN watch.watches.priority IS
    'Watches of higher priority are observed first.';
COMMENT ON COLUMN watch.watches.applied_at IS
    'When the current revision was applied, UTC.';
COMMENT ON COLUMN watch.watches.geom IS
    'AOI of the watch, EPSG:4326.';
COMMENT ON COLUMN watch.watches.model IS
    'Name and version of the model of the series in force; null before the first observation.';
COMMENT ON COLUMN watch.watches.is_demonstration IS
    'Whether that is the model that ships with segwatch, which demonstrates and is not made for decisions.';
COMMENT ON COLUMN watch.watches.state IS
    'active; paused: nothing is searched or predicted until somebody resumes it; archived: ended for good by somebody; ended: its end has passed.';
COMMENT ON COLUMN watch.watches.state_since IS
    'When somebody paused or archived the watch, UTC; null = nobody did.';
