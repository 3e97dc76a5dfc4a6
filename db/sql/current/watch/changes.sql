CREATE OR REPLACE VIEW watch.changes AS
SELECT c.id AS change_id, c.track_id, p.watch, c.target, c.kind, c.valid_at, c.recorded_at, c.before_m2,
       c.after_m2, c.geom, c.score, c.baseline, c.retracted_at, p.observation_id, p.scene_id, p.item_hrefs,
       p.model, p.instruction_revision, c.verdict AS review, c.retracted_because,
       c.confidence, c.status, c.observations_for, c.observations_against, c.earliest, c.latest, e.evidence,
       segwatch.interpolate(c.confidence, a.raw, a.calibrated) AS confidence_calibrated,
       (SELECT d.shadow_share FROM segwatch.detection d
        WHERE d.track_id = c.track_id AND d.observation_id = c.observation_id AND d.shadow_share IS NOT NULL
        ORDER BY d.area_m2 DESC, d.ordinal LIMIT 1) AS shadow_share,
       (SELECT d.shadow_iou FROM segwatch.detection d
        WHERE d.track_id = c.track_id AND d.observation_id = c.observation_id AND d.shadow_share IS NOT NULL
        ORDER BY d.area_m2 DESC, d.ordinal LIMIT 1) AS shadow_iou,
       segwatch.describe_accuracy(segwatch.is_demonstration(p.model), (SELECT a.words FROM segwatch.current_accuracy a
                 WHERE a.series_id = p.series_id AND a.target = c.target)) AS accuracy,
       c.valid_at AS valid_from, c.valid_at + interval '1 microsecond' AS valid_to
FROM segwatch.held_change c
JOIN segwatch.provenance p ON p.observation_id = c.observation_id
LEFT JOIN segwatch.current_calibration a
       ON a.series_id = p.series_id AND a.target = c.target AND a.subject = 'change'
LEFT JOIN segwatch.change_evidence e ON e.change_id = c.id;

GRANT SELECT ON watch.changes TO segwatch_analyst, segwatch_worker;

COMMENT ON VIEW watch.changes IS
    'Transitions of objects: what appeared, grew, shrank, moved, split, merged, disappeared or reappeared.';
COMMENT ON COLUMN watch.changes.change_id IS
    'Id of the change.';
COMMENT ON COLUMN watch.changes.track_id IS
    'Id of the track: the object in one series, and the same in all of its observations. A new model or instruction starts a series with new ids; watch.object_history has the object_id that stays.';
COMMENT ON COLUMN watch.changes.watch IS
    'Name of the watch.';
COMMENT ON COLUMN watch.changes.target IS
    'Target of the instruction that the object is, such as water.';
COMMENT ON COLUMN watch.changes.kind IS
    'appeared, grew, shrank, moved, split, merged, disappeared or reappeared.';
COMMENT ON COLUMN watch.changes.valid_at IS
    'When the change happened on the ground, UTC: acquisition time of the scene; for disappeared, of the first scene without the object.';
COMMENT ON COLUMN watch.changes.recorded_at IS
    'When the change was recorded, UTC.';
COMMENT ON COLUMN watch.changes.before_m2 IS
    'Geodesic area before the change, square metres.';
COMMENT ON COLUMN watch.changes.after_m2 IS
    'Geodesic area after the change, square metres.';
COMMENT ON COLUMN watch.changes.geom IS
    'Area gained or lost; the whole object if neither is known. EPSG:4326.';
COMMENT ON COLUMN watch.changes.score IS
    'Mean probability that the model gave to the pixels of the object, 0 to 1; not calibrated.';
COMMENT ON COLUMN watch.changes.baseline IS
    'True if the object was there when its ground was first observed: no change on the ground.';
COMMENT ON COLUMN watch.changes.retracted_at IS
    'When a later scene disproved the change or a review rejected the object, UTC; null while the change holds.';
COMMENT ON COLUMN watch.changes.observation_id IS
    'Id of the observation that the row comes from.';
COMMENT ON COLUMN watch.changes.scene_id IS
    'Id of the scene that the row comes from.';
COMMENT ON COLUMN watch.changes.item_hrefs IS
    'Links to the STAC items of the scene.';
COMMENT ON COLUMN watch.changes.model IS
    'Name and version of the model.';
COMMENT ON COLUMN watch.changes.instruction_revision IS
    'Id of the instruction revision.';
COMMENT ON COLUMN watch.changes.review IS
    'Verdict on the object: confirmed, rejected or edited; null if nobody reviewed it.';
COMMENT ON COLUMN watch.changes.retracted_because IS
    'Why the change was retracted; null while it holds.';
COMMENT ON COLUMN watch.changes.confidence IS
    'Probability that the change happened, 0 to 1, given the observations so far; null: not judged, because it was recorded before segwatch judged.';
COMMENT ON COLUMN watch.changes.status IS
    'provisional (too little evidence yet), confirmed or refuted; null: not judged.';
COMMENT ON COLUMN watch.changes.observations_for IS
    'Number of observations so far that speak for it; null: not judged.';
COMMENT ON COLUMN watch.changes.observations_against IS
    'Number of observations so far that speak against it; null: not judged.';
COMMENT ON COLUMN watch.changes.earliest IS
    'Start of the interval in which the change happened on the ground, UTC; null: not judged.';
COMMENT ON COLUMN watch.changes.latest IS
    'End of the interval in which the change happened on the ground, UTC; null: not judged.';
COMMENT ON COLUMN watch.changes.confidence_calibrated IS
    'Confidence corrected with the labels of the series, 0 to 1; null: the series is not calibrated, see watch.calibrations. Rules use confidence.';
COMMENT ON COLUMN watch.changes.evidence IS
    'Spectral evidence: before and after hold means of indices on the ground of the change, in the observation before that saw it clearly and in this one; detection holds those of the object as in watch.detections, null if it was not found. Null where the source has no bands for them.';
COMMENT ON COLUMN watch.changes.shadow_share IS
    'Share of the object that the shadow segmenter found, too, in the observation that shows the change, 0 to 1; null if they were not compared there or the object was not found.';
COMMENT ON COLUMN watch.changes.shadow_iou IS
    'Intersection over union of the object with the detections of the shadow segmenter that it meets, in the observation that shows the change, 0 to 1; null as shadow_share.';
COMMENT ON COLUMN watch.changes.accuracy IS
    'How accurate the map of this target by this model and instruction is, with 95 % intervals, from the newest assessment of the series; not assessed: nobody labelled a sample. Begins with "demonstration model" where the shipped model was used.';
COMMENT ON COLUMN watch.changes.valid_from IS
    'valid_at, as the start of the shortest range that holds it, UTC; for tools that ask for a start and an end.';
COMMENT ON COLUMN watch.changes.valid_to IS
    'End of that range, exclusive, UTC: valid_at and a microsecond.';
