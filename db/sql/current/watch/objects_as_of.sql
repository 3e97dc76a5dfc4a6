-- Planned anew for each call: with a bounding box it reads the index of that ground, with tracks those alone, without either
-- every object.
CREATE OR REPLACE FUNCTION watch.objects_as_of(valid_at timestamptz, known_at timestamptz DEFAULT now(),
                                               bbox geometry DEFAULT NULL, tracks uuid[] DEFAULT NULL)
RETURNS TABLE (track_id uuid, watch text, target text, geom geometry, area_m2 float8, score float8,
               valid_from timestamptz, valid_to timestamptz, change text, observation_id uuid, scene_id uuid,
               item_hrefs text[], model text, instruction_revision uuid, object_id uuid, review text,
               confidence float8, status text, observations_for int, observations_against int,
               accuracy text)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1000
SET search_path = segwatch, public, pg_temp SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT t.track_id, p.watch, k.target, t.geom, t.area_m2, t.score, lower(t.valid), upper(t.valid), t.change,
           p.observation_id, p.scene_id, p.item_hrefs, p.model, p.instruction_revision, k.object_id, t.verdict,
           t.confidence, t.status, t.observations_for, t.observations_against,
           segwatch.describe_accuracy(segwatch.is_demonstration(p.model), (SELECT a.words FROM segwatch.current_accuracy a
                WHERE a.series_id = k.series_id AND a.target = k.target))
    FROM segwatch.held_state t
    JOIN segwatch.track k ON k.id = t.track_id
    JOIN segwatch.series_in_force(objects_as_of.known_at) f
      ON f.series_id = k.series_id AND f.valid @> objects_as_of.valid_at
    JOIN segwatch.provenance p ON p.observation_id = t.observation_id
    WHERE t.valid @> objects_as_of.valid_at AND t.recorded @> objects_as_of.known_at AND t.alive
      AND (objects_as_of.bbox IS NULL OR t.geom && objects_as_of.bbox)
      AND (objects_as_of.tracks IS NULL OR t.track_id = ANY (objects_as_of.tracks))
      -- without objects wholly outside the AOI of that time, as far as it was known
      AND NOT EXISTS (SELECT 1 FROM segwatch.narrowed_area n WHERE n.watch_name = p.watch
                      AND n.since <= least(objects_as_of.valid_at, objects_as_of.known_at)
                      AND (n.until IS NULL OR n.until > least(objects_as_of.valid_at, objects_as_of.known_at))
                      AND (NOT ST_Intersects(t.geom, n.geom) OR ST_Touches(t.geom, n.geom)));
END
$$;

REVOKE ALL ON FUNCTION watch.objects_as_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION watch.objects_as_of TO segwatch_analyst, segwatch_worker;

COMMENT ON FUNCTION watch.objects_as_of IS
    'Objects that were on the ground at valid_at, as known at known_at: with the verdicts given and the confidence and status (null: not judged) reached by then, from the series in force then, inside the AOI of the watch as it was then. With bbox (EPSG:4326), only those whose bounding box meets that of the geometry: fast however many objects there are. With tracks, only those of these ids: see watch.objects_page.';
