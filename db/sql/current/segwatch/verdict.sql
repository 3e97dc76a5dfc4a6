-- The latest review of each object.
CREATE OR REPLACE VIEW segwatch.verdict AS
SELECT r.id, r.track_id, r.ordinal, r.verdict, r.reviewer, r.reason, r.decided_at, r.geom, r.area_m2, r.outline,
       r.looked_at, r.carried_from
FROM segwatch.review r
WHERE NOT EXISTS (SELECT 1 FROM segwatch.review n WHERE n.track_id = r.track_id AND n.ordinal > r.ordinal);
GRANT SELECT ON segwatch.verdict TO segwatch_worker;

-- Recorded time in which each verdict was the latest one known; the time before the first review has a row without verdict.
-- A verdict that was carried over to another track applies from the beginning of that track.
CREATE OR REPLACE VIEW segwatch.verdict_span AS
SELECT r.track_id, CAST(NULL AS text) AS verdict, CAST(NULL AS text) AS reviewer, CAST(NULL AS timestamptz) AS decided_at,
       CAST(NULL AS geometry(Geometry, 4326)) AS geom, CAST(NULL AS float8) AS area_m2,
       CAST(NULL AS timestamptz) AS looked_at, tstzrange(NULL, r.decided_at) AS recorded
FROM segwatch.review r
WHERE r.ordinal = 1 AND r.carried_from IS NULL
UNION ALL
SELECT r.track_id, r.verdict, segwatch.shown_name(r.reviewer), r.decided_at, r.geom, r.area_m2, r.looked_at,
       -- the range must not end before it begins, even if the clock was set back
       tstzrange(CASE WHEN r.carried_from IS NULL THEN r.decided_at END,
                 CASE WHEN n.id IS NOT NULL THEN greatest(n.decided_at, r.decided_at) END)
FROM segwatch.review r
LEFT JOIN segwatch.review n ON n.track_id = r.track_id AND n.ordinal = r.ordinal + 1;
GRANT SELECT ON segwatch.verdict_span TO segwatch_worker;
