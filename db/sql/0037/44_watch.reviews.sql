CREATE OR REPLACE VIEW watch.reviews AS
SELECT r.id AS review_id, r.track_id, s.watch_name AS watch, k.target, r.verdict, segwatch.shown_name(r.reviewer) AS reviewer, r.reason, r.decided_at,
       coalesce(r.geom, r.outline) AS geom, r.looked_at, r.carried_from,
       NOT EXISTS (SELECT 1 FROM segwatch.review n WHERE n.track_id = r.track_id AND n.ordinal > r.ordinal) AS holds,
       r.looked_at AS valid_from, r.looked_at + interval '1 microsecond' AS valid_to
FROM segwatch.review r
JOIN segwatch.track k ON k.id = r.track_id
JOIN segwatch.series s ON s.id = k.series_id
WHERE ((SELECT segwatch.reads_all_watches()) OR s.watch_name = ANY (CAST((SELECT segwatch.readable_watches()) AS text[])));

GRANT SELECT ON watch.reviews TO segwatch_analyst, segwatch_worker;

COMMENT ON VIEW watch.reviews IS
    'Every review: a person''s verdict on an object.';
COMMENT ON COLUMN watch.reviews.review_id IS
    'Id of the review.';
COMMENT ON COLUMN watch.reviews.track_id IS
    'Id of the reviewed object.';
COMMENT ON COLUMN watch.reviews.watch IS
    'Name of the watch.';
COMMENT ON COLUMN watch.reviews.target IS
    'Target of the instruction that the object is, such as water.';
COMMENT ON COLUMN watch.reviews.verdict IS
    'confirmed, rejected or edited.';
COMMENT ON COLUMN watch.reviews.reviewer IS
    'Who reviewed the object; null where nobody did or names are hidden: over HTTP only readers with the right to review see names.';
COMMENT ON COLUMN watch.reviews.reason IS
    'Reason given by the reviewer.';
COMMENT ON COLUMN watch.reviews.decided_at IS
    'When the verdict was given, UTC.';
COMMENT ON COLUMN watch.reviews.geom IS
    'Geometry drawn by the reviewer, or that of the object at the time of the review, EPSG:4326.';
COMMENT ON COLUMN watch.reviews.looked_at IS
    'Acquisition time of the observation that was reviewed, UTC.';
COMMENT ON COLUMN watch.reviews.carried_from IS
    'Id of the review that this one copies because the object got another id; null if a person gave it.';
COMMENT ON COLUMN watch.reviews.holds IS
    'True for the latest review of the object.';
COMMENT ON COLUMN watch.reviews.valid_from IS
    'looked_at, as the start of the shortest range that holds it, UTC; for tools that ask for a start and an end.';
COMMENT ON COLUMN watch.reviews.valid_to IS
    'End of that range, exclusive, UTC: looked_at and a microsecond.';
