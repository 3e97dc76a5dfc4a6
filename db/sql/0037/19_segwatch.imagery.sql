-- Items that the current observation of each scene used, with the links that are in force now.
CREATE OR REPLACE VIEW segwatch.imagery AS
SELECT w.name AS watch, s.id AS scene_id, s.key AS scene_key, s.collection, s.platform, s.relative_orbit,
       s.solar_day, s.acquired_at, o.state, si.item_id, si.href AS item_href, si.acquired_at AS item_acquired_at,
       si.updated_at, si.processing_baseline, n.assets, n.links, si.properties, si.footprint AS geom,
       w.definition->'profile' AS profile, w.catalog, o.id AS observation_id
FROM segwatch.observation o
JOIN segwatch.watch w ON w.id = o.revision_id
JOIN segwatch.scene s ON s.id = o.scene_id
JOIN segwatch.scene_item si ON si.id = ANY(o.items)
JOIN LATERAL (
    SELECT l.assets, l.links FROM segwatch.scene_item l
    WHERE l.scene_id = si.scene_id AND l.version_id = si.version_id AND l.store = si.store
    ORDER BY l.superseded_at IS NULL DESC, l.recorded_at DESC, l.id LIMIT 1) n ON true
WHERE NOT EXISTS (
    SELECT 1 FROM segwatch.observation n
    WHERE n.series_id = o.series_id AND n.scene_id = o.scene_id AND n.version > o.version)
  AND ((SELECT segwatch.reads_all_watches()) OR w.name = ANY (CAST((SELECT segwatch.readable_watches()) AS text[])));
GRANT SELECT ON segwatch.imagery TO segwatch_worker;
