CREATE OR REPLACE VIEW watch.reviews AS
SELECT r.id AS review_id, r.track_id, s.watch_name AS watch, k.target, r.verdict, segwatch.shown_name(r.reviewer) AS reviewer, r.reason, r.decided_at,
       coalesce(r.geom, r.outline) AS geom, r.looked_at, r.carried_from,
       NOT EXISTS (SELECT 1 FROM segwatch.review n WHERE n.track_id = r.track_id AND n.ordinal > r.ordinal) AS holds
FROM segwatch.review r
JOIN segwatch.track k ON k.id = r.track_id
JOIN segwatch.series s ON s.id = k.series_id
WHERE ((SELECT segwatch.reads_all_watches()) OR s.watch_name = ANY (CAST((SELECT segwatch.readable_watches()) AS text[])));
COMMENT ON COLUMN watch.reviews.reviewer IS 'Who decided; null where names are hidden: readers over HTTP see them with the right to review, people who write SQL always.';
COMMENT ON COLUMN watch.objects_now.reviewer IS 'Who reviewed it last; null where names are hidden: readers over HTTP see them with the right to review, people who write SQL always.';
COMMENT ON COLUMN watch.object_history.reviewer IS 'Who gave that verdict; null where names are hidden: readers over HTTP see them with the right to review, people who write SQL always.';
COMMENT ON COLUMN watch.alerts.status_by IS 'Who marked it last; null where nobody did, and null where names are hidden: readers over HTTP see them with the right to review, people who write SQL always.';
