CREATE OR REPLACE VIEW watch.changes AS
SELECT c.id AS change_id, c.track_id, p.watch, c.target, c.kind, c.valid_at, c.recorded_at, c.before_m2,
       c.after_m2, c.geom, c.score, c.baseline, c.retracted_at, p.observation_id, p.scene_id, p.item_hrefs,
       p.model, p.instruction_revision, c.verdict AS review, c.retracted_because
FROM segwatch.held_change c
JOIN segwatch.provenance p ON p.observation_id = c.observation_id;
COMMENT ON COLUMN watch.changes.retracted_at IS 'When a later scene showed that the change does not hold, or a review rejected its object; null = it holds.';
COMMENT ON COLUMN watch.changes.retracted_because IS 'Why it does not hold; null while it does.';
