CREATE OR REPLACE VIEW watch.coverage AS
SELECT o.id AS observation_id, p.watch, p.instruction, p.scene_key, o.acquired_at, o.state, o.reason, o.attempts,
       o.footprint AS geom, o.clear_share, o.tiles, o.tiles_failed, o.answer,
       (SELECT count(*) FROM segwatch.detection d WHERE d.observation_id = o.id) AS detections,
       p.item_hrefs, p.model, p.instruction_revision, o.discovered_at, o.leased_at, o.read_at, o.inferred_at,
       o.committed_at, o.compute_seconds, o.bytes_read, o.area_km2, o.version, o.superseded_at, p.catalog
FROM segwatch.observation o
JOIN segwatch.provenance p ON p.observation_id = o.id
UNION ALL
SELECT r.id, r.watch_name, i.text, NULL, r.acquired_at, 'rejected', r.reason, 0,
       CAST(NULL AS geometry(Geometry, 4326)), NULL, NULL, NULL, NULL,
       0,
       ARRAY[r.href], NULL, w.instruction_id, r.recorded_at, NULL, NULL, NULL,
       r.recorded_at, NULL, NULL, NULL, 1, r.superseded_at,
       -- as the identity of a catalog is: its name, else its address without query
       coalesce(nullif(w.definition->>'catalog_name', ''),
                rtrim(regexp_replace(regexp_replace(w.definition->>'catalog', '[?#].*$', ''), '//[^/@]*@', '//'), '/'))
FROM segwatch.rejection r
JOIN segwatch.watch w ON w.id = r.watch_id
JOIN segwatch.instruction i ON i.id = w.instruction_id;
COMMENT ON VIEW watch.coverage IS 'Every observation and every rejected item: what was looked at when, and what was not, and why.';
COMMENT ON COLUMN watch.coverage.observation_id IS 'The observation, or the rejection of an item.';
COMMENT ON COLUMN watch.coverage.state IS 'pending, leased, inferred, observed, skipped or failed; rejected for a STAC item that could not be used.';
COMMENT ON COLUMN watch.coverage.reason IS 'Why it was skipped or rejected, or failed.';
COMMENT ON COLUMN watch.coverage.acquired_at IS 'Acquisition time; null for a rejected item that does not tell it.';
COMMENT ON COLUMN watch.coverage.scene_key IS 'Catalog, collection, platform, relative orbit and solar day; null for a rejected item.';
COMMENT ON COLUMN watch.coverage.superseded_at IS 'When a newer look at the same scene took its place, or a rejected item could be used after all; null while it is in force.';
