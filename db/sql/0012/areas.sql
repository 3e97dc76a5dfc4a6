-- Ground that left a watch's area: who is wholly on it holds no longer, from when the area was changed on, until it is
-- changed back. An area that covers all earlier ones left nothing, and is not looked at.
CREATE VIEW segwatch.narrowed_area AS
SELECT a.watch_name, g.geom, a.since, a.until
FROM segwatch.watch_area a JOIN segwatch.area g ON g.id = a.area_id
WHERE a.narrowed;
GRANT SELECT ON segwatch.narrowed_area TO segwatch_worker;
GRANT SELECT, INSERT, UPDATE ON segwatch.watch_area TO segwatch_worker;
GRANT SELECT, INSERT, UPDATE ON segwatch.seen_ground TO segwatch_worker;
