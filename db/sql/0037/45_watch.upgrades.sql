CREATE OR REPLACE VIEW watch.upgrades AS
SELECT s.watch_name AS watch, s.id AS series_id, s.seeded_from AS from_series_id, f.model_version AS model_before,
       s.model_version AS model, j.text AS instruction_before, i.text AS instruction, s.seed_valid_at,
       s.seed_known_at, k.kind, k.objects, k.gained_m2, k.lost_m2,
       concat_ws('/', s.id, k.kind) AS upgrade_id
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
                      WHERE c.track_id = t.id AND c.baseline AND c.retracted_at IS NULL)) k ON true
WHERE ((SELECT segwatch.reads_all_watches()) OR s.watch_name = ANY (CAST((SELECT segwatch.readable_watches()) AS text[])));

GRANT SELECT ON watch.upgrades TO segwatch_analyst, segwatch_worker;

COMMENT ON VIEW watch.upgrades IS
    'What a new model or instruction revision changed by itself: both observed the same scene, and their objects are compared, one row per kind of difference.';
COMMENT ON COLUMN watch.upgrades.watch IS
    'Name of the watch.';
COMMENT ON COLUMN watch.upgrades.series_id IS
    'Id of the new series.';
COMMENT ON COLUMN watch.upgrades.from_series_id IS
    'Id of the series whose objects the new one took over.';
COMMENT ON COLUMN watch.upgrades.model_before IS
    'Name and version of the earlier model.';
COMMENT ON COLUMN watch.upgrades.model IS
    'Name and version of the new model.';
COMMENT ON COLUMN watch.upgrades.instruction_before IS
    'Text of the earlier instruction.';
COMMENT ON COLUMN watch.upgrades.instruction IS
    'Text of the new instruction.';
COMMENT ON COLUMN watch.upgrades.seed_valid_at IS
    'Acquisition time of the scene that both observed, UTC: the last one of the earlier series.';
COMMENT ON COLUMN watch.upgrades.seed_known_at IS
    'When the new series began, UTC.';
COMMENT ON COLUMN watch.upgrades.kind IS
    'Kind of difference between the two, as in watch.changes, or unchanged.';
COMMENT ON COLUMN watch.upgrades.objects IS
    'Number of objects.';
COMMENT ON COLUMN watch.upgrades.gained_m2 IS
    'Geodesic area gained, square metres.';
COMMENT ON COLUMN watch.upgrades.lost_m2 IS
    'Geodesic area lost, square metres.';
COMMENT ON COLUMN watch.upgrades.upgrade_id IS
    'Key of the row.';
