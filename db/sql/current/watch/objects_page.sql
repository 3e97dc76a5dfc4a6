-- A page costs what it holds, not what the watch does: tracks are walked in order of id, at most so many for a page, and then
-- it says where to go on. With a small bounding box the tracks of its ground are sorted.
--
-- Verdicts and the AOI are left to watch.objects_as_of: whoever passes here may be left out there, and nobody is missed.
CREATE OR REPLACE FUNCTION watch.objects_page(watch text, valid_at timestamptz, known_at timestamptz, bbox geometry,
                                              after uuid, most int,
                                              OUT tracks uuid[], OUT following uuid)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = segwatch, public, pg_temp SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
DECLARE
    small_box CONSTANT int := 20000; -- states on its ground
    walked CONSTANT int := greatest(2000, 5 * objects_page.most); -- where few are alive, a page is not full
    in_force uuid;
    last uuid;
BEGIN
    tracks := '{}';
    SELECT f.series_id INTO in_force FROM segwatch.series_in_force(objects_page.known_at) f
    WHERE f.watch_name = objects_page.watch AND f.valid @> objects_page.valid_at;
    IF in_force IS NULL THEN
        RETURN;
    END IF;
    IF objects_page.bbox IS NOT NULL AND (
        SELECT count(*) FROM (
            SELECT FROM segwatch.track_state t WHERE t.geom && objects_page.bbox LIMIT small_box + 1) n) <= small_box
    THEN
        tracks := ARRAY(
            SELECT k.id FROM segwatch.track k
            WHERE k.series_id = in_force AND k.id > objects_page.after AND k.id IN (
                SELECT t.track_id FROM segwatch.track_state t
                WHERE t.geom && objects_page.bbox AND t.valid @> objects_page.valid_at
                  AND t.recorded @> objects_page.known_at AND t.alive
                UNION ALL
                SELECT r.track_id FROM segwatch.review r WHERE r.verdict = 'edited' AND r.geom && objects_page.bbox)
            ORDER BY k.id LIMIT objects_page.most);
    ELSE
        last := (SELECT k.id FROM segwatch.track k WHERE k.series_id = in_force AND k.id > objects_page.after
                 ORDER BY k.id OFFSET walked - 1 LIMIT 1);
        tracks := ARRAY(
            SELECT k.id FROM segwatch.track k
            CROSS JOIN LATERAL (
                -- of one track at a time: otherwise the states of all tracks are joined first
                SELECT FROM segwatch.track_state t
                WHERE t.track_id = k.id AND t.valid @> objects_page.valid_at AND t.recorded @> objects_page.known_at
                  AND t.alive AND (objects_page.bbox IS NULL OR t.geom && objects_page.bbox OR EXISTS (
                      SELECT FROM segwatch.review r
                      WHERE r.track_id = k.id AND r.verdict = 'edited' AND r.geom && objects_page.bbox))
                LIMIT 1) t
            WHERE k.series_id = in_force AND k.id > objects_page.after AND (last IS NULL OR k.id <= last)
            ORDER BY k.id LIMIT objects_page.most);
    END IF;
    following := CASE WHEN cardinality(tracks) = objects_page.most THEN tracks[objects_page.most] ELSE last END;
END
$$;

REVOKE ALL ON FUNCTION watch.objects_page FROM PUBLIC;
GRANT EXECUTE ON FUNCTION watch.objects_page TO segwatch_analyst, segwatch_worker;

COMMENT ON FUNCTION watch.objects_page IS
    'Track ids of a page of the objects of a watch at a time, in order of id, after one of them: at most so many, for the parameter tracks of watch.objects_as_of, which shows fewer where verdicts or the AOI leave some out. following is where the next page begins; null: this is the last. A page may be empty before the last.';
