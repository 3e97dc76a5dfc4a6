-- One row per watch for the people who keep it running.
CREATE OR REPLACE FUNCTION watch.operations()
RETURNS TABLE (watch text, state text, state_since timestamptz, schedule text, ends_at timestamptz,
               last_acquired_at timestamptz, last_observed_at timestamptz, lag_seconds float8,
               pending bigint, running bigint, oldest_pending_at timestamptz,
               failed bigint, failures jsonb,
               messages_due bigint, messages_failed bigint,
               gpu_seconds float8, observed_km2 float8,
               searched_at timestamptz, answered_at timestamptz, search_failures int, search_error text,
               publication_p50_seconds float8, publication_p95_seconds float8,
               acquisitions_seen bigint, acquisitions_missing bigint, missed_revisits int, next_expected_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 100 SET search_path = segwatch, public, pg_temp AS $$
    SELECT w.watch, w.state, w.state_since, w.schedule, w.ends_at, l.acquired_at, l.committed_at,
           extract(epoch FROM l.committed_at - l.acquired_at), q.pending, q.running, q.oldest, f.failed, f.failures,
           m.due, m.dead, c.seconds, c.km2, d.attempted_at, d.answered_at, coalesce(d.failures, 0), d.error,
           d.lag_p50_seconds, d.lag_p95_seconds, e.seen, e.missing, e.missed, e.next_at
    FROM watch.watches w
    LEFT JOIN LATERAL (
        SELECT o.acquired_at, o.committed_at
        FROM segwatch.series s JOIN segwatch.observation o ON o.series_id = s.id
        WHERE s.watch_name = w.watch AND o.state = 'observed' AND o.superseded_at IS NULL
        ORDER BY o.acquired_at DESC, o.scene_id DESC LIMIT 1) l ON true
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE o.state = 'pending') AS pending,
               count(*) FILTER (WHERE o.state IN ('leased', 'inferred')) AS running,
               min(o.discovered_at) FILTER (WHERE o.state = 'pending') AS oldest
        FROM segwatch.series s JOIN segwatch.observation o ON o.series_id = s.id
        WHERE s.watch_name = w.watch AND o.superseded_at IS NULL AND o.state IN ('pending', 'leased', 'inferred')) q
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(n.failed), 0)::bigint AS failed,
               coalesce(jsonb_agg(jsonb_build_object('reason', n.reason, 'observations', n.failed, 'last_at', n.last_at)
                                  ORDER BY n.failed DESC, n.reason) FILTER (WHERE n.place <= 20), '[]') AS failures
        FROM (SELECT coalesce(o.reason, 'unknown') AS reason, count(*) AS failed,
                     max(coalesce(o.committed_at, o.leased_at, o.discovered_at)) AS last_at,
                     row_number() OVER (ORDER BY count(*) DESC, coalesce(o.reason, 'unknown')) AS place
              FROM segwatch.series s JOIN segwatch.observation o ON o.series_id = s.id
              WHERE s.watch_name = w.watch AND o.state = 'failed' AND o.superseded_at IS NULL
                AND coalesce(o.committed_at, o.leased_at, o.discovered_at) > clock_timestamp() - interval '7 days'
              GROUP BY 1) n) f
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE y.state = 'pending'
                                  AND coalesce(y.digest_at, y.next_attempt_at) <= clock_timestamp()) AS due,
               count(*) FILTER (WHERE y.state = 'dead') AS dead
        FROM segwatch.delivery y JOIN segwatch.alert a ON a.id = y.alert_id
        JOIN segwatch.watch r ON r.id = a.revision_id
        WHERE r.name = w.watch AND y.state IN ('pending', 'dead')) m
    CROSS JOIN LATERAL (
        SELECT sum(o.compute_seconds) AS seconds, sum(o.area_km2) AS km2
        FROM segwatch.series s JOIN segwatch.observation o ON o.series_id = s.id
        WHERE s.watch_name = w.watch AND o.committed_at > clock_timestamp() - interval '30 days') c
    CROSS JOIN LATERAL (
        SELECT sum(t.seen) AS seen, sum(cardinality(t.missing)) AS missing, min(t.missed_in_a_row) AS missed,
               min(t.next_at) AS next_at
        FROM segwatch.revisit t WHERE t.watch_name = w.watch) e
    LEFT JOIN segwatch.discovery d ON d.watch_name = w.watch
    ORDER BY w.watch
$$;

REVOKE ALL ON FUNCTION watch.operations FROM PUBLIC;
GRANT EXECUTE ON FUNCTION watch.operations TO segwatch_analyst, segwatch_worker;

COMMENT ON FUNCTION watch.operations IS
    'How each watch is doing: its last scene and how long after acquisition it was published, the queue, failures of the last seven days by reason, messages that are due or given up, seconds of computing and observed area of the last thirty days (null: nothing was published), and the last search of its catalog: answered_at is the last time that the catalog answered, search_failures counts failed searches in a row. publication_p50_seconds and publication_p95_seconds are the time from acquisition to publication. acquisitions_missing counts acquisitions that the orbits seen so far should have made and the catalog does not show, missed_revisits those that every orbit has missed in a row since its last scene (null: no orbit passes regularly), next_expected_at when the next one is due.';
