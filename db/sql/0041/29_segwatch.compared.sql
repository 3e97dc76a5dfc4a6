-- Objects of a watch at a time, as known now, without those that merged into others and those outside the AOI of that time.
CREATE OR REPLACE FUNCTION segwatch.objects_at(watch text, at timestamptz, searched geometry)
RETURNS TABLE (track_id uuid, object_id uuid, target text, geom geometry, area_m2 float8, status text, confidence float8,
               last_looked timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1000
SET search_path = segwatch, public, pg_temp SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
DECLARE
    series_ids CONSTANT uuid[] := ARRAY(
        SELECT f.series_id FROM segwatch.series_in_force('infinity') f
        WHERE f.watch_name = objects_at.watch AND f.valid @> objects_at.at);
    aoi_at CONSTANT timestamptz := least(objects_at.at, now());
BEGIN
    RETURN QUERY
    SELECT h.track_id, k.object_id, k.target, h.geom, h.area_m2, h.status, h.confidence, h.last_looked
    FROM segwatch.held_state h
    JOIN segwatch.track k ON k.id = h.track_id
    WHERE k.series_id = ANY(series_ids) AND upper_inf(h.known) AND upper_inf(h.recorded)
      AND h.valid @> objects_at.at AND h.alive
      AND (objects_at.searched IS NULL OR h.geom && objects_at.searched)
      AND NOT EXISTS (SELECT 1 FROM segwatch.narrowed_area n
                      WHERE n.watch_name = objects_at.watch AND n.since <= aoi_at AND (n.until IS NULL OR n.until > aoi_at)
                        AND (NOT ST_Intersects(h.geom, n.geom) OR ST_Touches(h.geom, n.geom)));
END
$$;

-- Objects at either of two times and what became of them in between, matched by the id that stays across models:
--   not there before   appeared, reappeared, split; baseline = its ground was first observed in between
--   not there after    disappeared, merged
--   there both times   grew, shrank, moved, split, merged; unchanged, or not seen if nothing looked at it in between
-- Changes that were retracted do not count, refuted ones have that status. The status is that of the change, else that of
-- the object.
CREATE OR REPLACE FUNCTION segwatch.compare_objects(watch text, since timestamptz, until timestamptz, searched geometry)
RETURNS TABLE (object_id uuid, track_id uuid, target text, change text, status text, confidence float8,
               area_from_m2 float8, area_to_m2 float8, geom geometry)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1000
SET search_path = segwatch, public, pg_temp SET plan_cache_mode = force_custom_plan SET work_mem = '32MB' AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH before AS MATERIALIZED (
        SELECT * FROM segwatch.objects_at(compare_objects.watch, compare_objects.since, compare_objects.searched)
    ), after AS MATERIALIZED (
        SELECT * FROM segwatch.objects_at(compare_objects.watch, compare_objects.until, compare_objects.searched)
    ), kept AS (
        SELECT c.track_id, c.kind, c.valid_at, c.baseline, c.status, c.confidence,
               row_number() OVER (PARTITION BY c.track_id ORDER BY c.valid_at DESC, segwatch.change_rank(c.kind), c.id) AS turn
        FROM segwatch.held_change c
        JOIN segwatch.provenance p ON p.observation_id = c.observation_id
        WHERE p.watch = compare_objects.watch AND c.valid_at > compare_objects.since AND c.valid_at <= compare_objects.until
          AND c.retracted_at IS NULL
          AND (compare_objects.searched IS NULL OR c.geom && compare_objects.searched)
    ), last_change AS (
        SELECT k.* FROM kept k WHERE k.turn = 1
    )
    SELECT coalesce(a.object_id, b.object_id), coalesce(a.track_id, b.track_id), coalesce(a.target, b.target),
           CASE WHEN b.track_id IS NULL THEN CASE WHEN l.baseline THEN 'baseline' ELSE coalesce(l.kind, 'baseline') END
                WHEN a.track_id IS NULL THEN CASE WHEN l.kind = 'merged' THEN 'merged' ELSE 'disappeared' END
                WHEN l.kind IS NOT NULL AND NOT l.baseline THEN
                    CASE WHEN l.kind NOT IN ('grew', 'shrank') THEN l.kind
                         WHEN a.area_m2 >= b.area_m2 THEN 'grew' ELSE 'shrank' END
                WHEN a.last_looked <= compare_objects.since THEN 'not seen'
                ELSE 'unchanged' END,
           coalesce(CASE WHEN NOT l.baseline THEN l.status END, a.status, b.status),
           coalesce(CASE WHEN NOT l.baseline THEN l.confidence END, a.confidence, b.confidence),
           b.area_m2, a.area_m2, coalesce(a.geom, b.geom)
    FROM before b
    FULL JOIN after a ON a.object_id = b.object_id AND a.target = b.target
    LEFT JOIN last_change l ON l.track_id = coalesce(a.track_id, b.track_id);
END
$$;

-- The AOI of a watch now, and the part of it in a box.
CREATE OR REPLACE FUNCTION segwatch.searched_area(watch text, bbox geometry) RETURNS geometry
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = segwatch, public, pg_temp AS $$
    SELECT CASE WHEN searched_area.bbox IS NULL THEN a.geom ELSE ST_Intersection(a.geom, searched_area.bbox) END
    FROM segwatch.watch_head h JOIN segwatch.watch w ON w.id = h.revision_id JOIN segwatch.area a ON a.id = w.area_id
    WHERE h.name = searched_area.watch
$$;

-- Ground of a watch that the newest observation up to a time did not observe, EPSG:4326; null = none, or no observation.
CREATE OR REPLACE FUNCTION segwatch.unseen_at(watch text, at timestamptz, searched geometry, grid float8) RETURNS geometry
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = segwatch, public, pg_temp AS $$
    SELECT segwatch.find_unseen(
        ARRAY(SELECT f.series_id FROM segwatch.series_in_force('infinity') f
              WHERE f.watch_name = unseen_at.watch AND f.valid @> unseen_at.at),
        unseen_at.at, 'infinity', unseen_at.searched, unseen_at.grid)
$$;

CREATE OR REPLACE FUNCTION segwatch.has_observation(watch text, at timestamptz) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = segwatch, public, pg_temp AS $$
    SELECT EXISTS (SELECT 1 FROM segwatch.find_observation(
        ARRAY(SELECT f.series_id FROM segwatch.series_in_force('infinity') f
              WHERE f.watch_name = has_observation.watch AND f.valid @> has_observation.at), has_observation.at, 'infinity'))
$$;
