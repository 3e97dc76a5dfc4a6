-- A series that follows another over the same ground begins with its objects.
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
  AND k.series_id IN (SELECT series_id FROM segwatch.current_series);
COMMENT ON COLUMN watch.objects_now.object_id IS 'The object''s first identity: stays when a new model or instruction takes over and gives it another track_id.';

CREATE OR REPLACE VIEW watch.object_history AS
SELECT t.track_id, p.watch, k.target, t.geom, t.area_m2, t.score, lower(t.valid) AS valid_from,
       upper(t.valid) AS valid_to, lower(t.recorded) AS recorded_from, upper(t.recorded) AS recorded_to,
       t.change, t.alive, p.observation_id, p.scene_id, p.item_hrefs, p.model, p.instruction_revision, k.object_id
FROM segwatch.track_state t
JOIN segwatch.track k ON k.id = t.track_id
JOIN segwatch.provenance p ON p.observation_id = t.observation_id;
COMMENT ON COLUMN watch.object_history.object_id IS 'The object''s first identity: stays when a new model or instruction takes over and gives it another track_id.';

CREATE VIEW watch.upgrades AS
SELECT s.watch_name AS watch, s.id AS series_id, s.seeded_from AS from_series_id, f.model_version AS model_before,
       s.model_version AS model, j.text AS instruction_before, i.text AS instruction, s.seed_valid_at,
       s.seed_known_at, k.kind, k.objects, k.gained_m2, k.lost_m2
FROM segwatch.series s
JOIN segwatch.series f ON f.id = s.seeded_from
JOIN segwatch.instruction i ON i.id = s.instruction_id
JOIN segwatch.instruction j ON j.id = f.instruction_id
JOIN LATERAL (
    SELECT c.kind, count(*) AS objects, sum(greatest(c.after_m2 - c.before_m2, 0)) AS gained_m2,
           sum(greatest(c.before_m2 - c.after_m2, 0)) AS lost_m2
    FROM segwatch.change c JOIN segwatch.track t ON t.id = c.track_id
    WHERE t.series_id = s.id AND c.baseline AND c.retracted_at IS NULL
    GROUP BY c.kind
    UNION ALL
    SELECT 'unchanged', count(*), 0, 0 FROM segwatch.track t
    WHERE t.series_id = s.id AND t.object_id <> t.id
      AND NOT EXISTS (SELECT 1 FROM segwatch.change c
                      WHERE c.track_id = t.id AND c.baseline AND c.retracted_at IS NULL)) k ON true;
GRANT SELECT ON watch.upgrades TO segwatch_analyst, segwatch_worker;
COMMENT ON VIEW watch.upgrades IS 'What a new model or instruction alone changed: the same scene answered by both, object by object, counted by kind.';
COMMENT ON COLUMN watch.upgrades.watch IS 'Name of the watch.';
COMMENT ON COLUMN watch.upgrades.series_id IS 'The new series.';
COMMENT ON COLUMN watch.upgrades.from_series_id IS 'The series whose objects it took over.';
COMMENT ON COLUMN watch.upgrades.model_before IS 'Name and version of the model before.';
COMMENT ON COLUMN watch.upgrades.model IS 'Name and version of the new model.';
COMMENT ON COLUMN watch.upgrades.instruction_before IS 'Text of the instruction before.';
COMMENT ON COLUMN watch.upgrades.instruction IS 'Text of the new instruction.';
COMMENT ON COLUMN watch.upgrades.seed_valid_at IS 'Acquisition time of the last scene that the series before had answered; the new one answers it again.';
COMMENT ON COLUMN watch.upgrades.seed_known_at IS 'When the new series began.';
COMMENT ON COLUMN watch.upgrades.kind IS 'Kind of difference, or unchanged.';
COMMENT ON COLUMN watch.upgrades.objects IS 'How many objects.';
COMMENT ON COLUMN watch.upgrades.gained_m2 IS 'Area more than before, geodesic square metres.';
COMMENT ON COLUMN watch.upgrades.lost_m2 IS 'Area less than before, geodesic square metres.';
