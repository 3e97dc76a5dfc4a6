-- How old scenes were when they raised alerts: a histogram, kept up to date as alerts are raised.
CREATE OR REPLACE FUNCTION watch.alert_ages()
RETURNS TABLE (watch text, up_to_seconds float8, alerts bigint, seconds float8)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1000 SET search_path = segwatch, public, pg_temp AS $$
    SELECT a.watch_name, a.up_to_seconds, a.alerts, a.seconds FROM segwatch.alert_age a
    WHERE (SELECT segwatch.reads_all_watches())
       OR a.watch_name = ANY (CAST((SELECT segwatch.readable_watches()) AS text[]))
    ORDER BY a.watch_name, a.up_to_seconds
$$;

REVOKE ALL ON FUNCTION watch.alert_ages FROM PUBLIC;
GRANT EXECUTE ON FUNCTION watch.alert_ages TO segwatch_analyst, segwatch_worker;

COMMENT ON FUNCTION watch.alert_ages IS
    'How long after the acquisition of its scene each alert was raised: for each watch and upper limit of that age in seconds, the alerts above the limit before it, and the sum of their ages.';
