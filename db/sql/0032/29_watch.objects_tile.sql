-- Mapbox vector tile of the objects of a watch at a time, as known now, with three layers:
--   objects  outlines, largest first, simplified below half a pixel; `shows` is the state that the map colours, `status`
--            and `confidence` are of the object, `change_status` and `change_confidence` of the change that it shows
--   dots     objects smaller than a pixel or beyond `most` outlines, counted in cells of four pixels: nothing is dropped
--   summary  one point: how many objects have the lower left corner of their bounding box in this tile, how many of
--            them are drawn as outlines, and how many are refuted, or show a refuted change; sums over tiles count every
--            object once
-- Planned anew for each tile: the number of rows in a bounding box differs by orders of magnitude between zooms.
CREATE OR REPLACE FUNCTION watch.objects_tile(watch text, at timestamptz, z int, x int, y int, most int DEFAULT 5000)
RETURNS bytea
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = segwatch, public, pg_temp SET plan_cache_mode = force_custom_plan AS $$
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
    series_ids CONSTANT uuid[] := ARRAY(
        SELECT f.series_id FROM segwatch.series_in_force('infinity') f
        WHERE f.watch_name = objects_tile.watch AND f.valid @> objects_tile.at);
    -- after the last observation only states without end are in force, and these have an index
    latest CONSTANT bool := NOT EXISTS (
        SELECT 1 FROM segwatch.observation o
        WHERE o.series_id = ANY(series_ids) AND o.state = 'observed' AND o.acquired_at > objects_tile.at);
    encoded bytea;
BEGIN
    WITH boxed AS (
        SELECT h.track_id, h.observation_id, k.target, h.geom, h.area_m2, h.score, lower(h.valid) AS since,
               lower(h.valid) = objects_tile.at AS fresh, h.change, h.alive, h.verdict, h.confidence, h.status,
               CAST(CAST(h.geom AS box2d) AS box3d) AS box
        FROM segwatch.held_state h
        JOIN segwatch.track k ON k.id = h.track_id
        WHERE k.series_id = ANY(series_ids) AND upper_inf(h.known) AND upper_inf(h.recorded)
          AND (NOT latest OR upper_inf(h.valid)) AND (latest OR h.valid @> objects_tile.at) AND h.geom && searched
          AND (h.alive OR h.merged_into IS NULL)
          -- without objects wholly outside the AOI of that time, as in watch.objects_as_of
          AND NOT EXISTS (SELECT 1 FROM segwatch.narrowed_area n WHERE n.watch_name = objects_tile.watch
                          AND n.since <= least(objects_tile.at, now())
                          AND (n.until IS NULL OR n.until > least(objects_tile.at, now()))
                          AND (NOT ST_Intersects(h.geom, n.geom) OR ST_Touches(h.geom, n.geom)))
    ), sized AS (
        SELECT b.*, ST_XMin(b.box) AS x0, ST_YMin(b.box) AS y0,
               greatest((ST_XMax(b.box) - ST_XMin(b.box)) / pixel, (ST_YMax(b.box) - ST_YMin(b.box)) / pixel_north) >= 1
                   AS visible
        FROM boxed b
    ), placed AS (
        SELECT s.track_id, s.target, s.area_m2, s.score, s.since, s.alive, s.verdict, s.confidence, s.status,
               s.visible, s.x0, s.y0,
               s.x0 >= west AND s.x0 < east AND s.y0 >= south AND s.y0 < north AS here,
               -- dots keep no outline: a hundred thousand of them would spill to disk
               CASE WHEN s.visible THEN s.geom END AS geom, ST_YMax(s.box) > 85.06 OR s.y0 < -85.06 AS polar,
               CASE WHEN NOT s.alive AND s.fresh THEN 'disappeared' WHEN NOT s.alive THEN 'gone'
                    WHEN NOT s.fresh OR s.change IS NULL THEN 'as before'
                    WHEN l.baseline THEN 'baseline'
                    ELSE s.change END AS shows, l.status AS change_status, l.confidence AS change_confidence
        FROM sized s
        LEFT JOIN LATERAL (
            SELECT c.baseline, j.status, j.confidence
            FROM segwatch.change c
            LEFT JOIN LATERAL (
                SELECT n.status, n.confidence FROM segwatch.change_judgement n
                WHERE n.change_id = c.id AND upper_inf(n.recorded)
                ORDER BY n.acquired_at DESC, n.scene_id DESC LIMIT 1) j ON true
            WHERE c.track_id = s.track_id AND c.observation_id = s.observation_id AND c.kind = s.change
            ORDER BY c.retracted_at IS NOT NULL, c.baseline DESC LIMIT 1) l ON s.fresh
    ), ranked AS MATERIALIZED (
        SELECT p.*, p.visible AND row_number() OVER (PARTITION BY p.visible ORDER BY p.area_m2 DESC, p.track_id)
                                  <= objects_tile.most AS outlined
        FROM placed p
    ), outlines AS (
        SELECT p.track_id::text, p.target, p.area_m2, p.score, p.since::text, p.verdict AS review,
               p.confidence, p.status, p.change_confidence, p.change_status,
               -- tell objects unchanged since their ground was first observed from those that changed earlier
               CASE WHEN p.shows = 'as before' AND NOT EXISTS (
                        SELECT 1 FROM segwatch.held_change c
                        WHERE c.track_id = p.track_id AND NOT c.baseline AND c.retracted_at IS NULL
                          AND c.status IS DISTINCT FROM 'refuted' AND c.valid_at <= objects_tile.at)
                    THEN 'baseline' ELSE p.shows END AS shows,
               ST_AsMVTGeom(ST_Transform(ST_Simplify(
                   CASE WHEN p.polar
                        THEN ST_ClipByBox2D(p.geom, ST_MakeEnvelope(-180, -85.06, 180, 85.06, 4326)::box2d)
                        ELSE p.geom END,
                   pixel_north / 2, true), 3857), bounds, 4096, 64, true) AS geom
        FROM ranked p
        WHERE p.outlined
    ), dots AS (
        SELECT p.shows, p.status, p.change_status, count(*) AS objects, sum(p.area_m2) AS area_m2,
               ST_AsMVTGeom(ST_Transform(ST_SetSRID(ST_MakePoint(avg(p.x0), avg(p.y0)), 4326), 3857), bounds, 4096, 0)
                   AS geom
        FROM ranked p
        WHERE p.here AND NOT p.outlined
        GROUP BY p.shows, p.status, p.change_status, floor((p.x0 - west) / (4 * pixel)),
                 floor((p.y0 - south) / (4 * pixel_north))
    ), summary AS (
        SELECT concat_ws('/', objects_tile.z, objects_tile.x, objects_tile.y) AS tile,
               count(*) FILTER (WHERE p.here AND p.alive) AS objects,
               count(*) FILTER (WHERE p.here AND p.alive AND p.outlined) AS outlined,
               count(*) FILTER (WHERE p.here AND 'refuted' IN (p.status, p.change_status)) AS refuted,
               ST_AsMVTGeom(ST_Centroid(bounds), bounds, 4096, 0) AS geom
        FROM ranked p
    )
    SELECT coalesce((SELECT ST_AsMVT(o.*, 'objects', 4096, 'geom' ORDER BY o.area_m2 DESC, o.track_id)
                     FROM outlines o WHERE o.geom IS NOT NULL), '')
        || coalesce((SELECT ST_AsMVT(d.*, 'dots', 4096, 'geom') FROM dots d), '')
        || coalesce((SELECT ST_AsMVT(m.*, 'summary', 4096, 'geom') FROM summary m), '')
    INTO encoded;
    RETURN encoded;
END
$$;

REVOKE ALL ON FUNCTION watch.objects_tile FROM PUBLIC;
GRANT EXECUTE ON FUNCTION watch.objects_tile TO segwatch_analyst, segwatch_worker;

COMMENT ON FUNCTION watch.objects_tile IS
    'Vector tile (MVT) of the objects of a watch at a time, as known now: outlines (largest first), dots for objects smaller than a pixel, and a summary of how many are drawn.';
