CREATE VIEW watch.watches AS
SELECT h.name AS watch, w.id AS watch_revision, i.text AS instruction, i.targets, w.instruction_id AS instruction_revision,
       w.definition->'profile'->>'name' AS profile, w.definition->'profile'->>'collection' AS collection,
       -- user information and query may be secrets
       regexp_replace(regexp_replace(w.definition->>'catalog', '[?#].*$', ''), '//[^/@]*@', '//') AS catalog,
       CAST(w.definition->'profile'->>'gsd_m' AS float8) AS gsd_m,
       greatest(CAST(w.definition->>'min_polygon_m2' AS float8),
                power(CAST(w.definition->'profile'->>'gsd_m' AS float8), 2)) AS min_polygon_m2,
       CAST(w.definition->'tracking'->>'min_change_m2' AS float8) AS min_change_m2,
       CAST(w.definition->'tracking'->>'min_change_ratio' AS float8) AS min_change_ratio,
       CAST(w.definition->>'start' AS timestamptz) AS starts_at, CAST(w.definition->>'end' AS timestamptz) AS ends_at,
       w.definition->>'schedule' AS schedule, w.priority, h.applied_at, a.geom
FROM segwatch.watch_head h
JOIN segwatch.watch w ON w.id = h.watch_id
JOIN segwatch.instruction i ON i.id = w.instruction_id
JOIN segwatch.area a ON a.id = w.area_id;
GRANT SELECT ON watch.watches TO segwatch_analyst, segwatch_worker;
COMMENT ON VIEW watch.watches IS 'Every watch as it is now, with the sizes below which it reports nothing.';
COMMENT ON COLUMN watch.watches.watch IS 'Name of the watch.';
COMMENT ON COLUMN watch.watches.watch_revision IS 'Revision of the watch.';
COMMENT ON COLUMN watch.watches.instruction IS 'Text of the standing instruction.';
COMMENT ON COLUMN watch.watches.targets IS 'Targets of the instruction, in the order the model answers.';
COMMENT ON COLUMN watch.watches.instruction_revision IS 'Revision of the instruction.';
COMMENT ON COLUMN watch.watches.profile IS 'Name of the source profile.';
COMMENT ON COLUMN watch.watches.collection IS 'STAC collection; * = any.';
COMMENT ON COLUMN watch.watches.catalog IS 'STAC API root, or a static catalog.';
COMMENT ON COLUMN watch.watches.gsd_m IS 'Ground sample distance at which the model looks, metres.';
COMMENT ON COLUMN watch.watches.min_polygon_m2 IS 'Objects smaller than this are not reported, square metres; one pixel at least.';
COMMENT ON COLUMN watch.watches.min_change_m2 IS 'Objects that grow or shrink by less than this are as before, square metres.';
COMMENT ON COLUMN watch.watches.min_change_ratio IS 'Objects that grow or shrink by less than this share of their area are as before, too.';
COMMENT ON COLUMN watch.watches.starts_at IS 'Only scenes acquired from here on are observed.';
COMMENT ON COLUMN watch.watches.ends_at IS 'Only scenes acquired before are observed; null = no end.';
COMMENT ON COLUMN watch.watches.schedule IS 'Cron expression, UTC; null = by hand.';
COMMENT ON COLUMN watch.watches.priority IS 'Higher is observed first.';
COMMENT ON COLUMN watch.watches.applied_at IS 'When this revision was put in force.';
COMMENT ON COLUMN watch.watches.geom IS 'Area of interest, EPSG:4326.';
