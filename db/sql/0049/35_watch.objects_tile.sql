-- Mapbox vector tile of the objects of a watch at a time, with up to five layers:
--   objects  outlines, largest first, generalised below half a pixel; `shows` is the state that the map colours, `change`
--            the kind of the change that happened at that very time, `gone` whether the object is no longer there,
--            `status` and `confidence` are of the object, `change_status` and `change_confidence` of the change it shows
--   dots     objects smaller than three pixels or beyond `most` outlines, counted in cells of four pixels: none is dropped
--   summary  one point: how many objects have the lower left corner of their bounding box in this tile, how many of
--            them are drawn as outlines, and how many are refuted, or show a refuted change; sums over tiles count every
--            object once; `features`: how many features the layer `objects` has, of all times
--   cut      one point where fewer outlines than objects are drawn: `shown` outlines `of` objects
--   unseen   ground of the AOI that the latest scene up to that time did not observe
-- As known at `known_at`; infinity = now. With `since`, of every scene from then until `at`: each feature then holds from
-- `begin` (inclusive) until `end` (exclusive), milliseconds since 1970, so that a map steps through the dates by a filter;
-- an object has a feature for each state, and one more for the scene that the state began with. Planned anew for each
-- tile: the number of rows in a bounding box differs by orders of magnitude between zooms. Rows of other series are left
-- out by their observation, without a join: only outlines need their track.
CREATE OR REPLACE FUNCTION watch.objects_tile(watch text, at timestamptz, z int, x int, y int, most int DEFAULT 2000,
                                              known_at timestamptz DEFAULT 'infinity', since timestamptz DEFAULT NULL)
RETURNS bytea
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = segwatch, public, pg_temp SET plan_cache_mode = force_custom_plan SET work_mem = '32MB' AS $$
DECLARE
    tiles CONSTANT float8 := 2.0 ^ z;
    margin CONSTANT float8 := 64.0 / 4096;
    west CONSTANT float8 := objects_tile.x / tiles * 360 - 180;
    east CONSTANT float8 := (objects_tile.x + 1) / tiles * 360 - 180;
    north CONSTANT float8 := degrees(atan(sinh(pi() * (1 - 2 * objects_tile.y / tiles))));
    south CONSTANT float8 := degrees(atan(sinh(pi() * (1 - 2 * (objects_tile.y + 1) / tiles))));
    bounds CONSTANT geometry := ST_TileEnvelope(objects_tile.z, objects_tile.x, objects_tile.y);
    searched CONSTANT geometry := ST_MakeEnvelope(
        greatest(-180, west - margin * 360 / tiles), greatest(-85.06, south - margin * (north - south)),
        least(180, east + margin * 360 / tiles), least(85.06, north + margin * (north - south)), 4326);
    -- a tile has 512 pixels; degrees
    pixel CONSTANT float8 := 360 / tiles / 512;
    pixel_north CONSTANT float8 := pixel * cos(radians((south + north) / 2));
    as_now CONSTANT bool := objects_tile.known_at = 'infinity';
    spans CONSTANT bool := objects_tile.since IS NOT NULL;
    first CONSTANT timestamptz := least(objects_tile.since, objects_tile.at);  -- least ignores null
    series_ids CONSTANT uuid[] := ARRAY(
        SELECT f.series_id FROM segwatch.series_in_force(objects_tile.known_at) f
        WHERE f.watch_name = objects_tile.watch AND f.valid && tstzrange(first, objects_tile.at, '[]')
        ORDER BY lower(f.valid) NULLS FIRST);
    -- when each of them is in force
    valids CONSTANT tstzrange[] := ARRAY(
        SELECT f.valid FROM segwatch.series_in_force(objects_tile.known_at) f
        WHERE f.watch_name = objects_tile.watch AND f.series_id = ANY(series_ids)
        ORDER BY lower(f.valid) NULLS FIRST);
    one_series CONSTANT bool := coalesce(cardinality(series_ids), 0) <= 1;
    observation_ids CONSTANT uuid[] := ARRAY(
        SELECT o.id FROM segwatch.observation o WHERE o.series_id = ANY(series_ids));
    -- those that states of these very times began with
    fresh_ids CONSTANT uuid[] := ARRAY(
        SELECT o.id FROM segwatch.observation o
        WHERE o.series_id = ANY(series_ids) AND o.acquired_at BETWEEN first AND objects_tile.at);
    -- when something may look different: at the begin, at each scene, and where another series or AOI takes over
    moments CONSTANT timestamptz[] := ARRAY(
        SELECT first
        UNION SELECT o.acquired_at FROM segwatch.observation o
        WHERE spans AND o.series_id = ANY(series_ids) AND o.acquired_at BETWEEN first AND objects_tile.at
        UNION SELECT lower(u.valid) FROM unnest(valids) u(valid) WHERE lower(u.valid) BETWEEN first AND objects_tile.at
        UNION SELECT e.at FROM segwatch.narrowed_area n CROSS JOIN LATERAL (VALUES (n.since), (n.until)) e(at)
        WHERE n.watch_name = objects_tile.watch AND e.at BETWEEN first AND objects_tile.at
        ORDER BY 1);
    -- after the last observation only states without end are in force, and these have an index
    latest CONSTANT bool := as_now AND NOT EXISTS (
        SELECT 1 FROM segwatch.observation o
        WHERE o.series_id = ANY(series_ids) AND o.state = 'observed' AND o.acquired_at > first);
    -- the AOI is that of the time, as far as it was known
    aoi_until CONSTANT timestamptz := least(objects_tile.known_at, now());
    is_narrowed CONSTANT bool := EXISTS (
        SELECT 1 FROM segwatch.narrowed_area n
        WHERE n.watch_name = objects_tile.watch AND n.since <= least(objects_tile.at, aoi_until)
          AND (n.until IS NULL OR n.until > least(first, aoi_until)));
    encoded bytea;
BEGIN
    WITH began AS (
        -- the changes that states of this very time began with
        SELECT DISTINCT ON (c.track_id, c.observation_id, c.kind)
               c.track_id, c.observation_id, c.kind, c.baseline, j.status, j.confidence
        FROM segwatch.change c
        LEFT JOIN LATERAL (
            SELECT n.status, n.confidence FROM segwatch.change_judgement n
            WHERE NOT c.baseline AND n.change_id = c.id AND (NOT as_now OR upper_inf(n.recorded))
              AND (as_now OR n.recorded @> objects_tile.known_at)
            ORDER BY n.acquired_at DESC, n.scene_id DESC LIMIT 1) j ON true
        WHERE c.observation_id = ANY(fresh_ids) AND c.geom && searched AND c.recorded_at <= objects_tile.known_at
        ORDER BY c.track_id, c.observation_id, c.kind,
                 c.retracted_at <= objects_tile.known_at IS TRUE, c.baseline DESC
    ), boxed AS (
        SELECT h.track_id, h.observation_id, h.geom, h.area_m2, h.score, lower(h.valid) AS since, v.since AS shown_since,
               v.until AS shown_until, h.change, h.alive, h.verdict, h.confidence, h.status,
               -- the box that PostGIS stores with the outline: measuring outlines took a third of the time
               ST_XMin(h.geom::box2d) AS x0, ST_YMin(h.geom::box2d) AS y0,
               ST_XMax(h.geom::box2d) AS x1, ST_YMax(h.geom::box2d) AS y1
        FROM segwatch.held_state h
        -- while its series is in force, without the times whose AOI it lies wholly outside, as in watch.objects_as_of
        CROSS JOIN LATERAL (
            SELECT lower(h.valid) AS since, upper(h.valid) AS until WHERE one_series AND NOT is_narrowed
            UNION ALL
            SELECT lower(p.part), upper(p.part)
            FROM unnest(
                (SELECT range_agg(h.valid * u.valid) FROM unnest(series_ids, valids) u(series_id, valid)
                 JOIN segwatch.observation o ON o.series_id = u.series_id WHERE o.id = h.observation_id)
                - coalesce((
                    SELECT range_agg(tstzrange(n.since, CASE WHEN n.until <= aoi_until THEN n.until END))
                    FROM segwatch.narrowed_area n
                    WHERE n.watch_name = objects_tile.watch AND n.since <= aoi_until
                      AND (NOT ST_Intersects(h.geom, n.geom) OR ST_Touches(h.geom, n.geom))),
                    '{}'::tstzmultirange)) p(part)
            WHERE NOT one_series OR is_narrowed) v
        WHERE h.observation_id = ANY(observation_ids) AND (NOT as_now OR upper_inf(h.known) AND upper_inf(h.recorded))
          AND (as_now OR h.recorded @> objects_tile.known_at)
          AND (NOT latest OR upper_inf(h.valid)) AND h.geom && searched
          AND (v.since IS NULL OR v.since <= objects_tile.at) AND (v.until IS NULL OR v.until > first)
          AND (h.alive OR h.merged_into IS NULL)
        -- read each box once, not for each use of a corner
        OFFSET 0
    ), shown AS MATERIALIZED (
        SELECT b.track_id, b.area_m2, b.score, b.since, b.alive, b.verdict, b.confidence, b.status, b.x0, b.y0, v.visible,
               t.begin, t."end",
               b.x0 >= west AND b.x0 < east AND b.y0 >= south AND b.y0 < north AS here,
               -- dots keep no outline: a hundred thousand of them would spill to disk
               CASE WHEN v.visible THEN b.geom END AS geom, b.y1 > 85.06 OR b.y0 < -85.06 AS polar,
               CASE WHEN NOT t.fresh THEN NULL WHEN g.baseline THEN 'baseline' ELSE b.change END AS kind,
               CASE WHEN NOT b.alive AND t.fresh THEN 'disappeared' WHEN NOT b.alive THEN 'gone'
                    WHEN NOT t.fresh OR b.change IS NULL THEN 'as before'
                    WHEN g.baseline THEN 'baseline'
                    ELSE b.change END AS shows, g.status AS change_status, g.confidence AS change_confidence
        FROM boxed b
        -- at the time that the state began with, and after it
        CROSS JOIN LATERAL (
            SELECT true AS fresh, CASE WHEN spans THEN segwatch.to_milliseconds(b.since) END AS begin,
                   CASE WHEN spans THEN segwatch.to_milliseconds(b.since) + 1 END AS "end"
            WHERE b.since >= first AND b.since >= b.shown_since
            UNION ALL
            SELECT false,
                   CASE WHEN spans THEN greatest(segwatch.to_milliseconds(first), segwatch.to_milliseconds(b.since) + 1,
                                                 segwatch.to_milliseconds(b.shown_since)) END,
                   CASE WHEN spans THEN least(segwatch.to_milliseconds(objects_tile.at) + 1,
                                              segwatch.to_milliseconds(b.shown_until)) END
            WHERE b.since < objects_tile.at) t
        LEFT JOIN began g ON t.fresh AND g.track_id = b.track_id AND g.observation_id = b.observation_id
                             AND g.kind = b.change
        CROSS JOIN LATERAL (
            SELECT greatest((b.x1 - b.x0) / pixel, (b.y1 - b.y0) / pixel_north) >= 3 AS visible) v
        WHERE NOT spans OR t.begin < t."end"
    ), outlined AS MATERIALIZED (
        SELECT s.track_id FROM shown s WHERE s.visible
        GROUP BY s.track_id ORDER BY max(s.area_m2) DESC, s.track_id LIMIT objects_tile.most
    ), chosen AS MATERIALIZED (
        SELECT s.* FROM shown s JOIN outlined u ON u.track_id = s.track_id WHERE s.visible
    ), outlines AS (
        SELECT c.track_id::text, k.target, c.area_m2, c.score, c.since::text, c.verdict AS review,
               c.confidence, c.status, c.change_confidence, c.change_status, c.kind AS change, NOT c.alive AS gone,
               c.begin, c."end",
               -- tell objects unchanged since their ground was first observed from those that changed earlier
               CASE WHEN c.shows = 'as before' AND NOT EXISTS (
                        SELECT 1 FROM segwatch.held_change e
                        WHERE e.track_id = c.track_id AND NOT e.baseline
                          AND (e.retracted_at IS NULL OR e.retracted_at > objects_tile.known_at)
                          AND e.recorded_at <= objects_tile.known_at
                          AND e.status IS DISTINCT FROM 'refuted'
                          AND e.valid_at <= CASE WHEN spans THEN c.since ELSE objects_tile.at END)
                    THEN 'baseline' ELSE c.shows END AS shows,
               ST_AsMVTGeom(ST_Transform(ST_Simplify(
                   CASE WHEN c.polar
                        THEN ST_ClipByBox2D(c.geom, ST_MakeEnvelope(-180, -85.06, 180, 85.06, 4326)::box2d)
                        ELSE c.geom END,
                   pixel_north / 2, true), 3857), bounds, 4096, 64, true) AS geom
        FROM chosen c
        JOIN segwatch.track k ON k.id = c.track_id
    ), counted AS MATERIALIZED (
        SELECT r.shows, r.status, r.change_status, r.begin, r."end", floor((r.x0 - west) / (4 * pixel)) AS col,
               floor((r.y0 - south) / (4 * pixel_north)) AS row, count(*) AS objects, sum(r.area_m2) AS area_m2,
               sum(r.x0) AS x0, sum(r.y0) AS y0
        FROM shown r LEFT JOIN outlined u ON r.visible AND u.track_id = r.track_id
        WHERE r.here AND u.track_id IS NULL
        GROUP BY r.shows, r.status, r.change_status, r.begin, r."end", 6, 7
    ), steps AS (
        -- how the count of a cell rises and falls with time
        SELECT c.shows, c.status, c.change_status, c.col, c.row, e.at, sum(e.sign * c.objects) AS objects,
               sum(e.sign * c.area_m2) AS area_m2, sum(c.x0) FILTER (WHERE e.sign > 0) AS x0,
               sum(c.y0) FILTER (WHERE e.sign > 0) AS y0, sum(c.objects) FILTER (WHERE e.sign > 0) AS added
        FROM counted c CROSS JOIN LATERAL (VALUES (c.begin, 1), (c."end", -1)) e(at, sign)
        WHERE spans
        GROUP BY c.shows, c.status, c.change_status, c.col, c.row, e.at
    ), cells AS (
        SELECT c.shows, c.status, c.change_status, c.begin, c."end", c.objects, c.area_m2, c.x0 / c.objects AS x0,
               c.y0 / c.objects AS y0
        FROM counted c WHERE NOT spans
        UNION ALL
        -- one dot at a time, in one place: the mean of all of its objects
        SELECT s.shows, s.status, s.change_status, s.at, lead(s.at) OVER later, CAST(sum(s.objects) OVER later AS bigint),
               sum(s.area_m2) OVER later, sum(s.x0) OVER cell / sum(s.added) OVER cell,
               sum(s.y0) OVER cell / sum(s.added) OVER cell
        FROM steps s
        WINDOW cell AS (PARTITION BY s.shows, s.status, s.change_status, s.col, s.row), later AS (cell ORDER BY s.at)
    ), dots AS (
        SELECT d.shows, d.status, d.change_status, d.begin, d."end", d.objects, d.area_m2,
               -- web mercator, in units of the tile, y down: a point need not go through PROJ
               ST_MakePoint(round(4096 * ((d.x0 + 180) / 360 * tiles - objects_tile.x)),
                            round(4096 * ((1 - asinh(tan(radians(d.y0))) / pi()) / 2 * tiles - objects_tile.y))) AS geom
        FROM cells d WHERE d.objects > 0
    ), runs AS MATERIALIZED (
        SELECT n.begin, n."end", sum(n.objects) FILTER (WHERE n.alive) AS objects,
               sum(n.objects) FILTER (WHERE n.alive AND n.outlined) AS outlined,
               sum(n.objects) FILTER (WHERE n.refuted) AS refuted
        FROM (SELECT d.begin, d."end", d.objects, false AS outlined, d.shows NOT IN ('gone', 'disappeared') AS alive,
                     'refuted' IN (d.status, d.change_status) AS refuted
              FROM counted d
              UNION ALL
              SELECT c.begin, c."end", 1, true, c.alive, 'refuted' IN (c.status, c.change_status)
              FROM chosen c WHERE c.here) n
        GROUP BY n.begin, n."end"
    ), scenes AS (
        SELECT CASE WHEN spans THEN m.begin END AS begin,
               CASE WHEN spans THEN
                   coalesce(lead(m.begin) OVER (ORDER BY m.begin), segwatch.to_milliseconds(objects_tile.at) + 1) END AS "end"
        FROM (SELECT DISTINCT segwatch.to_milliseconds(u.at) AS begin FROM unnest(moments) u(at)) m
    ), summary AS MATERIALIZED (
        SELECT concat_ws('/', objects_tile.z, objects_tile.x, objects_tile.y) AS tile, s.begin, s."end",
               coalesce(sum(r.objects), 0)::int8 AS objects, coalesce(sum(r.outlined), 0)::int8 AS outlined,
               coalesce(sum(r.refuted), 0)::int8 AS refuted, (SELECT count(*) FROM chosen) AS features,
               ST_AsMVTGeom(ST_Centroid(bounds), bounds, 4096, 0) AS geom
        FROM scenes s LEFT JOIN runs r ON NOT spans OR r.begin <= s.begin AND r."end" > s.begin
        GROUP BY s.begin, s."end"
    ), cut AS (
        SELECT s.tile, s.begin, s."end", s.outlined AS shown, s.objects AS of, s.geom
        FROM summary s WHERE s.outlined < s.objects
    )
    SELECT coalesce((SELECT ST_AsMVT(o.*, 'objects', 4096, 'geom' ORDER BY o.area_m2 DESC, o.track_id)
                     FROM outlines o WHERE o.geom IS NOT NULL), '')
        || coalesce((SELECT ST_AsMVT(d.*, 'dots', 4096, 'geom') FROM dots d), '')
        || coalesce((SELECT ST_AsMVT(m.*, 'summary', 4096, 'geom') FROM summary m), '')
        || coalesce((SELECT ST_AsMVT(c.*, 'cut', 4096, 'geom') FROM cut c), '')
    INTO encoded;
    RETURN encoded || segwatch.encode_unseen(
        series_ids, valids, CASE WHEN spans THEN moments ELSE ARRAY[objects_tile.at] END, objects_tile.known_at, searched,
        bounds, pixel_north, CASE WHEN spans THEN objects_tile.at END);
END
$$;

REVOKE ALL ON FUNCTION watch.objects_tile FROM PUBLIC;
GRANT EXECUTE ON FUNCTION watch.objects_tile TO segwatch_analyst, segwatch_worker;

COMMENT ON FUNCTION watch.objects_tile IS
    'Vector tile (MVT) of the objects of a watch at a time, or with since of every scene from then on, as known at known_at (infinity: now): outlines (largest first), dots for objects smaller than three pixels, a summary of how many are drawn, and the ground that the latest scene until then did not observe.';
