-- AOIs, past and current, that lack ground of an earlier AOI of their watch. Objects wholly outside such an AOI are not
-- shown for the time that it is in force. An AOI that covers all earlier ones has no row: no object can be outside.
CREATE OR REPLACE VIEW segwatch.narrowed_area AS
SELECT a.watch_name, g.geom, a.since, a.until
FROM segwatch.watch_area a JOIN segwatch.area g ON g.id = a.area_id
WHERE a.narrowed;
GRANT SELECT ON segwatch.narrowed_area TO segwatch_worker;
