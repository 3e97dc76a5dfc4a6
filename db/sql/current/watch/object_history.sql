-- The columns are in the order in which people read them: a migration that adds one drops the view first.
CREATE OR REPLACE VIEW watch.object_history AS
SELECT t.row_id AS state_id, k.object_id, t.track_id, p.watch, k.target, lower(t.valid) AS valid_from,
       upper(t.valid) AS valid_to, lower(t.recorded) AS recorded_from, upper(t.recorded) AS recorded_to,
       upper_inf(t.recorded) AND coalesce(f.valid && t.valid, false) AS in_force, t.alive, t.change,
       t.change IS NOT NULL AND EXISTS (
           SELECT 1 FROM segwatch.change c
           WHERE c.track_id = t.track_id AND c.observation_id = t.observation_id AND c.kind = t.change
             AND c.baseline) AS baseline,
       t.area_m2, t.score, t.confidence, t.status, t.observations_for, t.observations_against,
       t.verdict AS review, t.reviewer, t.decided_at AS reviewed_at,
       segwatch.describe_accuracy(segwatch.is_demonstration(p.model), (SELECT a.words FROM segwatch.current_accuracy a
                 WHERE a.series_id = k.series_id AND a.target = k.target)) AS accuracy,
       p.observation_id, p.scene_id, p.item_hrefs, p.model, p.instruction_revision, t.geom
FROM segwatch.held_state t
JOIN segwatch.track k ON k.id = t.track_id
JOIN segwatch.provenance p ON p.observation_id = t.observation_id
LEFT JOIN segwatch.series_in_force('infinity') f ON f.series_id = k.series_id;

GRANT SELECT ON watch.object_history TO segwatch_analyst, segwatch_worker;

COMMENT ON VIEW watch.object_history IS
    'Every recorded state of every object, with valid time (on the ground) and recorded time (when it was known); verdicts apply from when they were given.';
COMMENT ON COLUMN watch.object_history.track_id IS
    'Id of the track: the object in one series, and the same in all of its observations. A new model or instruction starts a series with new ids; object_id stays.';
COMMENT ON COLUMN watch.object_history.watch IS
    'Name of the watch.';
COMMENT ON COLUMN watch.object_history.target IS
    'Target of the instruction that the object is, such as water.';
COMMENT ON COLUMN watch.object_history.geom IS
    'Geometry of the object in this state, as observed or as a reviewer drew it, EPSG:4326.';
COMMENT ON COLUMN watch.object_history.area_m2 IS
    'Geodesic area, square metres.';
COMMENT ON COLUMN watch.object_history.score IS
    'Mean probability that the model gave to the pixels of the object, 0 to 1; not calibrated.';
COMMENT ON COLUMN watch.object_history.valid_from IS
    'Start of the valid time, UTC.';
COMMENT ON COLUMN watch.object_history.valid_to IS
    'End of the valid time, UTC; null if the state still lasts.';
COMMENT ON COLUMN watch.object_history.recorded_from IS
    'Start of the recorded time, UTC.';
COMMENT ON COLUMN watch.object_history.recorded_to IS
    'End of the recorded time, UTC: a later scene or a verdict replaced the row; null if it is current knowledge.';
COMMENT ON COLUMN watch.object_history.change IS
    'Kind of the change that began this state; null if an observation only confirmed the object.';
COMMENT ON COLUMN watch.object_history.alive IS
    'False once the object disappeared or merged into another one.';
COMMENT ON COLUMN watch.object_history.observation_id IS
    'Id of the observation that the row comes from.';
COMMENT ON COLUMN watch.object_history.scene_id IS
    'Id of the scene that the row comes from.';
COMMENT ON COLUMN watch.object_history.item_hrefs IS
    'Links to the STAC items of the scene.';
COMMENT ON COLUMN watch.object_history.model IS
    'Name and version of the model.';
COMMENT ON COLUMN watch.object_history.instruction_revision IS
    'Id of the instruction revision.';
COMMENT ON COLUMN watch.object_history.object_id IS
    'Id of the object in the first series that found it; it stays when a new model or instruction gives the object another track_id.';
COMMENT ON COLUMN watch.object_history.baseline IS
    'True if the object was there when its ground was first observed: no change on the ground.';
COMMENT ON COLUMN watch.object_history.review IS
    'Verdict in force in this recorded time: confirmed or edited; null before the first review.';
COMMENT ON COLUMN watch.object_history.reviewer IS
    'Who gave that verdict; null where nobody did or names are hidden: over HTTP only readers with the right to review see names.';
COMMENT ON COLUMN watch.object_history.reviewed_at IS
    'When that verdict was given, UTC.';
COMMENT ON COLUMN watch.object_history.in_force IS
    'True if this is current knowledge: recorded_to is null, and no newer model or instruction covers this valid time.';
COMMENT ON COLUMN watch.object_history.confidence IS
    'Probability that the object was there in this state, 0 to 1, given the observations so far; null: not judged, because it was recorded before segwatch judged.';
COMMENT ON COLUMN watch.object_history.status IS
    'provisional (too little evidence yet), confirmed or refuted; null: not judged.';
COMMENT ON COLUMN watch.object_history.observations_for IS
    'Number of observations so far that speak for it; null: not judged.';
COMMENT ON COLUMN watch.object_history.observations_against IS
    'Number of observations so far that speak against it; null: not judged.';
COMMENT ON COLUMN watch.object_history.accuracy IS
    'How accurate the map of this target by this model and instruction is, with 95 % intervals, from the newest assessment of the series; not assessed: nobody labelled a sample. Begins with "demonstration model" where the shipped model was used.';
COMMENT ON COLUMN watch.object_history.state_id IS
    'Key of the row. It stays as long as the row does: folding the same scenes again, or giving a verdict, leaves it alone.';
