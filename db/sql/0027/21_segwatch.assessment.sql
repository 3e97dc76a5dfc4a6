-- The last label of each sample.
CREATE OR REPLACE VIEW segwatch.current_label AS
SELECT l.sample_id, l.ordinal, l.label, l.labeller, l.labelled_at
FROM segwatch.assessment_label l
WHERE NOT EXISTS (
    SELECT 1 FROM segwatch.assessment_label n WHERE n.sample_id = l.sample_id AND n.ordinal > l.ordinal);
GRANT SELECT ON segwatch.current_label TO segwatch_worker;
