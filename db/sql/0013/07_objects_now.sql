-- Without objects on ground that left the area of their watch.
-- `known` and `recorded` both are open for what holds now; the first is what the index of present states is defined on.
CREATE OR REPLACE VIEW watch.objects_now AS
SELECT t.track_id, p.watch, p.instruction, k.target, t.geom, t.area_m2, t.score, t.first_seen, t.last_seen,
       t.last_looked, t.visible_share, c.kind AS last_change, c.valid_at AS last_change_at, p.observation_id,
       p.scene_id, p.item_hrefs, p.model, p.instruction_revision, p.watch_revision, p.series_id,
       t.verdict AS review, t.reviewer, t.decided_at AS reviewed_at, k.object_id
FROM segwatch.held_state t
JOIN segwatch.track k ON k.id = t.track_id
JOIN segwatch.provenance p ON p.observation_id = t.observation_id
LEFT JOIN LATERAL (
    SELECT c.kind, c.valid_at FROM segwatch.change c
    WHERE c.track_id = t.track_id AND c.retracted_at IS NULL AND NOT c.baseline
    ORDER BY c.valid_at DESC, segwatch.change_rank(c.kind), c.id LIMIT 1) c ON true
WHERE upper_inf(t.valid) AND upper_inf(t.known) AND upper_inf(t.recorded) AND t.alive
  AND k.series_id IN (SELECT series_id FROM segwatch.current_series)
  AND NOT EXISTS (SELECT 1 FROM segwatch.narrowed_area n WHERE n.watch_name = p.watch AND n.until IS NULL
                  AND (NOT ST_Intersects(t.geom, n.geom) OR ST_Touches(t.geom, n.geom)));
COMMENT ON VIEW watch.objects_now IS 'Objects on the ground now, one row each, without those that a review rejected and those wholly on ground that left the area of their watch.';
COMMENT ON COLUMN watch.objects_now.last_change IS 'Kind of the latest change; null when none was seen: the object was there when its ground was first observed.';
COMMENT ON COLUMN watch.objects_now.last_change_at IS 'When the latest change was so on the ground; null when none was seen.';
