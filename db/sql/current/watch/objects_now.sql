-- Both `known` and `recorded` are open for current states; the index of current states is defined on the first.
CREATE OR REPLACE VIEW watch.objects_now AS
SELECT t.track_id, p.watch, p.instruction, k.target, t.geom, t.area_m2, t.score, t.first_seen, t.last_seen,
       t.last_looked, t.visible_share, c.kind AS last_change, c.valid_at AS last_change_at, p.observation_id,
       p.scene_id, p.item_hrefs, p.model, p.instruction_revision, p.watch_revision, p.series_id,
       t.verdict AS review, t.reviewer, t.decided_at AS reviewed_at, k.object_id,
       t.confidence, t.status, t.observations_for, t.observations_against, e.evidence,
       segwatch.interpolate(t.confidence, a.raw, a.calibrated) AS confidence_calibrated,
       e.shadow_share, e.shadow_iou,
       segwatch.describe_accuracy(segwatch.is_demonstration(p.model), (SELECT a.words FROM segwatch.current_accuracy a
                 WHERE a.series_id = k.series_id AND a.target = k.target)) AS accuracy,
       lower(t.valid) AS valid_from, upper(t.valid) AS valid_to
FROM segwatch.held_state t
JOIN segwatch.track k ON k.id = t.track_id
JOIN segwatch.provenance p ON p.observation_id = t.observation_id
LEFT JOIN segwatch.current_calibration a
       ON a.series_id = k.series_id AND a.target = k.target AND a.subject = 'object'
LEFT JOIN LATERAL (
    SELECT c.kind, c.valid_at FROM segwatch.held_change c
    WHERE c.track_id = t.track_id AND c.retracted_at IS NULL AND NOT c.baseline AND c.status IS DISTINCT FROM 'refuted'
    ORDER BY c.valid_at DESC, segwatch.change_rank(c.kind), c.id LIMIT 1) c ON true
LEFT JOIN LATERAL (
    SELECT d.evidence, d.shadow_share, d.shadow_iou FROM segwatch.detection d
    WHERE d.track_id = t.track_id AND d.observation_id = t.observation_id
      AND (d.evidence IS NOT NULL OR d.shadow_share IS NOT NULL)
    ORDER BY d.area_m2 DESC, d.ordinal LIMIT 1) e ON true
WHERE upper_inf(t.valid) AND upper_inf(t.known) AND upper_inf(t.recorded) AND t.alive
  AND k.series_id IN (SELECT series_id FROM segwatch.current_series)
  AND NOT EXISTS (SELECT 1 FROM segwatch.narrowed_area n WHERE n.watch_name = p.watch AND n.until IS NULL
                  AND (NOT ST_Intersects(t.geom, n.geom) OR ST_Touches(t.geom, n.geom)));

GRANT SELECT ON watch.objects_now TO segwatch_analyst, segwatch_worker;

COMMENT ON VIEW watch.objects_now IS
    'Objects on the ground now, one row per object; without objects that a review rejected and objects wholly outside the current AOI.';
COMMENT ON COLUMN watch.objects_now.track_id IS
    'Id of the track: the object in one series, and the same in all of its observations. A new model or instruction starts a series with new ids; object_id stays.';
COMMENT ON COLUMN watch.objects_now.watch IS
    'Name of the watch.';
COMMENT ON COLUMN watch.objects_now.instruction IS
    'Text of the standing instruction.';
COMMENT ON COLUMN watch.objects_now.target IS
    'Target of the instruction that the object is, such as water.';
COMMENT ON COLUMN watch.objects_now.geom IS
    'Geometry of the object, as observed or as a reviewer drew it, EPSG:4326.';
COMMENT ON COLUMN watch.objects_now.area_m2 IS
    'Geodesic area, square metres.';
COMMENT ON COLUMN watch.objects_now.score IS
    'Mean probability that the model gave to the pixels of the object, 0 to 1; not calibrated.';
COMMENT ON COLUMN watch.objects_now.first_seen IS
    'Acquisition time of the first detection, UTC.';
COMMENT ON COLUMN watch.objects_now.last_seen IS
    'Acquisition time of the latest detection, UTC.';
COMMENT ON COLUMN watch.objects_now.last_looked IS
    'Acquisition time of the latest observation that covered enough of the object to decide, UTC.';
COMMENT ON COLUMN watch.objects_now.visible_share IS
    'Share of the object inside the observed footprint at last_looked, 0 to 1.';
COMMENT ON COLUMN watch.objects_now.last_change IS
    'Kind of the latest change that is neither refuted nor retracted; null if there was none: the object is as it was when its ground was first observed.';
COMMENT ON COLUMN watch.objects_now.last_change_at IS
    'When that change happened on the ground, UTC; null if there was none.';
COMMENT ON COLUMN watch.objects_now.observation_id IS
    'Id of the observation that the row comes from.';
COMMENT ON COLUMN watch.objects_now.scene_id IS
    'Id of the scene that the row comes from.';
COMMENT ON COLUMN watch.objects_now.item_hrefs IS
    'Links to the STAC items of the scene.';
COMMENT ON COLUMN watch.objects_now.model IS
    'Name and version of the model.';
COMMENT ON COLUMN watch.objects_now.instruction_revision IS
    'Id of the instruction revision.';
COMMENT ON COLUMN watch.objects_now.watch_revision IS
    'Id of the watch revision.';
COMMENT ON COLUMN watch.objects_now.series_id IS
    'Id of the series: observations of one watch, instruction revision and model version, which may be compared.';
COMMENT ON COLUMN watch.objects_now.review IS
    'Verdict of the latest review: confirmed or edited; null if nobody reviewed the object.';
COMMENT ON COLUMN watch.objects_now.reviewer IS
    'Who reviewed the object last; null where nobody did or names are hidden: over HTTP only readers with the right to review see names.';
COMMENT ON COLUMN watch.objects_now.reviewed_at IS
    'When the object was last reviewed, UTC.';
COMMENT ON COLUMN watch.objects_now.object_id IS
    'Id of the object in the first series that found it; it stays when a new model or instruction gives the object another track_id.';
COMMENT ON COLUMN watch.objects_now.confidence IS
    'Probability that the object is there, 0 to 1, given the observations so far; null: not judged, because it was recorded before segwatch judged.';
COMMENT ON COLUMN watch.objects_now.status IS
    'provisional (too little evidence yet), confirmed or refuted; null: not judged.';
COMMENT ON COLUMN watch.objects_now.observations_for IS
    'Number of observations so far that speak for it; null: not judged.';
COMMENT ON COLUMN watch.objects_now.observations_against IS
    'Number of observations so far that speak against it; null: not judged.';
COMMENT ON COLUMN watch.objects_now.confidence_calibrated IS
    'Confidence corrected with the labels and reviews of the series, 0 to 1; null: the series is not calibrated, see watch.calibrations. Rules use confidence.';
COMMENT ON COLUMN watch.objects_now.evidence IS
    'Spectral evidence of the object in the observation that the row comes from, as in watch.detections; null if the object was not found in it or the source has no bands.';
COMMENT ON COLUMN watch.objects_now.shadow_share IS
    'Share of the object that the shadow segmenter found, too, in the observation that the row comes from, 0 to 1; null if they were not compared there or the object was not found.';
COMMENT ON COLUMN watch.objects_now.shadow_iou IS
    'Intersection over union of the object with the detections of the shadow segmenter that it meets, in the observation that the row comes from, 0 to 1; null as shadow_share.';
COMMENT ON COLUMN watch.objects_now.accuracy IS
    'How accurate the map of this target by this model and instruction is, with 95 % intervals, from the newest assessment of the series; not assessed: nobody labelled a sample. Begins with "demonstration model" where the shipped model was used.';
COMMENT ON COLUMN watch.objects_now.valid_from IS
    'Since when the object has been as it is here, UTC.';
COMMENT ON COLUMN watch.objects_now.valid_to IS
    'Until when, exclusive, UTC: always null, as it holds now.';
