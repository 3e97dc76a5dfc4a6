-- Changes with the verdicts about their objects applied: rejecting an object retracts its changes, as a later scene that
-- disproves them does. Their belief is that of the newest observation that judged them; null: not judged.
CREATE OR REPLACE VIEW segwatch.held_change AS
SELECT c.id, c.track_id, c.observation_id, c.kind, c.target, c.valid_at, c.recorded_at, c.before_m2, c.after_m2,
       c.gained, c.lost, c.geom, c.score, c.baseline, v.verdict, v.reviewer,
       CASE WHEN v.verdict = 'rejected' THEN least(c.retracted_at, greatest(c.recorded_at, v.decided_at))
            ELSE c.retracted_at END AS retracted_at,
       CASE WHEN c.retracted_at IS NOT NULL AND (v.verdict IS DISTINCT FROM 'rejected' OR c.retracted_at <= v.decided_at)
            THEN 'a later scene shows otherwise'
            WHEN v.verdict = 'rejected' THEN 'the object was rejected in review: ' || v.reason END AS retracted_because,
       j.confidence, j.status, j.observations_for, j.observations_against, j.earliest, j.latest
FROM segwatch.change c
LEFT JOIN LATERAL (
    SELECT n.confidence, n.status, n.observations_for, n.observations_against, n.earliest, n.latest
    FROM segwatch.change_judgement n
    WHERE n.change_id = c.id AND upper_inf(n.recorded)
    ORDER BY n.acquired_at DESC, n.scene_id DESC LIMIT 1) j ON true
LEFT JOIN LATERAL (
    SELECT r.verdict, r.reviewer, r.reason, r.decided_at FROM segwatch.review r
    WHERE r.track_id = c.track_id ORDER BY r.ordinal DESC LIMIT 1) v ON true;
GRANT SELECT ON segwatch.held_change TO segwatch_worker;

-- Orders changes of one time, the most telling first: whether the object is there comes before how it changed. The
-- order in which scenes arrive must not decide.
CREATE OR REPLACE FUNCTION segwatch.change_rank(kind text) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_position(ARRAY['disappeared', 'reappeared', 'appeared', 'merged', 'split', 'moved', 'grew', 'shrank'],
                          kind)
$$;
