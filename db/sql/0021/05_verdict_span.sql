-- While which verdict about an object was the newest one known. The time before the first verdict has a row without
-- one. A verdict that was carried over to a new identity holds from the beginning of that identity.
CREATE OR REPLACE VIEW segwatch.verdict_span AS
SELECT r.track_id, CAST(NULL AS text) AS verdict, CAST(NULL AS text) AS reviewer, CAST(NULL AS timestamptz) AS decided_at,
       CAST(NULL AS geometry(Geometry, 4326)) AS geom, CAST(NULL AS float8) AS area_m2,
       CAST(NULL AS timestamptz) AS looked_at, tstzrange(NULL, r.decided_at) AS recorded
FROM segwatch.review r
WHERE r.ordinal = 1 AND r.carried_from IS NULL
UNION ALL
SELECT r.track_id, r.verdict, segwatch.shown_name(r.reviewer), r.decided_at, r.geom, r.area_m2, r.looked_at,
       -- a clock that was set back must not make a range that ends before it begins
       tstzrange(CASE WHEN r.carried_from IS NULL THEN r.decided_at END,
                 CASE WHEN n.id IS NOT NULL THEN greatest(n.decided_at, r.decided_at) END)
FROM segwatch.review r
LEFT JOIN segwatch.review n ON n.track_id = r.track_id AND n.ordinal = r.ordinal + 1;
