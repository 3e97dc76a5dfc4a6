-- For the map, which reads pixels; no other view or function returns signed links.
CREATE OR REPLACE FUNCTION watch.readable_imagery(watch text, scene_id uuid) RETURNS SETOF segwatch.imagery
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = segwatch, public, pg_temp AS $$
    SELECT * FROM segwatch.imagery i
    WHERE i.watch = readable_imagery.watch AND i.scene_id = readable_imagery.scene_id ORDER BY i.item_id
$$;

REVOKE ALL ON FUNCTION watch.readable_imagery FROM PUBLIC;
GRANT EXECUTE ON FUNCTION watch.readable_imagery TO segwatch_analyst, segwatch_worker;

COMMENT ON FUNCTION watch.readable_imagery IS
    'Current STAC items of one scene, with the links that they are read by. Signed links are secrets: whoever has one can read the imagery.';
