CREATE OR REPLACE VIEW watch.object_history AS
SELECT t.track_id, p.watch, k.target, t.geom, t.area_m2, t.score, lower(t.valid) AS valid_from,
       upper(t.valid) AS valid_to, lower(t.recorded) AS recorded_from, upper(t.recorded) AS recorded_to,
       t.change, t.alive, p.observation_id, p.scene_id, p.item_hrefs, p.model, p.instruction_revision, k.object_id,
       t.change IS NOT NULL AND EXISTS (
           SELECT 1 FROM segwatch.change c
           WHERE c.track_id = t.track_id AND c.observation_id = t.observation_id AND c.kind = t.change
             AND c.baseline) AS baseline,
       t.verdict AS review, t.reviewer, t.decided_at AS reviewed_at,
       upper_inf(t.recorded) AND coalesce(f.valid && t.valid, false) AS in_force
FROM segwatch.held_state t
JOIN segwatch.track k ON k.id = t.track_id
JOIN segwatch.provenance p ON p.observation_id = t.observation_id
LEFT JOIN segwatch.series_in_force('infinity') f ON f.series_id = k.series_id;
COMMENT ON VIEW watch.object_history IS 'Every state that every object was ever held to be in, verdicts of reviews applied from when they were given.';
COMMENT ON COLUMN watch.object_history.geom IS 'The object in this state, as observed or as an analyst drew it, EPSG:4326.';
COMMENT ON COLUMN watch.object_history.recorded_to IS 'Until when this was what was known: a later scene or a verdict put an end to it; null = still.';
COMMENT ON COLUMN watch.object_history.baseline IS 'True where the change only says that the object was there when its ground was first observed.';
COMMENT ON COLUMN watch.object_history.review IS 'confirmed or edited, while that verdict was in force; null where nobody had reviewed the object.';
COMMENT ON COLUMN watch.object_history.reviewer IS 'Who gave that verdict.';
COMMENT ON COLUMN watch.object_history.reviewed_at IS 'When.';
COMMENT ON COLUMN watch.object_history.in_force IS 'True where this is what is held now: recorded_to is null, and no other model or instruction has taken over the object by then.';
