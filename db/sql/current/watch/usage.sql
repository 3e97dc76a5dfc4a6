-- What the watches have cost, by month and outcome; kept up to date as attempts end.
CREATE OR REPLACE FUNCTION watch.usage()
RETURNS TABLE (watch text, month date, model text, outcome text, attempts bigint, compute_seconds float8,
               bytes_read float8, area_km2 float8)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1000 SET search_path = segwatch, public, pg_temp AS $$
    SELECT u.watch_name, u.month, u.model_version, u.outcome, u.attempts, u.compute_seconds, u.bytes_read, u.area_km2
    FROM segwatch.usage u
    WHERE (SELECT segwatch.reads_all_watches())
       OR u.watch_name = ANY (CAST((SELECT segwatch.readable_watches()) AS text[]))
    ORDER BY u.watch_name, u.month, u.model_version, u.outcome
$$;

REVOKE ALL ON FUNCTION watch.usage FROM PUBLIC;
GRANT EXECUTE ON FUNCTION watch.usage TO segwatch_analyst, segwatch_worker;

COMMENT ON FUNCTION watch.usage IS
    'What each watch has cost, by month (UTC), model and outcome of the attempts (observed, or why an attempt failed): attempts, seconds of computing, bytes of imagery read, and observed square kilometres.';
