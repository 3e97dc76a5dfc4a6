CREATE OR REPLACE VIEW watch.shadow_comparisons AS
SELECT p.watch, o.acquired_at, r.version AS shadow, p.model, a.target, a.both_m2, a.only_primary_m2, a.only_shadow_m2,
       CASE WHEN a.both_m2 + a.only_primary_m2 + a.only_shadow_m2 > 0
            THEN a.both_m2 / (a.both_m2 + a.only_primary_m2 + a.only_shadow_m2) END AS iou,
       a.primary_count, a.shadow_count, r.reason, p.observation_id, p.scene_id, p.item_hrefs, p.instruction_revision,
       a.lost_count, a.gained_count, a.changed_count, r.share,
       concat_ws('/', r.observation_id, coalesce(a.target, '')) AS comparison_id
FROM segwatch.shadow_result r
JOIN segwatch.observation o ON o.id = r.observation_id
JOIN segwatch.provenance p ON p.observation_id = r.observation_id
LEFT JOIN segwatch.shadow_agreement a ON a.observation_id = r.observation_id
WHERE o.state = 'observed' AND o.superseded_at IS NULL;

GRANT SELECT ON watch.shadow_comparisons TO segwatch_analyst, segwatch_worker;

COMMENT ON VIEW watch.shadow_comparisons IS
    'How far the main segmenter and the shadow segmenter agree, one row per observation and target; what the shadow found is published nowhere else.';
COMMENT ON COLUMN watch.shadow_comparisons.watch IS
    'Name of the watch.';
COMMENT ON COLUMN watch.shadow_comparisons.acquired_at IS
    'Acquisition time of the scene, UTC.';
COMMENT ON COLUMN watch.shadow_comparisons.shadow IS
    'Name and version of the shadow segmenter.';
COMMENT ON COLUMN watch.shadow_comparisons.model IS
    'Name and version of the main segmenter.';
COMMENT ON COLUMN watch.shadow_comparisons.target IS
    'Target that is compared; null if nothing could be compared.';
COMMENT ON COLUMN watch.shadow_comparisons.both_m2 IS
    'Area that both found, geodesic square metres, on the ground that both observed.';
COMMENT ON COLUMN watch.shadow_comparisons.only_primary_m2 IS
    'Area that only the main segmenter found, geodesic square metres.';
COMMENT ON COLUMN watch.shadow_comparisons.only_shadow_m2 IS
    'Area that only the shadow segmenter found, geodesic square metres.';
COMMENT ON COLUMN watch.shadow_comparisons.iou IS
    'Intersection over union of both, 0 to 1; null if neither found anything.';
COMMENT ON COLUMN watch.shadow_comparisons.primary_count IS
    'Number of polygons of the main segmenter.';
COMMENT ON COLUMN watch.shadow_comparisons.shadow_count IS
    'Number of polygons of the shadow segmenter.';
COMMENT ON COLUMN watch.shadow_comparisons.reason IS
    'What could not be compared, and why: the shadow failed, or has no opinion; null if everything was compared.';
COMMENT ON COLUMN watch.shadow_comparisons.observation_id IS
    'Id of the observation that the row comes from.';
COMMENT ON COLUMN watch.shadow_comparisons.scene_id IS
    'Id of the scene that the row comes from.';
COMMENT ON COLUMN watch.shadow_comparisons.item_hrefs IS
    'Links to the STAC items of the scene.';
COMMENT ON COLUMN watch.shadow_comparisons.instruction_revision IS
    'Id of the instruction revision.';
COMMENT ON COLUMN watch.shadow_comparisons.lost_count IS
    'Polygons of the main segmenter that the shadow covers by less than half: a switch would lose them; null for rows older than this column.';
COMMENT ON COLUMN watch.shadow_comparisons.gained_count IS
    'Polygons of the shadow segmenter that the main one covers by less than half: a switch would gain them; null for rows older than this column.';
COMMENT ON COLUMN watch.shadow_comparisons.changed_count IS
    'Polygons of the main segmenter that both found with another outline (IoU below 0.7); null for rows older than this column.';
COMMENT ON COLUMN watch.shadow_comparisons.share IS
    'Share of the scenes of the watch that the shadow was run on at that time, 0 to 1.';
COMMENT ON COLUMN watch.shadow_comparisons.comparison_id IS
    'Key of the row.';
