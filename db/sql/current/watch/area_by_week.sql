-- The differences of segwatch.area_by_week summed up to each week, for weeks that end while the series is in force. An
-- administrative area has rows from the first week in which the watch was observed, whether the scene showed it or not.
CREATE OR REPLACE VIEW watch.area_by_week AS
SELECT concat_ws('/', w.series_id, w.target, w.admin_area_id, w.week) AS area_by_week_id, w.watch, w.target, w.layer,
       w.admin_area, w.week, w.valid_from, w.valid_to,
       CASE WHEN w.ever_m2 = 0 THEN 'never seen' WHEN w.observed_m2 = 0 THEN 'not seen' ELSE 'seen' END AS coverage,
       w.scenes, w.observed_m2,
       CASE WHEN w.ever_m2 > 0 THEN w.confirmed_objects END AS confirmed_objects,
       CASE WHEN w.ever_m2 > 0 THEN w.confirmed_cm2 / 10000.0::float8 END AS confirmed_m2,
       CASE WHEN w.ever_m2 > 0 THEN w.provisional_objects END AS provisional_objects,
       CASE WHEN w.ever_m2 > 0 THEN w.provisional_cm2 / 10000.0::float8 END AS provisional_m2,
       CASE WHEN w.ever_m2 > 0 THEN w.not_judged_objects END AS not_judged_objects,
       CASE WHEN w.ever_m2 > 0 THEN w.not_judged_cm2 / 10000.0::float8 END AS not_judged_m2,
       CASE WHEN w.ever_m2 > 0 THEN a.factor * w.mapped_cm2 / 10000.0::float8 END AS adjusted_m2,
       CASE WHEN w.ever_m2 > 0 THEN a.factor_low * w.mapped_cm2 / 10000.0::float8 END AS adjusted_low_m2,
       CASE WHEN w.ever_m2 > 0 THEN a.factor_high * w.mapped_cm2 / 10000.0::float8 END AS adjusted_high_m2,
       CASE WHEN a.factor IS NOT NULL THEN a.words
            WHEN w.admin_area_id IS NOT NULL AND EXISTS (
                SELECT 1 FROM segwatch.current_accuracy c WHERE c.series_id = w.series_id AND c.target = w.target)
            THEN 'assessed for the whole watch only'
            ELSE 'not assessed' END AS accuracy,
       w.admin_area_id, w.series_id, w.model, w.instruction_revision
FROM (
    SELECT g.watch, g.series_id, g.model, g.instruction_revision, g.valid, g.target, g.week, g.layer, g.admin_area,
           nullif(g.place_id, '00000000-0000-0000-0000-000000000000') AS admin_area_id,
           g.week::timestamp AT TIME ZONE 'UTC' AS valid_from, (g.week + 7)::timestamp AT TIME ZONE 'UTC' AS valid_to,
           coalesce(o.scenes, 0) AS scenes, coalesce(o.observed_m2, 0) AS observed_m2,
           coalesce(max(o.observed_m2) OVER span, 0) AS ever_m2,
           coalesce(sum(d.confirmed_objects) OVER span, 0)::bigint AS confirmed_objects,
           coalesce(sum(d.confirmed_cm2) OVER span, 0)::float8 AS confirmed_cm2,
           coalesce(sum(d.provisional_objects) OVER span, 0)::bigint AS provisional_objects,
           coalesce(sum(d.provisional_cm2) OVER span, 0)::float8 AS provisional_cm2,
           coalesce(sum(d.not_judged_objects) OVER span, 0)::bigint AS not_judged_objects,
           coalesce(sum(d.not_judged_cm2) OVER span, 0)::float8 AS not_judged_cm2,
           coalesce(sum(d.confirmed_cm2 + d.provisional_cm2 + d.not_judged_cm2) OVER span, 0)::float8 AS mapped_cm2
    FROM (
        SELECT f.watch_name AS watch, s.id AS series_id, s.model_version AS model,
               s.instruction_id AS instruction_revision, f.valid, t.target, p.place_id, a.layer, a.name AS admin_area,
               r.first + 7 * n.number AS week
        FROM segwatch.series_in_force('infinity') f
        JOIN segwatch.series s ON s.id = f.series_id
        JOIN segwatch.instruction i ON i.id = s.instruction_id
        CROSS JOIN LATERAL unnest(i.targets) AS t(target)
        CROSS JOIN LATERAL (
            SELECT min(x.week) AS first, max(x.week) AS last FROM segwatch.observed_by_week x
            WHERE x.series_id = s.id AND x.admin_area_id = '00000000-0000-0000-0000-000000000000') r
        CROSS JOIN LATERAL generate_series(0, (r.last - r.first) / 7) AS n(number)
        CROSS JOIN LATERAL (
            SELECT DISTINCT x.admin_area_id AS place_id FROM segwatch.observed_by_week x WHERE x.series_id = s.id) p
        LEFT JOIN segwatch.admin_area a ON a.id = p.place_id) g
    LEFT JOIN segwatch.observed_by_week o
           ON o.series_id = g.series_id AND o.admin_area_id = g.place_id AND o.week = g.week
    LEFT JOIN segwatch.area_by_week d
           ON d.series_id = g.series_id AND d.admin_area_id = g.place_id AND d.target = g.target AND d.week = g.week
    WINDOW span AS (PARTITION BY g.watch, g.series_id, g.target, g.layer, g.admin_area, g.place_id ORDER BY g.week)
) w
LEFT JOIN LATERAL (
    SELECT c.words, (c.estimates -> 'area_m2' ->> 'value')::float8 / m.mapped_m2 AS factor,
           (c.estimates -> 'area_m2' ->> 'low')::float8 / m.mapped_m2 AS factor_low,
           (c.estimates -> 'area_m2' ->> 'high')::float8 / m.mapped_m2 AS factor_high
    FROM segwatch.current_accuracy c
    CROSS JOIN LATERAL (SELECT nullif((c.estimates ->> 'mapped_m2')::float8, 0) AS mapped_m2) m
    WHERE c.series_id = w.series_id AND c.target = w.target) a ON w.admin_area_id IS NULL
WHERE w.valid @> (w.valid_to - interval '1 microsecond');

GRANT SELECT ON watch.area_by_week TO segwatch_analyst, segwatch_worker;

COMMENT ON VIEW watch.area_by_week IS
    'Area and number of objects at the end of each week, by target, for the whole watch and by administrative area, from the first to the last week with a scene of the watch. As known now: verdicts apply, and late scenes change past weeks.';
COMMENT ON COLUMN watch.area_by_week.area_by_week_id IS
    'Key of the row; it stays when the numbers change.';
COMMENT ON COLUMN watch.area_by_week.watch IS
    'Name of the watch.';
COMMENT ON COLUMN watch.area_by_week.target IS
    'Target of the instruction, such as water.';
COMMENT ON COLUMN watch.area_by_week.layer IS
    'Layer of the administrative area; null for the whole watch.';
COMMENT ON COLUMN watch.area_by_week.admin_area IS
    'Name of the administrative area; null for the whole watch. Do not add up rows of both.';
COMMENT ON COLUMN watch.area_by_week.week IS
    'Monday of the week, UTC.';
COMMENT ON COLUMN watch.area_by_week.valid_from IS
    'Start of the week, UTC.';
COMMENT ON COLUMN watch.area_by_week.valid_to IS
    'End of the week, UTC, exclusive: areas are those of the last moment before.';
COMMENT ON COLUMN watch.area_by_week.coverage IS
    'seen: some of the ground was observed this week; not seen: none was, and areas are those last known; never seen: none was up to this week, and areas are null, not 0.';
COMMENT ON COLUMN watch.area_by_week.scenes IS
    'Number of scenes of the week that show some of the ground.';
COMMENT ON COLUMN watch.area_by_week.observed_m2 IS
    'Ground that was observed this week, geodesic square metres; ground that several scenes show counts once.';
COMMENT ON COLUMN watch.area_by_week.confirmed_objects IS
    'Number of objects that are confirmed; one that lies in several administrative areas counts in each.';
COMMENT ON COLUMN watch.area_by_week.confirmed_m2 IS
    'Geodesic area of confirmed objects, square metres; within the administrative area only.';
COMMENT ON COLUMN watch.area_by_week.provisional_objects IS
    'Number of objects that are provisional: too little evidence yet.';
COMMENT ON COLUMN watch.area_by_week.provisional_m2 IS
    'Geodesic area of provisional objects, square metres; within the administrative area only.';
COMMENT ON COLUMN watch.area_by_week.not_judged_objects IS
    'Number of objects recorded before segwatch judged. Refuted objects count nowhere.';
COMMENT ON COLUMN watch.area_by_week.not_judged_m2 IS
    'Geodesic area of objects recorded before segwatch judged, square metres.';
COMMENT ON COLUMN watch.area_by_week.adjusted_m2 IS
    'Area corrected for the errors of the map, square metres: confirmed, provisional and not judged area, times the assessed over the mapped area when the sample of the newest assessment was drawn. It holds as far as the map is as accurate now as then. Null: not assessed, see accuracy.';
COMMENT ON COLUMN watch.area_by_week.adjusted_low_m2 IS
    'Lower end of the 95 % interval of adjusted_m2, square metres.';
COMMENT ON COLUMN watch.area_by_week.adjusted_high_m2 IS
    'Upper end of the 95 % interval of adjusted_m2, square metres.';
COMMENT ON COLUMN watch.area_by_week.accuracy IS
    'The assessed accuracy in words; not assessed: nobody labelled enough samples; assessed for the whole watch only: the sample says nothing about single administrative areas.';
COMMENT ON COLUMN watch.area_by_week.admin_area_id IS
    'Id of the administrative area; null for the whole watch.';
COMMENT ON COLUMN watch.area_by_week.series_id IS
    'Id of the series: observations of one watch, instruction revision and model version, which may be compared.';
COMMENT ON COLUMN watch.area_by_week.model IS
    'Name and version of the model.';
COMMENT ON COLUMN watch.area_by_week.instruction_revision IS
    'Id of the instruction revision.';
