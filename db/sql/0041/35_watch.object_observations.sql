-- One object as each observation left it, as known now. The interval of the area comes from the jitter of the series'
-- boundaries: the root mean square displacement, metres, of the boundary of unchanged objects from one observation to the
-- next, divided by the root of two for one observation. Taken as the same along the whole perimeter, which overstates it,
-- it moves the area by displacement x perimeter; 1.96 of it hold 95 %. Null where fewer than five objects were compared.
CREATE OR REPLACE FUNCTION watch.object_observations(track_id uuid)
RETURNS TABLE (observation_id uuid, acquired_at timestamptz, watch text, target text, scene_id uuid, item_hrefs text[],
               alive bool, area_m2 float8, area_low_m2 float8, area_high_m2 float8, visible_share float8,
               confidence float8, status text, score float8, model text, instruction text, evidence jsonb,
               change text, baseline bool)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 100 SET search_path = segwatch, public, pg_temp AS $$
    WITH jitter AS (
        SELECT 1.96 * sqrt(CAST(n.counts ->> 'jitter_m2' AS float8) / CAST(n.counts ->> 'jitter_objects' AS float8) / 2) AS metres
        FROM segwatch.track k
        CROSS JOIN LATERAL (
            SELECT c.counts FROM segwatch.observation o JOIN segwatch.series_counts c ON c.observation_id = o.id
            WHERE o.series_id = k.series_id AND c.target = k.target
            ORDER BY o.acquired_at DESC, o.scene_id DESC LIMIT 1) n
        WHERE k.id = object_observations.track_id AND CAST(n.counts ->> 'jitter_objects' AS float8) >= 5
    )
    SELECT t.observation_id, lower(t.valid), p.watch, k.target, p.scene_id, p.item_hrefs, t.alive,
           CASE WHEN t.alive THEN t.area_m2 ELSE 0 END,
           CASE WHEN t.alive AND j.metres IS NOT NULL THEN greatest(0, t.area_m2 - j.metres * g.perimeter_m) END,
           CASE WHEN t.alive THEN t.area_m2 + j.metres * g.perimeter_m END,
           t.visible_share, t.confidence, t.status, t.score, p.model, p.instruction, d.evidence, t.change,
           t.change IS NOT NULL AND EXISTS (
               SELECT 1 FROM segwatch.change c
               WHERE c.track_id = t.track_id AND c.observation_id = t.observation_id AND c.kind = t.change AND c.baseline)
    FROM segwatch.held_state t
    JOIN segwatch.track k ON k.id = t.track_id
    JOIN segwatch.provenance p ON p.observation_id = t.observation_id
    LEFT JOIN jitter j ON true
    CROSS JOIN LATERAL (SELECT ST_Perimeter(CAST(t.geom AS geography)) AS perimeter_m) g
    LEFT JOIN LATERAL (
        SELECT n.evidence FROM segwatch.detection n
        WHERE n.track_id = t.track_id AND n.observation_id = t.observation_id AND n.evidence IS NOT NULL
        ORDER BY n.area_m2 DESC, n.ordinal LIMIT 1) d ON true
    WHERE t.track_id = object_observations.track_id AND upper_inf(t.recorded)
    ORDER BY lower(t.valid), t.row_id
$$;

REVOKE ALL ON FUNCTION watch.object_observations FROM PUBLIC;
GRANT EXECUTE ON FUNCTION watch.object_observations TO segwatch_analyst, segwatch_worker;

COMMENT ON FUNCTION watch.object_observations IS
    'One object as each observation of it left it, oldest first, as known now: area (0 once it is gone) with a 95 % interval from the jitter of boundaries in its series (null: unknown), confidence, evidence and change. visible_share is the share of the object that was inside the observed footprint.';

-- Which objects an object came out of, and which came out of it.
CREATE OR REPLACE FUNCTION watch.object_lineage(track_id uuid)
RETURNS TABLE (parent uuid, child uuid, kind text, valid_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 10 SET search_path = segwatch, public, pg_temp AS $$
    SELECT l.parent, l.child, l.kind, l.valid_at
    FROM segwatch.track_lineage l
    JOIN segwatch.provenance p ON p.observation_id = l.observation_id
    WHERE object_lineage.track_id IN (l.parent, l.child) AND l.retracted_at IS NULL
    ORDER BY l.valid_at, l.parent, l.child
$$;

REVOKE ALL ON FUNCTION watch.object_lineage FROM PUBLIC;
GRANT EXECUTE ON FUNCTION watch.object_lineage TO segwatch_analyst, segwatch_worker;

COMMENT ON FUNCTION watch.object_lineage IS
    'Splits and mergers that an object took part in, oldest first: parent is the object before, child the one that came out of it.';
