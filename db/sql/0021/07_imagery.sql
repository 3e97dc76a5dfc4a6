-- What each observation in force used, and the links that lead there now.
CREATE VIEW segwatch.imagery AS
SELECT w.name AS watch, s.id AS scene_id, s.key AS scene_key, s.collection, s.platform, s.relative_orbit,
       s.solar_day, s.acquired_at, o.state, si.item_id, si.href AS item_href, si.acquired_at AS item_acquired_at,
       si.updated_at, si.processing_baseline, n.assets, n.links, si.properties, si.footprint AS geom,
       w.definition->'profile' AS profile, w.catalog
FROM segwatch.observation o
JOIN segwatch.watch w ON w.id = o.watch_id
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

-- links are left out: the catalog signed them, and who has one reads what it leads to
CREATE OR REPLACE VIEW watch.imagery AS
SELECT watch, scene_id, scene_key, collection, platform, relative_orbit, solar_day, acquired_at, state, item_id, item_href,
       item_acquired_at, updated_at, processing_baseline, assets, properties, geom,
       profile - 'catalog' - 'access' AS profile, catalog
FROM segwatch.imagery;
COMMENT ON COLUMN watch.imagery.item_href IS 'Link to the STAC item, without user information, signatures and tokens.';
COMMENT ON COLUMN watch.imagery.assets IS 'Asset names and links, without signatures and tokens: where the pixels came from.';
COMMENT ON COLUMN watch.imagery.profile IS 'How the watch renders the scene; without how its source is asked.';
COMMENT ON COLUMN watch.imagery.catalog IS 'Address of the catalog, without user information, query and tokens.';

-- for the map, which reads the pixels: OGC API and the other views never show signed links
CREATE FUNCTION watch.readable_imagery(watch text, scene_id uuid) RETURNS SETOF segwatch.imagery
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = segwatch, public, pg_temp AS $$
    SELECT * FROM segwatch.imagery i
    WHERE i.watch = readable_imagery.watch AND i.scene_id = readable_imagery.scene_id ORDER BY i.item_id
$$;
REVOKE ALL ON FUNCTION watch.readable_imagery FROM PUBLIC;
GRANT EXECUTE ON FUNCTION watch.readable_imagery TO segwatch_analyst, segwatch_worker;
COMMENT ON FUNCTION watch.readable_imagery IS 'The items in force of one scene with the links that they are read by. Signed links are secrets: who has one reads what it leads to.';
