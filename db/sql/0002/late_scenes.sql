-- Late scenes are tracked: nothing is suppressed any more, and every published observation is part of its series.
DROP VIEW watch.coverage;
CREATE VIEW watch.coverage AS
SELECT o.id AS observation_id, p.watch, p.instruction, p.scene_key, o.acquired_at, o.state, o.reason, o.attempts,
       o.footprint AS geom, o.clear_share, o.tiles, o.tiles_failed, o.answer,
       (SELECT count(*) FROM segwatch.detection d WHERE d.observation_id = o.id) AS detections,
       p.item_hrefs, p.model, p.instruction_revision, o.discovered_at, o.leased_at, o.read_at, o.inferred_at,
       o.committed_at, o.compute_seconds, o.bytes_read, o.area_km2
FROM segwatch.observation o
JOIN segwatch.provenance p ON p.observation_id = o.id;
GRANT SELECT ON watch.coverage TO segwatch_analyst, segwatch_worker;
COMMENT ON VIEW watch.coverage IS 'Every observation: what was looked at when, and what was not, and why.';
COMMENT ON COLUMN watch.coverage.observation_id IS 'Observation this row comes from.';
COMMENT ON COLUMN watch.coverage.watch IS 'Name of the watch.';
COMMENT ON COLUMN watch.coverage.instruction IS 'Text of the standing instruction.';
COMMENT ON COLUMN watch.coverage.scene_key IS 'Collection, platform, relative orbit and solar day.';
COMMENT ON COLUMN watch.coverage.acquired_at IS 'Acquisition time.';
COMMENT ON COLUMN watch.coverage.state IS 'pending, leased, inferred, observed, skipped or failed.';
COMMENT ON COLUMN watch.coverage.reason IS 'Why it was skipped or failed.';
COMMENT ON COLUMN watch.coverage.attempts IS 'How often it was tried.';
COMMENT ON COLUMN watch.coverage.geom IS 'Observed footprint: area without nodata, cloud, shadow and failed tiles; null until answered, EPSG:4326.';
COMMENT ON COLUMN watch.coverage.clear_share IS 'Share of the area that was observed, 0 to 1.';
COMMENT ON COLUMN watch.coverage.tiles IS 'Tiles given to the model.';
COMMENT ON COLUMN watch.coverage.tiles_failed IS 'Tiles that failed; not part of geom.';
COMMENT ON COLUMN watch.coverage.answer IS 'The model''s text.';
COMMENT ON COLUMN watch.coverage.detections IS 'Polygons found.';
COMMENT ON COLUMN watch.coverage.item_hrefs IS 'Links to the STAC items of the scene.';
COMMENT ON COLUMN watch.coverage.model IS 'Name and version of the model.';
COMMENT ON COLUMN watch.coverage.instruction_revision IS 'Revision of the instruction.';
COMMENT ON COLUMN watch.coverage.discovered_at IS 'When segwatch found the scene.';
COMMENT ON COLUMN watch.coverage.leased_at IS 'When a worker took it last.';
COMMENT ON COLUMN watch.coverage.read_at IS 'When its pixels were read.';
COMMENT ON COLUMN watch.coverage.inferred_at IS 'When the model had answered.';
COMMENT ON COLUMN watch.coverage.committed_at IS 'When the outcome was final.';
COMMENT ON COLUMN watch.coverage.compute_seconds IS 'Seconds of model time.';
COMMENT ON COLUMN watch.coverage.bytes_read IS 'Bytes of imagery read.';
COMMENT ON COLUMN watch.coverage.area_km2 IS 'Observed area, geodesic square kilometres.';

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
        WHERE w.name = why_not.watch AND o.acquired_at <= why_not.at
    )
    SELECT t.id, t.acquired_at, t.answer FROM told t
    UNION ALL
    SELECT NULL, NULL, 'not imaged' WHERE NOT EXISTS (SELECT 1 FROM told)
    ORDER BY 2 DESC NULLS LAST, 1
$$;
COMMENT ON FUNCTION watch.why_not IS 'Why there is no alert at a point, for each observation of the watch up to a time: not imaged, cloudy, nothing found, below threshold (found, but no change that a rule asks for), failed or pending; alerted where there is one.';

CREATE OR REPLACE VIEW watch.alerts AS
SELECT a.id AS alert_id, a.change_id, c.track_id, p.watch, a.rule, c.kind, c.target, c.valid_at, a.created_at,
       c.before_m2, c.after_m2, c.geom, d.delivered_at, coalesce(d.pending, 0) AS deliveries_pending,
       coalesce(d.dead, 0) AS deliveries_failed, p.observation_id, p.scene_id, p.item_hrefs, p.model,
       p.instruction_revision, c.retracted_at
FROM segwatch.alert a
JOIN segwatch.change c ON c.id = a.change_id
JOIN segwatch.provenance p ON p.observation_id = c.observation_id
LEFT JOIN LATERAL (
    SELECT CASE WHEN count(*) = count(d.delivered_at) THEN max(d.delivered_at) END AS delivered_at,
           count(*) FILTER (WHERE d.state = 'pending') AS pending,
           count(*) FILTER (WHERE d.state = 'dead') AS dead
    FROM segwatch.delivery d WHERE d.alert_id = a.id) d ON true;
COMMENT ON COLUMN watch.alerts.retracted_at IS 'When a later scene showed that the change did not hold; null while it does.';
