CREATE OR REPLACE VIEW watch.assessments AS
SELECT a.id AS assessment_id, s.watch_name AS watch, t.target, t.stratum, t.unit, t.size, t.area_m2,
       n.samples, n.correct, n.wrong, n.unclear, n.labelled_at, a.drawn_at, a.seed, a.ordinal,
       s.model_version AS model, s.instruction_id AS instruction_revision, a.series_id,
       a.series_id IN (SELECT series_id FROM segwatch.current_series) AS is_current,
       concat_ws('/', a.id, t.target, t.stratum) AS stratum_id
FROM segwatch.assessment a
JOIN segwatch.series s ON s.id = a.series_id
JOIN segwatch.assessment_stratum t ON t.assessment_id = a.id
CROSS JOIN LATERAL (
    SELECT count(*) AS samples,
           count(*) FILTER (WHERE l.label = ANY (p.agreeing)) AS correct,
           count(*) FILTER (WHERE l.label <> 'unclear' AND NOT l.label = ANY (p.agreeing)) AS wrong,
           count(*) FILTER (WHERE l.label = 'unclear') AS unclear,
           max(l.labelled_at) AS labelled_at
    FROM segwatch.assessment_sample p LEFT JOIN segwatch.current_label l ON l.sample_id = p.id
    WHERE p.assessment_id = a.id AND p.target = t.target AND p.stratum = t.stratum) n
WHERE ((SELECT segwatch.reads_all_watches()) OR s.watch_name = ANY (CAST((SELECT segwatch.readable_watches()) AS text[])));

GRANT SELECT ON watch.assessments TO segwatch_analyst, segwatch_worker;

COMMENT ON VIEW watch.assessments IS
    'Accuracy assessments: for each target and stratum how many units there are, how many were drawn, and what people saw. `segwatch assess report` estimates accuracy and area from it.';
COMMENT ON COLUMN watch.assessments.assessment_id IS
    'Id of the assessment.';
COMMENT ON COLUMN watch.assessments.watch IS
    'Name of the watch.';
COMMENT ON COLUMN watch.assessments.target IS
    'Target of the instruction, such as water.';
COMMENT ON COLUMN watch.assessments.stratum IS
    'mapped: points inside objects; background: points on observed ground outside objects; object: objects; otherwise changes of this kind.';
COMMENT ON COLUMN watch.assessments.unit IS
    'What was drawn: point (a pixel of the source), object or change.';
COMMENT ON COLUMN watch.assessments.size IS
    'Number of units in the stratum when the sample was drawn. A unit''s inclusion probability is samples / size.';
COMMENT ON COLUMN watch.assessments.area_m2 IS
    'Geodesic area of a stratum of points, square metres; 0 for objects and changes.';
COMMENT ON COLUMN watch.assessments.samples IS
    'Number of units drawn.';
COMMENT ON COLUMN watch.assessments.correct IS
    'Number of labels that agree with the map.';
COMMENT ON COLUMN watch.assessments.wrong IS
    'Number of labels that contradict the map.';
COMMENT ON COLUMN watch.assessments.unclear IS
    'Number of labels by people who could not tell; they count for nothing.';
COMMENT ON COLUMN watch.assessments.labelled_at IS
    'When the last label was given, UTC; null before the first.';
COMMENT ON COLUMN watch.assessments.drawn_at IS
    'When the sample was drawn, UTC: the assessment is about the objects and changes that held then.';
COMMENT ON COLUMN watch.assessments.seed IS
    'Seed of the random numbers that drew the sample.';
COMMENT ON COLUMN watch.assessments.ordinal IS
    'Number of the assessment within its series, from 1 on; the newest one counts.';
COMMENT ON COLUMN watch.assessments.model IS
    'Name and version of the model.';
COMMENT ON COLUMN watch.assessments.instruction_revision IS
    'Id of the instruction revision.';
COMMENT ON COLUMN watch.assessments.series_id IS
    'Id of the assessed series.';
COMMENT ON COLUMN watch.assessments.is_current IS
    'Whether the series is in force; assessments of an earlier model or instruction say nothing about the objects of now.';
COMMENT ON COLUMN watch.assessments.stratum_id IS
    'Key of the row.';
