-- What changed between two times, summed.
CREATE OR REPLACE FUNCTION watch.compare(watch text, since timestamptz, until timestamptz, bbox geometry DEFAULT NULL)
RETURNS TABLE (target text, change text, status text, objects bigint, area_m2 float8, difference_m2 float8)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 50 SET search_path = segwatch, public, pg_temp AS $$
    SELECT c.target, c.change, c.status, count(*), sum(coalesce(c.area_to_m2, c.area_from_m2)),
           sum(coalesce(c.area_to_m2, 0) - coalesce(c.area_from_m2, 0))
    FROM segwatch.compare_objects(compare.watch, compare.since, compare.until, compare.bbox) c
    GROUP BY c.target, c.change, c.status ORDER BY c.target, c.change, c.status
$$;

REVOKE ALL ON FUNCTION watch.compare FROM PUBLIC;
GRANT EXECUTE ON FUNCTION watch.compare TO segwatch_analyst, segwatch_worker;

COMMENT ON FUNCTION watch.compare IS
    'What became of the objects of a watch between two times, as known now: number, area (at until, of what is gone at since) and difference of areas by target, change and status. The change is unchanged, or not seen where no observation in between looked at the object. With bbox (EPSG:4326), only objects whose bounding box meets it.';

-- Ground that the scenes of two times did not observe, square metres; null = there is no scene up to that time.
CREATE OR REPLACE FUNCTION watch.compare_ground(watch text, since timestamptz, until timestamptz, bbox geometry DEFAULT NULL)
RETURNS TABLE (area_m2 float8, not_seen_from_m2 float8, not_seen_to_m2 float8)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1 SET search_path = segwatch, public, pg_temp AS $$
    SELECT ST_Area(CAST(a.geom AS geography)),
           CASE WHEN f.seen THEN coalesce(ST_Area(CAST(ST_Intersection(u.since, a.geom) AS geography)), 0) END,
           CASE WHEN t.seen THEN coalesce(ST_Area(CAST(ST_Intersection(u.until, a.geom) AS geography)), 0) END
    FROM (SELECT segwatch.searched_area(compare_ground.watch, compare_ground.bbox) AS geom) a
    -- about a two thousandth of the width: exact enough for shares, and bounded however complex the clouds are
    CROSS JOIN LATERAL (SELECT sqrt(ST_Area(a.geom)) / 2048 AS step) g
    CROSS JOIN LATERAL (
        SELECT segwatch.unseen_at(compare_ground.watch, compare_ground.since, a.geom, g.step) AS since,
               segwatch.unseen_at(compare_ground.watch, compare_ground.until, a.geom, g.step) AS until) u
    CROSS JOIN LATERAL (SELECT segwatch.has_observation(compare_ground.watch, compare_ground.since) AS seen) f
    CROSS JOIN LATERAL (SELECT segwatch.has_observation(compare_ground.watch, compare_ground.until) AS seen) t
    WHERE a.geom IS NOT NULL AND NOT ST_IsEmpty(a.geom)
      AND ((SELECT segwatch.reads_all_watches())
           OR compare_ground.watch = ANY (CAST((SELECT segwatch.readable_watches()) AS text[])))
$$;

REVOKE ALL ON FUNCTION watch.compare_ground FROM PUBLIC;
GRANT EXECUTE ON FUNCTION watch.compare_ground TO segwatch_analyst, segwatch_worker;

COMMENT ON FUNCTION watch.compare_ground IS
    'Size of the AOI of a watch, or of its part in a bounding box (EPSG:4326), and how much of it the newest scenes up to two times did not observe, square metres; null where there is no scene up to that time.';

-- Vector tile with the layers `changes` (outlines, largest first), `dots` (smaller objects by change and status, counted in
-- cells of four pixels), `cut` (`shown` outlines `of` objects) and `unseen` (`when`: from, to or both).
CREATE OR REPLACE FUNCTION watch.compare_tile(watch text, since timestamptz, until timestamptz, z int, x int, y int,
                                              most int DEFAULT 2000)
RETURNS bytea
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = segwatch, public, pg_temp SET plan_cache_mode = force_custom_plan SET work_mem = '32MB' AS $$
DECLARE
    tiles CONSTANT float8 := 2.0 ^ z;
    margin CONSTANT float8 := 64.0 / 4096;
    west CONSTANT float8 := compare_tile.x / tiles * 360 - 180;
    east CONSTANT float8 := (compare_tile.x + 1) / tiles * 360 - 180;
    north CONSTANT float8 := degrees(atan(sinh(pi() * (1 - 2 * compare_tile.y / tiles))));
    south CONSTANT float8 := degrees(atan(sinh(pi() * (1 - 2 * (compare_tile.y + 1) / tiles))));
    bounds CONSTANT geometry := ST_TileEnvelope(compare_tile.z, compare_tile.x, compare_tile.y);
    searched CONSTANT geometry := ST_MakeEnvelope(
        greatest(-180, west - margin * 360 / tiles), greatest(-85.06, south - margin * (north - south)),
        least(180, east + margin * 360 / tiles), least(85.06, north + margin * (north - south)), 4326);
    pixel CONSTANT float8 := 360 / tiles / 512;
    pixel_north CONSTANT float8 := pixel * cos(radians((south + north) / 2));
    unseen_from CONSTANT geometry := segwatch.unseen_at(compare_tile.watch, compare_tile.since, searched, pixel_north);
    unseen_to CONSTANT geometry := segwatch.unseen_at(compare_tile.watch, compare_tile.until, searched, pixel_north);
    encoded bytea;
BEGIN
    WITH compared AS MATERIALIZED (
        SELECT c.object_id, c.track_id, c.target, c.change, c.status, c.confidence, c.area_from_m2, c.area_to_m2,
               coalesce(c.area_to_m2, c.area_from_m2) AS area_m2, ST_XMin(c.geom) AS x0, ST_YMin(c.geom) AS y0,
               v.visible, CASE WHEN v.visible THEN c.geom END AS geom
        FROM segwatch.compare_objects(compare_tile.watch, compare_tile.since, compare_tile.until, searched) c
        CROSS JOIN LATERAL (
            SELECT greatest((ST_XMax(c.geom) - ST_XMin(c.geom)) / pixel,
                            (ST_YMax(c.geom) - ST_YMin(c.geom)) / pixel_north) >= 3 AS visible) v
    ), ranked AS MATERIALIZED (
        SELECT c.*, c.x0 >= west AND c.x0 < east AND c.y0 >= south AND c.y0 < north AS here,
               c.visible AND row_number() OVER (
                   PARTITION BY c.visible ORDER BY c.change IN ('unchanged', 'not seen'), c.area_m2 DESC, c.track_id)
                   <= compare_tile.most AS outlined
        FROM compared c
    ), changes AS (
        SELECT r.object_id::text AS id, r.track_id::text, r.target, r.change, r.status, r.confidence, r.area_from_m2,
               r.area_to_m2,
               ST_AsMVTGeom(ST_Transform(ST_ClipByBox2D(ST_Simplify(r.geom, pixel_north / 2, true), searched::box2d), 3857),
                            bounds, 4096, 64, true) AS geom
        FROM ranked r WHERE r.outlined
    ), dots AS (
        SELECT r.change, r.status, count(*) AS objects, sum(r.area_m2) AS area_m2,
               ST_AsMVTGeom(ST_Transform(ST_SetSRID(ST_MakePoint(avg(r.x0), avg(r.y0)), 4326), 3857), bounds, 4096, 0)
                   AS geom
        FROM ranked r WHERE r.here AND NOT r.outlined
        GROUP BY r.change, r.status, floor((r.x0 - west) / (4 * pixel)), floor((r.y0 - south) / (4 * pixel_north))
    ), cut AS (
        SELECT concat_ws('/', compare_tile.z, compare_tile.x, compare_tile.y) AS tile,
               count(*) FILTER (WHERE r.here AND r.outlined) AS shown, count(*) FILTER (WHERE r.here) AS of,
               ST_AsMVTGeom(ST_Centroid(bounds), bounds, 4096, 0) AS geom
        FROM ranked r HAVING count(*) FILTER (WHERE r.here AND NOT r.outlined) > 0
    ), unseen AS (
        SELECT u."when", ST_AsMVTGeom(ST_Transform(u.geom, 3857), bounds, 4096, 64, true) AS geom
        FROM (VALUES
            ('from', CASE WHEN unseen_to IS NULL THEN unseen_from ELSE ST_Difference(unseen_from, unseen_to) END),
            ('to', CASE WHEN unseen_from IS NULL THEN unseen_to ELSE ST_Difference(unseen_to, unseen_from) END),
            ('both', ST_Intersection(unseen_from, unseen_to))) u("when", geom)
        WHERE u.geom IS NOT NULL AND NOT ST_IsEmpty(u.geom)
    )
    SELECT coalesce((SELECT ST_AsMVT(c.*, 'changes', 4096, 'geom' ORDER BY coalesce(c.area_to_m2, c.area_from_m2) DESC, c.id)
                     FROM changes c WHERE c.geom IS NOT NULL), '')
        || coalesce((SELECT ST_AsMVT(d.*, 'dots', 4096, 'geom') FROM dots d), '')
        || coalesce((SELECT ST_AsMVT(c.*, 'cut', 4096, 'geom') FROM cut c), '')
        || coalesce((SELECT ST_AsMVT(u.*, 'unseen', 4096, 'geom') FROM unseen u WHERE u.geom IS NOT NULL), '')
    INTO encoded;
    RETURN encoded;
END
$$;

REVOKE ALL ON FUNCTION watch.compare_tile FROM PUBLIC;
GRANT EXECUTE ON FUNCTION watch.compare_tile TO segwatch_analyst, segwatch_worker;

COMMENT ON FUNCTION watch.compare_tile IS
    'Vector tile (MVT) of what became of the objects of a watch between two times, as known now, and of the ground that the scenes of these times did not observe; see watch.compare.';
