-- The last label of each sample.
CREATE OR REPLACE VIEW segwatch.current_label AS
SELECT l.sample_id, l.ordinal, l.label, l.labeller, l.labelled_at
FROM segwatch.assessment_label l
WHERE NOT EXISTS (
    SELECT 1 FROM segwatch.assessment_label n WHERE n.sample_id = l.sample_id AND n.ordinal > l.ordinal);
GRANT SELECT ON segwatch.current_label TO segwatch_worker;

-- Accuracy of each series and target, from its newest assessment with a label.
CREATE OR REPLACE VIEW segwatch.current_accuracy AS
SELECT s.series_id, a.assessment_id, a.target, a.labels, a.words, a.estimates, s.drawn_at
FROM segwatch.target_accuracy a JOIN segwatch.assessment s ON s.id = a.assessment_id
WHERE NOT EXISTS (
    SELECT 1 FROM segwatch.assessment n
    WHERE n.series_id = s.series_id AND n.ordinal > s.ordinal
      AND EXISTS (SELECT 1 FROM segwatch.target_accuracy x WHERE x.assessment_id = n.id AND x.labels > 0))
  AND EXISTS (SELECT 1 FROM segwatch.target_accuracy x WHERE x.assessment_id = a.assessment_id AND x.labels > 0);
GRANT SELECT ON segwatch.current_accuracy TO segwatch_worker;

-- Whether a model version is one of the model that ships with segwatch, which demonstrates and is not made for decisions.
CREATE OR REPLACE FUNCTION segwatch.is_demonstration(model text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT model LIKE 'segearth-r2-tiny@%'
$$;

-- What stands beside every area: whether a demonstration model was used, and the assessed accuracy in words (null: none).
CREATE OR REPLACE FUNCTION segwatch.describe_accuracy(is_demonstration boolean, words text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN is_demonstration THEN 'demonstration model, ' ELSE '' END || coalesce(words, 'not assessed')
$$;
