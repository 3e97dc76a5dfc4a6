CREATE OR REPLACE VIEW watch.accuracy AS
SELECT a.assessment_id, s.watch_name AS watch, a.target, a.labels, a.words AS accuracy, a.estimates, a.drawn_at,
       s.model_version AS model, s.instruction_id AS instruction_revision, a.series_id,
       a.series_id IN (SELECT series_id FROM segwatch.current_series) AS is_current,
       concat_ws('/', a.assessment_id, a.target) AS accuracy_id
FROM segwatch.current_accuracy a
JOIN segwatch.series s ON s.id = a.series_id
WHERE ((SELECT segwatch.reads_all_watches()) OR s.watch_name = ANY (CAST((SELECT segwatch.readable_watches()) AS text[])));

GRANT SELECT ON watch.accuracy TO segwatch_analyst, segwatch_worker;

COMMENT ON VIEW watch.accuracy IS
    'Assessed accuracy and areas, one row per model, instruction and target: of the newest assessment with a label. What has no row is not assessed.';
COMMENT ON COLUMN watch.accuracy.assessment_id IS
    'Id of the assessment.';
COMMENT ON COLUMN watch.accuracy.watch IS
    'Name of the watch.';
COMMENT ON COLUMN watch.accuracy.target IS
    'Target of the instruction, such as water.';
COMMENT ON COLUMN watch.accuracy.labels IS
    'Number of samples of this target with a label that counts.';
COMMENT ON COLUMN watch.accuracy.accuracy IS
    'The estimates in words, as beside every object and change.';
COMMENT ON COLUMN watch.accuracy.estimates IS
    'value, low and high (95 % interval) of users, producers, overall (accuracies), area_m2 (geodesic), objects and changes (share that is true); without those for which too few samples are labelled. mapped_m2 is the area of the map when the sample was drawn.';
COMMENT ON COLUMN watch.accuracy.drawn_at IS
    'When the sample was drawn, UTC.';
COMMENT ON COLUMN watch.accuracy.model IS
    'Name and version of the model.';
COMMENT ON COLUMN watch.accuracy.instruction_revision IS
    'Id of the instruction revision.';
COMMENT ON COLUMN watch.accuracy.series_id IS
    'Id of the series: observations of one watch, instruction revision and model version, which may be compared.';
COMMENT ON COLUMN watch.accuracy.is_current IS
    'Whether this series is in force.';
COMMENT ON COLUMN watch.accuracy.accuracy_id IS
    'Key of the row.';
