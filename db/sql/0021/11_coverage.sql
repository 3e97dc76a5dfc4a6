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
       -- as the identity of a catalog is: its name, else its address as strangers see it
       coalesce(nullif(w.definition->>'catalog_name', ''), rtrim(w.catalog, '/'))
FROM segwatch.rejection r
JOIN segwatch.watch w ON w.id = r.watch_id
JOIN segwatch.instruction i ON i.id = w.instruction_id;
