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
       w.definition->>'schedule' AS schedule, w.priority, h.applied_at, a.geom
FROM segwatch.watch_head h
JOIN segwatch.watch w ON w.id = h.watch_id
JOIN segwatch.instruction i ON i.id = w.instruction_id
JOIN segwatch.area a ON a.id = w.area_id
WHERE ((SELECT segwatch.reads_all_watches()) OR h.name = ANY (CAST((SELECT segwatch.readable_watches()) AS text[])));
COMMENT ON COLUMN watch.watches.catalog IS 'STAC API root, or a static catalog, without user information, query and tokens.';
