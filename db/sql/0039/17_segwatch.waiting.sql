-- What an observation that is not final waits for now; its stored reason is that of its last attempt.
CREATE OR REPLACE VIEW segwatch.waiting AS
SELECT o.id AS observation_id,
       CASE
           WHEN o.state = 'pending' AND b.watch IS NOT NULL
               THEN 'the watch is paused since '
                    || to_char(b.paused_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC: predicted once it is resumed'
           WHEN o.state = 'pending' AND n.at > clock_timestamp()
               THEN 'next attempt after ' || to_char(n.at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC'
           WHEN o.state = 'pending' AND o.reason IS NOT NULL
               THEN 'may be tried again now: the next segment run takes it'
           WHEN o.state = 'inferred' AND e.scenes IS NOT NULL
               THEN 'predicted; waits for ' || e.scenes || ' earlier scene(s) of its series: ' || e.times
           WHEN o.state = 'inferred' THEN 'predicted: the next track run publishes it'
       END AS waits
FROM segwatch.observation o
CROSS JOIN LATERAL (
    SELECT greatest(o.not_before, max(r.retry_at)) AS at FROM segwatch.circuit r
    WHERE r.name = ANY(o.circuits) AND r.failures > 0) n
LEFT JOIN LATERAL (
    SELECT nullif(count(*), 0) AS scenes,
           array_to_string((array_agg(to_char(p.acquired_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')
                                      ORDER BY p.acquired_at))[1:3], ', ')
           || CASE WHEN count(*) > 3 THEN ', ...' ELSE '' END AS times
    FROM segwatch.unanswered p
    WHERE o.state = 'inferred' AND p.series_id = o.series_id
      AND (p.acquired_at, p.scene_id) < (o.acquired_at, o.scene_id)) e ON true
LEFT JOIN segwatch.watch w ON w.id = o.revision_id
LEFT JOIN segwatch.paused_watch b ON b.watch = w.name
WHERE o.state IN ('pending', 'inferred');
GRANT SELECT ON segwatch.waiting TO segwatch_worker;
