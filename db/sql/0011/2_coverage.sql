CREATE OR REPLACE VIEW watch.coverage AS
SELECT o.id AS observation_id, p.watch, p.instruction, p.scene_key, o.acquired_at, o.state, o.reason, o.attempts,
       o.footprint AS geom, o.clear_share, o.tiles, o.tiles_failed, o.answer,
       (SELECT count(*) FROM segwatch.detection d WHERE d.observation_id = o.id) AS detections,
       p.item_hrefs, p.model, p.instruction_revision, o.discovered_at, o.leased_at, o.read_at, o.inferred_at,
       o.committed_at, o.compute_seconds, o.bytes_read, o.area_km2, o.version, o.superseded_at, p.catalog
FROM segwatch.observation o
JOIN segwatch.provenance p ON p.observation_id = o.id;
COMMENT ON COLUMN watch.coverage.scene_key IS 'Catalog, collection, platform, relative orbit and solar day.';
COMMENT ON COLUMN watch.coverage.catalog IS 'Catalog that the scene was found in: its name in the watch, else its address; empty = unknown, recorded before it was kept.';
