-- Events belong to no watch, and some were sent to this server alone: readers of only some watches see none.
CREATE OR REPLACE VIEW watch.events AS
SELECT e.id AS event_id, e.source, e.external_id, e.kind, e.title, e.occurred_at,
       CAST(e.properties ->> 'ended_at' AS timestamptz) AS ended_at, e.properties ->> 'level' AS level,
       CAST(e.properties ->> 'magnitude' AS float8) AS magnitude, e.properties ->> 'magnitude_unit' AS magnitude_unit,
       CAST(e.properties ->> 'population' AS bigint) AS population,
       coalesce(CAST(e.properties ->> 'cancelled' AS boolean), false) AS cancelled, e.properties ->> 'link' AS link,
       e.recorded_at, e.geom
FROM segwatch.event e
WHERE (SELECT segwatch.reads_all_watches()) AND NOT EXISTS (
    SELECT 1 FROM segwatch.event n
    WHERE n.source = e.source AND n.external_id = e.external_id AND (n.recorded_at, n.id) > (e.recorded_at, e.id));

GRANT SELECT ON watch.events TO segwatch_analyst, segwatch_worker;

COMMENT ON VIEW watch.events IS
    'Events of the feeds and those sent over HTTP, in their newest revision. Over HTTP only readers of all watches see them.';
COMMENT ON COLUMN watch.events.event_id IS
    'Id of this revision of the event.';
COMMENT ON COLUMN watch.events.source IS
    'Who published it, such as gdacs or usgs.';
COMMENT ON COLUMN watch.events.external_id IS
    'Id that the publisher gave it; the same in all revisions.';
COMMENT ON COLUMN watch.events.kind IS
    'earthquake, flood, wildfire, cyclone, volcano, landslide, oil_spill, drought or tsunami.';
COMMENT ON COLUMN watch.events.title IS
    'Title in the publisher''s words.';
COMMENT ON COLUMN watch.events.occurred_at IS
    'When it began, UTC; null if the publisher does not say.';
COMMENT ON COLUMN watch.events.ended_at IS
    'When it ended, UTC; null while it goes on or if the publisher does not say.';
COMMENT ON COLUMN watch.events.level IS
    'green, yellow, orange or red, as published; null if the publisher gives no level.';
COMMENT ON COLUMN watch.events.magnitude IS
    'Magnitude in magnitude_unit; null if the publisher gives none.';
COMMENT ON COLUMN watch.events.magnitude_unit IS
    'Unit or scale of the magnitude.';
COMMENT ON COLUMN watch.events.population IS
    'People in the affected area, as the publisher estimates; null if it does not.';
COMMENT ON COLUMN watch.events.cancelled IS
    'Whether the publisher withdrew it.';
COMMENT ON COLUMN watch.events.link IS
    'Page of the publisher about it.';
COMMENT ON COLUMN watch.events.recorded_at IS
    'When this revision was recorded, UTC.';
COMMENT ON COLUMN watch.events.geom IS
    'Point or affected area; null if the publisher gives none. EPSG:4326.';
