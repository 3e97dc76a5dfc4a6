-- Mapbox vector tile of the objects of a watch at a time, with up to five layers:
--   objects  outlines, largest first, generalised below half a pixel; `shows` is the state that the map colours, `change`
--            the kind of the change that happened at that very time, `gone` whether the object is no longer there,
--            `status` and `confidence` are of the object, `change_status` and `change_confidence` of the change it shows
--   dots     objects smaller than three pixels or beyond `most` outlines, counted in cells of four pixels: none is dropped
--   summary  one point: how many objects have the lower left corner of their bounding box in this tile, how many of
--            them are drawn as outlines, and how many are refuted, or show a refuted change; sums over tiles count every
--            object once
--   cut      one point where fewer outlines than objects are drawn: `shown` outlines `of` objects
--   unseen   ground of the AOI that the latest scene up to that time did not observe
-- As known at `known_at`; infinity = now. Planned anew for each tile: the number of rows in a bounding box differs by
-- orders of magnitude between zooms. Rows of other series are left out by their observation, without a join: only
-- outlines need their track.
CREATE OR REPLACE FUNCTION watch.objects_tile(watch text, at timestamptz, z int, x int, y int, most int DEFAULT 2000,
                                              known_at timestamptz DEFAULT 'infinity')
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
    series_ids CONSTANT uuid[] := ARRAY(
        SELECT f.series_id FROM segwatch.series_in_force(objects_tile.known_at) f
        WHERE f.watch_name = objects_tile.watch AND f.valid @> objects_tile.at);
    observation_ids CONSTANT uuid[] := ARRAY(
        SELECT o.id FROM segwatch.observation o WHERE o.series_id = ANY(series_ids));
    -- those that states of this very time began with
    fresh_ids CONSTANT uuid[] := ARRAY(
        SELECT o.id FROM segwatch.observation o
        WHERE o.series_id = ANY(series_ids) AND o.acquired_at = objects_tile.at);
    -- after the last observation only states without end are in force, and these have an index
    latest CONSTANT bool := as_now AND NOT EXISTS (
        SELECT 1 FROM segwatch.observation o
        WHERE o.series_id = ANY(series_ids) AND o.state = 'observed' AND o.acquired_at > objects_tile.at);
    aoi_at CONSTANT timestamptz := least(objects_tile.at, objects_tile.known_at, now());
    is_narrowed CONSTANT bool := EXISTS (
        SELECT 1 FROM segwatch.narrowed_area n
        WHERE n.watch_name = objects_tile.watch AND n.since <= aoi_at AND (n.until IS NULL OR n.until > aoi_at));
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
        SELECT h.track_id, h.observation_id, h.geom, h.area_m2, h.score, lower(h.valid) AS since,
               lower(h.valid) = objects_tile.at AS fresh, h.change, h.alive, h.verdict, h.confidence, h.status,
               -- the box that PostGIS stores with the outline: measuring outlines took a third of the time
               ST_XMin(h.geom::box2d) AS x0, ST_YMin(h.geom::box2d) AS y0,
               ST_XMax(h.geom::box2d) AS x1, ST_YMax(h.geom::box2d) AS y1
        FROM segwatch.held_state h
        WHERE h.observation_id = ANY(observation_ids) AND (NOT as_now OR upper_inf(h.known) AND upper_inf(h.recorded))
          AND (as_now OR h.recorded @> objects_tile.known_at)
          AND (NOT latest OR upper_inf(h.valid)) AND (latest OR h.valid @> objects_tile.at) AND h.geom && searched
          AND (h.alive OR h.merged_into IS NULL)
          -- without objects wholly outside the AOI of that time, as in watch.objects_as_of
          AND (NOT is_narrowed OR NOT EXISTS (
              SELECT 1 FROM segwatch.narrowed_area n
              WHERE n.watch_name = objects_tile.watch AND n.since <= aoi_at AND (n.until IS NULL OR n.until > aoi_at)
                AND (NOT ST_Intersects(h.geom, n.geom) OR ST_Touches(h.geom, n.geom))))
        -- read each box once, not for each use of a corner
        OFFSET 0
    ), shown AS MATERIALIZED (
        SELECT b.track_id, b.area_m2, b.score, b.since, b.alive, b.verdict, b.confidence, b.status, b.x0, b.y0, v.visible,
               b.x0 >= west AND b.x0 < east AND b.y0 >= south AND b.y0 < north AS here,
               -- dots keep no outline: a hundred thousand of them would spill to disk
               CASE WHEN v.visible THEN b.geom END AS geom, b.y1 > 85.06 OR b.y0 < -85.06 AS polar,
               CASE WHEN NOT b.fresh THEN NULL WHEN g.baseline THEN 'baseline' ELSE b.change END AS kind,
               CASE WHEN NOT b.alive AND b.fresh THEN 'disappeared' WHEN NOT b.alive THEN 'gone'
                    WHEN NOT b.fresh OR b.change IS NULL THEN 'as before'
                    WHEN g.baseline THEN 'baseline'
                    ELSE b.change END AS shows, g.status AS change_status, g.confidence AS change_confidence
        FROM boxed b
        LEFT JOIN began g ON b.fresh AND g.track_id = b.track_id AND g.observation_id = b.observation_id
                             AND g.kind = b.change
        CROSS JOIN LATERAL (
            SELECT greatest((b.x1 - b.x0) / pixel, (b.y1 - b.y0) / pixel_north) >= 3 AS visible) v
    ), chosen AS MATERIALIZED (
        SELECT s.* FROM shown s WHERE s.visible ORDER BY s.area_m2 DESC, s.track_id LIMIT objects_tile.most
    ), last_outlined AS (
        -- the smallest of them; all smaller ones become dots
        SELECT c.area_m2, c.track_id FROM chosen c ORDER BY c.area_m2, c.track_id DESC LIMIT 1
    ), outlines AS (
        SELECT c.track_id::text, k.target, c.area_m2, c.score, c.since::text, c.verdict AS review,
               c.confidence, c.status, c.change_confidence, c.change_status, c.kind AS change, NOT c.alive AS gone,
               -- tell objects unchanged since their ground was first observed from those that changed earlier
               CASE WHEN c.shows = 'as before' AND NOT EXISTS (
                        SELECT 1 FROM segwatch.held_change e
                        WHERE e.track_id = c.track_id AND NOT e.baseline
                          AND (e.retracted_at IS NULL OR e.retracted_at > objects_tile.known_at)
                          AND e.recorded_at <= objects_tile.known_at
                          AND e.status IS DISTINCT FROM 'refuted' AND e.valid_at <= objects_tile.at)
                    THEN 'baseline' ELSE c.shows END AS shows,
               ST_AsMVTGeom(ST_Transform(ST_Simplify(
                   CASE WHEN c.polar
                        THEN ST_ClipByBox2D(c.geom, ST_MakeEnvelope(-180, -85.06, 180, 85.06, 4326)::box2d)
                        ELSE c.geom END,
                   pixel_north / 2, true), 3857), bounds, 4096, 64, true) AS geom
        FROM chosen c
        JOIN segwatch.track k ON k.id = c.track_id
    ), counted AS MATERIALIZED (
        SELECT r.shows, r.status, r.change_status, count(*) AS objects, sum(r.area_m2) AS area_m2,
               avg(r.x0) AS x0, avg(r.y0) AS y0
        FROM shown r LEFT JOIN last_outlined l ON true
        WHERE r.here AND (l.area_m2 IS NULL OR NOT r.visible OR r.area_m2 < l.area_m2
                          OR r.area_m2 = l.area_m2 AND r.track_id > l.track_id)
        GROUP BY r.shows, r.status, r.change_status, floor((r.x0 - west) / (4 * pixel)),
                 floor((r.y0 - south) / (4 * pixel_north))
    ), dots AS (
        SELECT d.shows, d.status, d.change_status, d.objects, d.area_m2,
               -- web mercator, in units of the tile, y down: a point need not go through PROJ
               ST_MakePoint(round(4096 * ((d.x0 + 180) / 360 * tiles - objects_tile.x)),
                            round(4096 * ((1 - asinh(tan(radians(d.y0))) / pi()) / 2 * tiles - objects_tile.y))) AS geom
        FROM counted d
    ), summary AS MATERIALIZED (
        SELECT concat_ws('/', objects_tile.z, objects_tile.x, objects_tile.y) AS tile,
               coalesce(sum(n.objects) FILTER (WHERE n.alive), 0)::int8 AS objects,
               coalesce(sum(n.objects) FILTER (WHERE n.alive AND n.outlined), 0)::int8 AS outlined,
               coalesce(sum(n.objects) FILTER (WHERE n.refuted), 0)::int8 AS refuted,
               ST_AsMVTGeom(ST_Centroid(bounds), bounds, 4096, 0) AS geom
        FROM (SELECT d.objects, false AS outlined, d.shows NOT IN ('gone', 'disappeared') AS alive,
                     'refuted' IN (d.status, d.change_status) AS refuted
              FROM counted d
              UNION ALL
              SELECT 1, true, c.alive, 'refuted' IN (c.status, c.change_status) FROM chosen c WHERE c.here) n
    ), cut AS (
        SELECT s.tile, s.outlined AS shown, s.objects AS of, s.geom FROM summary s WHERE s.outlined < s.objects
    )
    SELECT coalesce((SELECT ST_AsMVT(o.*, 'objects', 4096, 'geom' ORDER BY o.area_m2 DESC, o.track_id)
                     FROM outlines o WHERE o.geom IS NOT NULL), '')
        || coalesce((SELECT ST_AsMVT(d.*, 'dots', 4096, 'geom') FROM dots d), '')
        || coalesce((SELECT ST_AsMVT(m.*, 'summary', 4096, 'geom') FROM summary m), '')
        || coalesce((SELECT ST_AsMVT(c.*, 'cut', 4096, 'geom') FROM cut c), '')
    INTO encoded;
    RETURN encoded || segwatch.encode_unseen(
        series_ids, objects_tile.at, objects_tile.known_at, searched, bounds, pixel_north);
END
$$;

REVOKE ALL ON FUNCTION watch.objects_tile FROM PUBLIC;
GRANT EXECUTE ON FUNCTION watch.objects_tile TO segwatch_analyst, segwatch_worker;

COMMENT ON FUNCTION watch.objects_tile IS
    'Vector tile (MVT) of the objects of a watch at a time, as known at known_at (infinity: now): outlines (largest first), dots for objects smaller than three pixels, a summary of how many are drawn, and the ground that the latest scene until then did not observe.';
