-- The newest calibration of each series, target and subject. It is applied when a confidence is shown: stored
-- confidences stay what the fold made them, and a new calibration rewrites no history.
CREATE OR REPLACE VIEW segwatch.current_calibration AS
SELECT c.series_id, c.target, c.subject, c.version, c.fitted_at, c.labels, c.raw, c.calibrated, c.bins_before,
       c.bins_after, c.error_before, c.error_after
FROM segwatch.calibration c
WHERE NOT EXISTS (
    SELECT 1 FROM segwatch.calibration n
    WHERE n.series_id = c.series_id AND n.target = c.target AND n.subject = c.subject AND n.version > c.version);
GRANT SELECT ON segwatch.current_calibration TO segwatch_worker;

-- Piecewise linear interpolation between knots (xs ascending), constant beyond the first and the last; null if x or the
-- knots are null.
CREATE OR REPLACE FUNCTION segwatch.interpolate(x float8, xs float8[], ys float8[]) RETURNS float8
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE
        WHEN i = 0 THEN ys[1]
        WHEN i = cardinality(xs) THEN ys[i]
        ELSE ys[i] + (ys[i + 1] - ys[i]) * (x - xs[i]) / (xs[i + 1] - xs[i])
        END
    FROM (SELECT width_bucket(x, xs) AS i) AS found
$$;
