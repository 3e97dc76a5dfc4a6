-- Without objects on ground that left the area of their watch.
CREATE OR REPLACE VIEW watch.objects_now AS
SELECT t.track_id, p.watch, p.instruction, k.target, t.geom, t.area_m2, t.score, t.first_seen, t.last_seen,
       t.last_looked, t.visible_share, c.kind AS last_change, c.valid_at AS last_change_at, p.observation_id,
       p.scene_id, p.item_hrefs, p.model, p.instruction_revision, p.watch_revision, p.series_id,
       v.verdict AS review, v.reviewer, v.decided_at AS reviewed_at, k.object_id
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
  AND NOT EXISTS (SELECT 1 FROM segwatch.narrowed_area n WHERE n.watch_name = p.watch AND n.until IS NULL
                  AND (NOT ST_Intersects(t.geom, n.geom) OR ST_Touches(t.geom, n.geom)))
UNION ALL
SELECT t.track_id, p.watch, p.instruction, k.target, d.geom, d.area_m2, t.score, t.first_seen, t.last_seen,
       t.last_looked, t.visible_share, c.kind, c.valid_at, p.observation_id,
       p.scene_id, p.item_hrefs, p.model, p.instruction_revision, p.watch_revision, p.series_id,
       v.verdict, v.reviewer, v.decided_at, k.object_id
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
  AND k.series_id IN (SELECT series_id FROM segwatch.current_series)
  AND NOT EXISTS (SELECT 1 FROM segwatch.narrowed_area n WHERE n.watch_name = p.watch AND n.until IS NULL
                  AND (NOT ST_Intersects(d.geom, n.geom) OR ST_Touches(d.geom, n.geom)));
COMMENT ON VIEW watch.objects_now IS 'Objects on the ground now, one row each, without those that a review rejected and those wholly on ground that left the area of their watch.';
