CREATE OR REPLACE VIEW watch.calibrations AS
SELECT s.watch_name AS watch, c.target, c.subject, c.version, c.fitted_at, c.labels, c.error_before, c.error_after,
       c.raw, c.calibrated, c.bins_before, c.bins_after, c.series_id,
       c.series_id IN (SELECT series_id FROM segwatch.current_series)
       AND NOT EXISTS (
           SELECT 1 FROM segwatch.calibration n
           WHERE n.series_id = c.series_id AND n.target = c.target AND n.subject = c.subject AND n.version > c.version)
       AS is_current,
       concat_ws('/', c.series_id, c.target, c.subject, c.version) AS calibration_id
FROM segwatch.calibration c
JOIN segwatch.series s ON s.id = c.series_id
WHERE ((SELECT segwatch.reads_all_watches()) OR s.watch_name = ANY (CAST((SELECT segwatch.readable_watches()) AS text[])));

GRANT SELECT ON watch.calibrations TO segwatch_analyst, segwatch_worker;

COMMENT ON VIEW watch.calibrations IS
    'Calibrations of the confidence, every version: how raw confidences become confidence_calibrated, and how reliable both are.';
COMMENT ON COLUMN watch.calibrations.watch IS
    'Name of the watch.';
COMMENT ON COLUMN watch.calibrations.target IS
    'Target of the instruction, such as water.';
COMMENT ON COLUMN watch.calibrations.subject IS
    'Whose confidence it calibrates: object or change.';
COMMENT ON COLUMN watch.calibrations.version IS
    'Number of the version, from 1 on.';
COMMENT ON COLUMN watch.calibrations.fitted_at IS
    'When it was fitted, UTC.';
COMMENT ON COLUMN watch.calibrations.labels IS
    'Number of labels and reviews that it was fitted to.';
COMMENT ON COLUMN watch.calibrations.error_before IS
    'Expected calibration error of the raw confidence, ten bins, 0 to 1.';
COMMENT ON COLUMN watch.calibrations.error_after IS
    'Expected calibration error of the calibrated confidence, cross-validated, ten bins, 0 to 1.';
COMMENT ON COLUMN watch.calibrations.raw IS
    'Raw confidences of the knots, ascending.';
COMMENT ON COLUMN watch.calibrations.calibrated IS
    'Calibrated confidences of the knots; linear between them, constant beyond them.';
COMMENT ON COLUMN watch.calibrations.bins_before IS
    'Reliability of the raw confidence: mean confidence, share that was true, weight and number of labels of each tenth.';
COMMENT ON COLUMN watch.calibrations.bins_after IS
    'Reliability of the calibrated confidence.';
COMMENT ON COLUMN watch.calibrations.series_id IS
    'Id of the series.';
COMMENT ON COLUMN watch.calibrations.is_current IS
    'Whether confidence_calibrated is made with it now.';
COMMENT ON COLUMN watch.calibrations.calibration_id IS
    'Key of the row.';
