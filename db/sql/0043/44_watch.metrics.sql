-- One row per watch for a monitoring system that asks every few seconds: read by indexes, never from detections.
CREATE OR REPLACE FUNCTION watch.metrics()
RETURNS TABLE (watch text, state text, schedule text, pending bigint, leased bigint, expired bigint,
               oldest_pending_at timestamptz, acquired_at timestamptz, shift_m float8,
               messages_due bigint, message_due_since timestamptz, messages_dead bigint,
               run_at timestamptz, searched_at timestamptz, answered_at timestamptz, search_failures int)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 100 SET search_path = segwatch, public, pg_temp AS $$
    SELECT w.watch, w.state, w.schedule, coalesce(q.pending, 0), coalesce(q.leased, 0), coalesce(q.expired, 0),
           q.oldest, l.acquired_at, l.shift_m, coalesce(m.due, 0), m.since, coalesce(x.dead, 0),
           greatest(r.started_at, d.attempted_at), d.attempted_at, d.answered_at, coalesce(d.failures, 0)
    FROM watch.watches w
    LEFT JOIN (
        SELECT s.watch_name, count(*) FILTER (WHERE o.state = 'pending') AS pending,
               count(*) FILTER (WHERE o.state = 'leased') AS leased,
               count(*) FILTER (WHERE o.state = 'leased' AND o.lease_until < clock_timestamp()) AS expired,
               min(o.discovered_at) FILTER (WHERE o.state = 'pending') AS oldest
        FROM segwatch.observation o JOIN segwatch.series s ON s.id = o.series_id
        WHERE o.state IN ('pending', 'leased') GROUP BY s.watch_name) q ON q.watch_name = w.watch
    LEFT JOIN LATERAL (
        SELECT n.acquired_at, n.shift_m FROM segwatch.series s CROSS JOIN LATERAL (
            SELECT o.acquired_at, sqrt(o.shift_east_m ^ 2 + o.shift_north_m ^ 2) AS shift_m
            FROM segwatch.observation o WHERE o.series_id = s.id AND o.state = 'observed' AND o.superseded_at IS NULL
            ORDER BY o.acquired_at DESC, o.scene_id DESC LIMIT 1) n
        WHERE s.watch_name = w.watch ORDER BY n.acquired_at DESC LIMIT 1) l ON true
    LEFT JOIN (
        -- a message that failed waits for its next attempt: it has been due since the first one
        SELECT v.name, count(*) AS due,
               min(coalesce(y.digest_at, CASE WHEN y.attempts = 0 THEN y.next_attempt_at ELSE y.tried_since END)) AS since
        FROM segwatch.delivery y JOIN segwatch.alert a ON a.id = y.alert_id
        JOIN segwatch.watch v ON v.id = a.revision_id
        WHERE y.state = 'pending' AND (y.attempts > 0 OR coalesce(y.digest_at, y.next_attempt_at) <= clock_timestamp())
        GROUP BY v.name) m ON m.name = w.watch
    LEFT JOIN (
        SELECT v.name, count(*) AS dead
        FROM segwatch.delivery y JOIN segwatch.alert a ON a.id = y.alert_id
        JOIN segwatch.watch v ON v.id = a.revision_id
        WHERE y.state = 'dead' GROUP BY v.name) x ON x.name = w.watch
    LEFT JOIN (
        SELECT n.watch, max(n.started_at) AS started_at FROM segwatch.run n
        WHERE n.flow IN ('observe', 'run') GROUP BY n.watch) r ON r.watch = w.watch
    LEFT JOIN segwatch.discovery d ON d.watch_name = w.watch
    ORDER BY w.watch
$$;

REVOKE ALL ON FUNCTION watch.metrics FROM PUBLIC;
GRANT EXECUTE ON FUNCTION watch.metrics TO segwatch_analyst, segwatch_worker;

COMMENT ON FUNCTION watch.metrics IS
    'State of each watch for a monitoring system: scenes that wait, are worked on, or whose worker is gone; acquisition and registration shift of the newest observed scene; messages that are due, since when, and given up; its last run, and the last search of its catalog.';
