-- Which transactions last changed what the map shows of a watch. Every such transaction adds a row of its own, so that
-- writers never wait for each other, and removes rows of transactions that every session has seen end. The set of
-- visible rows never repeats, so that its digest is a version: equal versions show the same objects.
CREATE OR REPLACE FUNCTION segwatch.touch_watch(name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = segwatch, public, pg_temp AS $$
BEGIN
    INSERT INTO segwatch.watch_touch (watch_name, began_at, transaction)
    VALUES (touch_watch.name, transaction_timestamp(), CAST(CAST(pg_current_xact_id() AS text) AS bigint))
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        DELETE FROM segwatch.watch_touch t
        WHERE t.ctid = ANY (ARRAY(
            SELECT o.ctid FROM segwatch.watch_touch o
            WHERE o.watch_name = touch_watch.name
              AND o.transaction < CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)
            FOR UPDATE SKIP LOCKED));
    END IF;
END
$$;

-- Touches the watch that a row belongs to; the argument says by which column it is found.
CREATE OR REPLACE FUNCTION segwatch.touch_watch_of_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = segwatch, public, pg_temp AS $$
DECLARE
    found CONSTANT jsonb := jsonb_build_object(TG_ARGV[0], to_jsonb(NEW) -> TG_ARGV[0]);
BEGIN
    PERFORM segwatch.touch_watch(CASE TG_ARGV[0]
        WHEN 'series_id' THEN (SELECT s.watch_name FROM segwatch.series s WHERE s.id = CAST(found ->> 'series_id' AS uuid))
        WHEN 'observation_id' THEN (
            SELECT s.watch_name FROM segwatch.observation o JOIN segwatch.series s ON s.id = o.series_id
            WHERE o.id = CAST(found ->> 'observation_id' AS uuid))
        WHEN 'track_id' THEN (SELECT s.watch_name FROM segwatch.track k JOIN segwatch.series s ON s.id = k.series_id
                              WHERE k.id = CAST(found ->> 'track_id' AS uuid))
        ELSE found ->> TG_ARGV[0] END);
    RETURN NULL;
END
$$;

-- Publishing sets recorded_to of its series, whatever it writes.
CREATE OR REPLACE TRIGGER series_touches AFTER INSERT OR UPDATE ON segwatch.series
    FOR EACH ROW EXECUTE FUNCTION segwatch.touch_watch_of_row('watch_name');
CREATE OR REPLACE TRIGGER review_touches AFTER INSERT ON segwatch.review
    FOR EACH ROW EXECUTE FUNCTION segwatch.touch_watch_of_row('track_id');
-- publishing adds judgements and closes them; only a repair by hand alters what one says
CREATE OR REPLACE TRIGGER change_judgement_touches AFTER UPDATE ON segwatch.change_judgement
    FOR EACH ROW WHEN (OLD.status <> NEW.status OR OLD.confidence <> NEW.confidence)
    EXECUTE FUNCTION segwatch.touch_watch_of_row('observation_id');
CREATE OR REPLACE TRIGGER model_switch_touches AFTER INSERT OR UPDATE ON segwatch.model_switch
    FOR EACH ROW EXECUTE FUNCTION segwatch.touch_watch_of_row('watch_name');
CREATE OR REPLACE TRIGGER watch_area_touches AFTER INSERT OR UPDATE ON segwatch.watch_area
    FOR EACH ROW EXECUTE FUNCTION segwatch.touch_watch_of_row('watch_name');
CREATE OR REPLACE TRIGGER watch_head_touches AFTER INSERT OR UPDATE ON segwatch.watch_head
    FOR EACH ROW EXECUTE FUNCTION segwatch.touch_watch_of_row('name');
-- what a scene shows, and what it does not; leases and heartbeats show nothing
CREATE OR REPLACE TRIGGER observation_touches AFTER UPDATE ON segwatch.observation
    FOR EACH ROW
    WHEN (OLD.superseded_at IS DISTINCT FROM NEW.superseded_at
          OR (OLD.state <> NEW.state AND ARRAY[OLD.state, NEW.state] && ARRAY['observed', 'skipped', 'failed']))
    EXECUTE FUNCTION segwatch.touch_watch_of_row('series_id');

CREATE OR REPLACE FUNCTION watch.data_version(watch text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = segwatch, public, pg_temp AS $$
    SELECT coalesce(md5(string_agg(t.transaction || ' ' || t.began_at, ',' ORDER BY t.transaction, t.began_at)), '')
    FROM segwatch.watch_touch t
    WHERE t.watch_name = data_version.watch
      AND ((SELECT segwatch.reads_all_watches())
           OR t.watch_name = ANY (CAST((SELECT segwatch.readable_watches()) AS text[])))
$$;

REVOKE ALL ON FUNCTION watch.data_version FROM PUBLIC;
GRANT EXECUTE ON FUNCTION watch.data_version TO segwatch_analyst, segwatch_worker;

COMMENT ON FUNCTION watch.data_version IS
    'Version of what is known about the objects and scenes of a watch: while it stays the same, tiles and other results for a fixed time do, too. Empty for a watch that the reader cannot see.';
