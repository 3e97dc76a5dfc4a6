-- Analysts' verdicts. The newest one about an object holds; the older ones stay.
CREATE VIEW segwatch.verdict AS
SELECT r.id, r.track_id, r.ordinal, r.verdict, r.reviewer, r.reason, r.decided_at, r.geom, r.area_m2, r.outline,
       r.looked_at, r.carried_from
FROM segwatch.review r
WHERE NOT EXISTS (SELECT 1 FROM segwatch.review n WHERE n.track_id = r.track_id AND n.ordinal > r.ordinal);

-- an outline drawn by an analyst holds until the object is seen to change
CREATE VIEW segwatch.drawn AS
SELECT v.track_id, v.geom, v.area_m2
FROM segwatch.verdict v
WHERE v.verdict = 'edited' AND NOT EXISTS (
    SELECT 1 FROM segwatch.change c
    WHERE c.track_id = v.track_id AND c.retracted_at IS NULL AND c.valid_at > v.looked_at);

GRANT SELECT, INSERT ON segwatch.review TO segwatch_worker;
GRANT SELECT ON segwatch.verdict, segwatch.drawn TO segwatch_worker;

-- two branches, so that a box is looked up in the index of whichever outline holds
CREATE OR REPLACE VIEW watch.objects_now AS
SELECT t.track_id, p.watch, p.instruction, k.target, t.geom, t.area_m2, t.score, t.first_seen, t.last_seen,
       t.last_looked, t.visible_share, c.kind AS last_change, c.valid_at AS last_change_at, p.observation_id,
       p.scene_id, p.item_hrefs, p.model, p.instruction_revision, p.watch_revision, p.series_id,
       v.verdict AS review, v.reviewer, v.decided_at AS reviewed_at
FROM segwatch.track_state t
JOIN segwatch.track k ON k.id = t.track_id
JOIN segwatch.provenance p ON p.observation_id = t.observation_id
LEFT JOIN LATERAL (
    SELECT c.kind, c.valid_at FROM segwatch.change c
    WHERE c.track_id = t.track_id AND c.retracted_at IS NULL
    ORDER BY c.valid_at DESC, c.recorded_at DESC LIMIT 1) c ON true
LEFT JOIN LATERAL (
    SELECT r.verdict, r.reviewer, r.decided_at FROM segwatch.review r
    WHERE r.track_id = t.track_id ORDER BY r.ordinal DESC LIMIT 1) v ON true
WHERE upper_inf(t.valid) AND upper_inf(t.recorded) AND t.alive
  AND k.series_id IN (SELECT series_id FROM segwatch.current_series)
  AND v.verdict IS DISTINCT FROM 'rejected'
  AND NOT EXISTS (SELECT 1 FROM segwatch.drawn d WHERE d.track_id = t.track_id)
UNION ALL
SELECT t.track_id, p.watch, p.instruction, k.target, d.geom, d.area_m2, t.score, t.first_seen, t.last_seen,
       t.last_looked, t.visible_share, c.kind, c.valid_at, p.observation_id,
       p.scene_id, p.item_hrefs, p.model, p.instruction_revision, p.watch_revision, p.series_id,
       v.verdict, v.reviewer, v.decided_at
FROM segwatch.drawn d
JOIN segwatch.verdict v ON v.track_id = d.track_id
JOIN segwatch.track_state t ON t.track_id = d.track_id
JOIN segwatch.track k ON k.id = t.track_id
JOIN segwatch.provenance p ON p.observation_id = t.observation_id
LEFT JOIN LATERAL (
    SELECT c.kind, c.valid_at FROM segwatch.change c
    WHERE c.track_id = t.track_id AND c.retracted_at IS NULL
    ORDER BY c.valid_at DESC, c.recorded_at DESC LIMIT 1) c ON true
WHERE upper_inf(t.valid) AND upper_inf(t.recorded) AND t.alive
  AND k.series_id IN (SELECT series_id FROM segwatch.current_series);
COMMENT ON VIEW watch.objects_now IS 'Objects on the ground now, one row each, without those that a review rejected.';
COMMENT ON COLUMN watch.objects_now.geom IS 'The object as far as observed, or as an analyst drew it since, EPSG:4326.';
COMMENT ON COLUMN watch.objects_now.review IS 'confirmed or edited; null where nobody reviewed it.';
COMMENT ON COLUMN watch.objects_now.reviewer IS 'Who reviewed it last.';
COMMENT ON COLUMN watch.objects_now.reviewed_at IS 'When it was reviewed last.';

CREATE OR REPLACE VIEW watch.changes AS
SELECT c.id AS change_id, c.track_id, p.watch, c.target, c.kind, c.valid_at, c.recorded_at, c.before_m2,
       c.after_m2, c.geom, c.score, c.baseline, c.retracted_at, p.observation_id, p.scene_id, p.item_hrefs,
       p.model, p.instruction_revision,
       (SELECT v.verdict FROM segwatch.verdict v WHERE v.track_id = c.track_id) AS review
FROM segwatch.change c
JOIN segwatch.provenance p ON p.observation_id = c.observation_id;
COMMENT ON COLUMN watch.changes.review IS 'Verdict in force about the object: confirmed, rejected or edited; null where nobody reviewed it.';

CREATE VIEW watch.reviews AS
SELECT r.id AS review_id, r.track_id, s.watch_name AS watch, k.target, r.verdict, r.reviewer, r.reason, r.decided_at,
       coalesce(r.geom, r.outline) AS geom, r.looked_at, r.carried_from,
       NOT EXISTS (SELECT 1 FROM segwatch.review n WHERE n.track_id = r.track_id AND n.ordinal > r.ordinal) AS holds
FROM segwatch.review r
JOIN segwatch.track k ON k.id = r.track_id
JOIN segwatch.series s ON s.id = k.series_id;
GRANT SELECT ON watch.reviews TO segwatch_analyst, segwatch_worker;
COMMENT ON VIEW watch.reviews IS 'Every verdict an analyst gave about an object.';
COMMENT ON COLUMN watch.reviews.review_id IS 'Identity of the verdict.';
COMMENT ON COLUMN watch.reviews.track_id IS 'The object.';
COMMENT ON COLUMN watch.reviews.watch IS 'Name of the watch.';
COMMENT ON COLUMN watch.reviews.target IS 'Which target of the instruction the object is.';
COMMENT ON COLUMN watch.reviews.verdict IS 'confirmed, rejected or edited.';
COMMENT ON COLUMN watch.reviews.reviewer IS 'Who decided.';
COMMENT ON COLUMN watch.reviews.reason IS 'Why.';
COMMENT ON COLUMN watch.reviews.decided_at IS 'When.';
COMMENT ON COLUMN watch.reviews.geom IS 'The outline as drawn, or as it was when the verdict was given, EPSG:4326.';
COMMENT ON COLUMN watch.reviews.looked_at IS 'Acquisition time of the observation that the verdict was given on.';
COMMENT ON COLUMN watch.reviews.carried_from IS 'The verdict about the same ground under another identity that this one continues; null where a person gave it.';
COMMENT ON COLUMN watch.reviews.holds IS 'Whether it is the newest one about this object.';

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
                WHEN EXISTS (SELECT 1 FROM segwatch.verdict v
                             WHERE v.verdict = 'rejected' AND v.track_id IN (
                                 SELECT c.track_id FROM segwatch.change c
                                 WHERE c.observation_id = o.id AND c.retracted_at IS NULL
                                   AND ST_Intersects(c.geom, place.point)
                                 UNION ALL
                                 SELECT d.track_id FROM segwatch.detection d
                                 WHERE d.observation_id = o.id AND ST_Intersects(d.geom, place.point)))
                    THEN 'suppressed'
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
COMMENT ON FUNCTION watch.why_not IS 'Why there is no alert at a point, for each observation of the watch up to a time: not imaged, cloudy, nothing found, below threshold (found, but no change that a rule asks for), suppressed (the object was rejected in review), failed or pending; alerted where there is one.';

-- a table of a few rows is never analysed by itself, and is then planned as if it had hundreds
ALTER TABLE segwatch.watch SET (autovacuum_analyze_threshold = 1, autovacuum_analyze_scale_factor = 0.1);
ALTER TABLE segwatch.watch_head SET (autovacuum_analyze_threshold = 1, autovacuum_analyze_scale_factor = 0.1);
ALTER TABLE segwatch.instruction SET (autovacuum_analyze_threshold = 1, autovacuum_analyze_scale_factor = 0.1);
ALTER TABLE segwatch.series SET (autovacuum_analyze_threshold = 1, autovacuum_analyze_scale_factor = 0.1);
ALTER TABLE segwatch.area SET (autovacuum_analyze_threshold = 1, autovacuum_analyze_scale_factor = 0.1);
