-- Analyst surface: schema watch. Names and columns are stable; every row links back to its imagery,
-- model and instruction revision.
CREATE SCHEMA watch;

-- what every row of the surface shares: where an observation came from
CREATE VIEW segwatch.provenance AS
SELECT o.id AS observation_id, o.scene_id, o.series_id, o.model_version AS model, w.name AS watch,
       w.id AS watch_revision, w.instruction_id AS instruction_revision, i.text AS instruction,
       s.key AS scene_key, o.acquired_at,
       (SELECT array_agg(si.href ORDER BY si.item_id) FROM segwatch.scene_item si
         WHERE si.scene_id = o.scene_id AND si.superseded_at IS NULL) AS item_hrefs
FROM segwatch.observation o
JOIN segwatch.watch w ON w.id = o.watch_id
JOIN segwatch.instruction i ON i.id = w.instruction_id
JOIN segwatch.scene s ON s.id = o.scene_id;

-- the series that speaks for a watch: its instruction in force, the newest model that has published, so that
-- a new model does not show every object twice
CREATE VIEW segwatch.current_series AS
SELECT DISTINCT ON (s.watch_name) s.id AS series_id
FROM segwatch.series s
JOIN segwatch.watch_head h ON h.name = s.watch_name
JOIN segwatch.watch w ON w.id = h.watch_id AND w.instruction_id = s.instruction_id
JOIN LATERAL (
    SELECT min(o.discovered_at) AS began FROM segwatch.observation o
    WHERE o.series_id = s.id AND o.state = 'observed') f ON f.began IS NOT NULL
ORDER BY s.watch_name, f.began DESC, s.id;

CREATE VIEW watch.objects_now AS
SELECT t.track_id, p.watch, p.instruction, k.target, t.geom, t.area_m2, t.score, t.first_seen, t.last_seen,
       t.last_looked, t.visible_share, c.kind AS last_change, c.valid_at AS last_change_at, p.observation_id,
       p.scene_id, p.item_hrefs, p.model, p.instruction_revision, p.watch_revision, p.series_id
FROM segwatch.track_state t
JOIN segwatch.track k ON k.id = t.track_id
JOIN segwatch.provenance p ON p.observation_id = t.observation_id
LEFT JOIN LATERAL (
    SELECT c.kind, c.valid_at FROM segwatch.change c
    WHERE c.track_id = t.track_id AND c.retracted_at IS NULL
    ORDER BY c.valid_at DESC, c.recorded_at DESC LIMIT 1) c ON true
WHERE upper_inf(t.valid) AND upper_inf(t.recorded) AND t.alive
  AND k.series_id IN (SELECT series_id FROM segwatch.current_series);

CREATE VIEW watch.object_history AS
SELECT t.track_id, p.watch, k.target, t.geom, t.area_m2, t.score, lower(t.valid) AS valid_from,
       upper(t.valid) AS valid_to, lower(t.recorded) AS recorded_from, upper(t.recorded) AS recorded_to,
       t.change, t.alive, p.observation_id, p.scene_id, p.item_hrefs, p.model, p.instruction_revision
FROM segwatch.track_state t
JOIN segwatch.track k ON k.id = t.track_id
JOIN segwatch.provenance p ON p.observation_id = t.observation_id;

CREATE VIEW watch.changes AS
SELECT c.id AS change_id, c.track_id, p.watch, c.target, c.kind, c.valid_at, c.recorded_at, c.before_m2,
       c.after_m2, c.geom, c.score, c.baseline, c.retracted_at, p.observation_id, p.scene_id, p.item_hrefs,
       p.model, p.instruction_revision
FROM segwatch.change c
JOIN segwatch.provenance p ON p.observation_id = c.observation_id;

CREATE VIEW watch.alerts AS
SELECT a.id AS alert_id, a.change_id, c.track_id, p.watch, a.rule, c.kind, c.target, c.valid_at, a.created_at,
       c.before_m2, c.after_m2, c.geom, d.delivered_at, coalesce(d.pending, 0) AS deliveries_pending,
       coalesce(d.dead, 0) AS deliveries_failed, p.observation_id, p.scene_id, p.item_hrefs, p.model,
       p.instruction_revision
FROM segwatch.alert a
JOIN segwatch.change c ON c.id = a.change_id
JOIN segwatch.provenance p ON p.observation_id = c.observation_id
LEFT JOIN LATERAL (
    SELECT CASE WHEN count(*) = count(d.delivered_at) THEN max(d.delivered_at) END AS delivered_at,
           count(*) FILTER (WHERE d.state = 'pending') AS pending,
           count(*) FILTER (WHERE d.state = 'dead') AS dead
    FROM segwatch.delivery d WHERE d.alert_id = a.id) d ON true;

CREATE VIEW watch.coverage AS
SELECT o.id AS observation_id, p.watch, p.instruction, p.scene_key, o.acquired_at, o.state, o.reason, o.attempts,
       o.footprint AS geom, o.clear_share, o.tiles, o.tiles_failed, o.tracked, o.answer,
       (SELECT count(*) FROM segwatch.detection d WHERE d.observation_id = o.id) AS detections,
       p.item_hrefs, p.model, p.instruction_revision, o.discovered_at, o.leased_at, o.read_at, o.inferred_at,
       o.committed_at, o.compute_seconds, o.bytes_read, o.area_km2
FROM segwatch.observation o
JOIN segwatch.provenance p ON p.observation_id = o.id;

CREATE VIEW watch.imagery AS
SELECT w.name AS watch, s.id AS scene_id, s.key AS scene_key, s.collection, s.platform, s.relative_orbit,
       s.solar_day, s.acquired_at, o.state, si.item_id, si.href AS item_href, si.acquired_at AS item_acquired_at,
       si.updated_at, si.processing_baseline, si.assets, si.properties, si.footprint AS geom,
       w.definition->'profile' AS profile, w.definition->>'catalog' AS catalog
FROM segwatch.observation o
JOIN segwatch.watch w ON w.id = o.watch_id
JOIN segwatch.scene s ON s.id = o.scene_id
JOIN segwatch.scene_item si ON si.scene_id = s.id AND si.superseded_at IS NULL;

CREATE VIEW watch.rejected_items AS
SELECT w.name AS watch, r.collection, r.item_id, r.href, r.reason, r.recorded_at
FROM segwatch.rejected_item r JOIN segwatch.watch w ON w.id = r.watch_id;

CREATE FUNCTION watch.objects_as_of(valid_at timestamptz, known_at timestamptz DEFAULT now())
RETURNS TABLE (track_id uuid, watch text, target text, geom geometry, area_m2 float8, score float8,
               valid_from timestamptz, valid_to timestamptz, change text, observation_id uuid, scene_id uuid,
               item_hrefs text[], model text, instruction_revision uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = segwatch, public, pg_temp AS $$
    SELECT t.track_id, p.watch, k.target, t.geom, t.area_m2, t.score, lower(t.valid), upper(t.valid), t.change,
           p.observation_id, p.scene_id, p.item_hrefs, p.model, p.instruction_revision
    FROM segwatch.track_state t
    JOIN segwatch.track k ON k.id = t.track_id
    JOIN segwatch.provenance p ON p.observation_id = t.observation_id
    WHERE t.valid @> objects_as_of.valid_at AND t.recorded @> objects_as_of.known_at AND t.alive
$$;

CREATE FUNCTION watch.why_not(lon float8, lat float8, at timestamptz, watch text)
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
                             WHERE c.observation_id = o.id AND ST_Intersects(c.geom, place.point)) THEN 'alerted'
                WHEN NOT EXISTS (SELECT 1 FROM segwatch.detection d
                                 WHERE d.observation_id = o.id AND ST_Intersects(d.geom, place.point))
                    THEN 'nothing found'
                WHEN NOT o.tracked THEN 'suppressed'
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
