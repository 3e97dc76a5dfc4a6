-- An observation answers for exact versions of a scene's items; a newer one takes its place once it is answered.

-- what has yet to be answered for the first time: later scenes of the series wait for it. A scene that is looked at
-- again holds nobody up, its last good answer stays in force meanwhile.
CREATE VIEW segwatch.unanswered AS
SELECT o.id, o.series_id, o.scene_id, o.acquired_at
FROM segwatch.observation o
WHERE o.state IN ('pending', 'leased')
  AND NOT EXISTS (
      SELECT 1 FROM segwatch.observation p
      WHERE p.series_id = o.series_id AND p.scene_id = o.scene_id AND p.version < o.version
        AND p.state IN ('inferred', 'observed'));
GRANT SELECT ON segwatch.unanswered TO segwatch_worker;

CREATE OR REPLACE VIEW segwatch.provenance AS
SELECT o.id AS observation_id, o.scene_id, o.series_id, o.model_version AS model, w.name AS watch,
       w.id AS watch_revision, w.instruction_id AS instruction_revision, i.text AS instruction,
       s.key AS scene_key, o.acquired_at,
       (SELECT array_agg(si.href ORDER BY si.item_id) FROM segwatch.scene_item si
         WHERE si.id = ANY(o.items)) AS item_hrefs
FROM segwatch.observation o
JOIN segwatch.watch w ON w.id = o.watch_id
JOIN segwatch.instruction i ON i.id = w.instruction_id
JOIN segwatch.scene s ON s.id = o.scene_id;

CREATE OR REPLACE VIEW watch.coverage AS
SELECT o.id AS observation_id, p.watch, p.instruction, p.scene_key, o.acquired_at, o.state, o.reason, o.attempts,
       o.footprint AS geom, o.clear_share, o.tiles, o.tiles_failed, o.answer,
       (SELECT count(*) FROM segwatch.detection d WHERE d.observation_id = o.id) AS detections,
       p.item_hrefs, p.model, p.instruction_revision, o.discovered_at, o.leased_at, o.read_at, o.inferred_at,
       o.committed_at, o.compute_seconds, o.bytes_read, o.area_km2, o.version, o.superseded_at
FROM segwatch.observation o
JOIN segwatch.provenance p ON p.observation_id = o.id;
COMMENT ON COLUMN watch.coverage.version IS 'Counts the looks at this scene: a reprocessed or added item makes a further one.';
COMMENT ON COLUMN watch.coverage.superseded_at IS 'When a newer look at the same scene took its place; null while it is in force.';

CREATE OR REPLACE VIEW watch.imagery AS
SELECT w.name AS watch, s.id AS scene_id, s.key AS scene_key, s.collection, s.platform, s.relative_orbit,
       s.solar_day, s.acquired_at, o.state, si.item_id, si.href AS item_href, si.acquired_at AS item_acquired_at,
       si.updated_at, si.processing_baseline, si.assets, si.properties, si.footprint AS geom,
       w.definition->'profile' AS profile, w.definition->>'catalog' AS catalog
FROM segwatch.observation o
JOIN segwatch.watch w ON w.id = o.watch_id
JOIN segwatch.scene s ON s.id = o.scene_id
JOIN segwatch.scene_item si ON si.id = ANY(o.items)
WHERE NOT EXISTS (
    SELECT 1 FROM segwatch.observation n
    WHERE n.series_id = o.series_id AND n.scene_id = o.scene_id AND n.version > o.version);

CREATE OR REPLACE FUNCTION watch.why_not(lon float8, lat float8, at timestamptz, watch text)
RETURNS TABLE (observation_id uuid, acquired_at timestamptz, answer text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = segwatch, public, pg_temp AS $$
    WITH place AS (SELECT ST_SetSRID(ST_MakePoint(why_not.lon, why_not.lat), 4326) AS point),
    told AS (
        SELECT o.id, o.acquired_at,
            CASE
                WHEN NOT ST_Intersects(a.geom, place.point) THEN 'not imaged'
                WHEN o.state IN ('pending', 'leased', 'inferred') THEN 'pending'
                WHEN o.state = 'failed' THEN 'failed'
                WHEN NOT ST_Intersects(s.footprint, place.point) THEN 'not imaged'
                WHEN o.state = 'skipped' AND o.reason LIKE 'not imaged%' THEN 'not imaged'
                WHEN o.state = 'skipped' THEN 'cloudy'
                -- failed tiles leave the footprint as clouds do; which of the two it was here is not kept
                WHEN NOT ST_Intersects(o.footprint, place.point) AND o.tiles_failed > 0 THEN 'failed'
                WHEN NOT ST_Intersects(o.footprint, place.point) THEN 'cloudy'
                WHEN EXISTS (SELECT 1 FROM segwatch.change c JOIN segwatch.alert e ON e.change_id = c.id
                             WHERE c.observation_id = o.id AND c.retracted_at IS NULL
                               AND ST_Intersects(c.geom, place.point)) THEN 'alerted'
                WHEN NOT EXISTS (SELECT 1 FROM segwatch.detection d
                                 WHERE d.observation_id = o.id AND ST_Intersects(d.geom, place.point))
                    THEN 'nothing found'
                ELSE 'below threshold'
            END AS answer
        FROM place, segwatch.observation o
        JOIN segwatch.watch w ON w.id = o.watch_id
        JOIN segwatch.area a ON a.id = w.area_id
        JOIN segwatch.scene s ON s.id = o.scene_id
        WHERE w.name = why_not.watch AND o.acquired_at <= why_not.at AND o.superseded_at IS NULL
    )
    SELECT t.id, t.acquired_at, t.answer FROM told t
    UNION ALL
    SELECT NULL, NULL, 'not imaged' WHERE NOT EXISTS (SELECT 1 FROM told)
    ORDER BY 2 DESC NULLS LAST, 1
$$;
