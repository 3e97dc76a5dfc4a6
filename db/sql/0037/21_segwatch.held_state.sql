-- The part of a recorded range in which a geometry drawn by a reviewer replaces the observed one: the state is valid at or
-- after the reviewed observation, and no change between the two was known.
CREATE OR REPLACE FUNCTION segwatch.drawn_while(verdict text, looked_at timestamptz, track_id uuid, valid tstzrange,
                                     recorded tstzrange)
RETURNS tstzmultirange
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = segwatch, public, pg_temp AS $$
    SELECT CASE
        WHEN drawn_while.verdict IS DISTINCT FROM 'edited'
             OR NOT drawn_while.valid && tstzrange(drawn_while.looked_at, NULL) THEN '{}'::tstzmultirange
        ELSE tstzmultirange(drawn_while.recorded) - coalesce(
            (SELECT range_agg(tstzrange(c.recorded_at, CASE WHEN c.retracted_at IS NOT NULL
                                                            THEN greatest(c.retracted_at, c.recorded_at) END))
             FROM segwatch.change c
             WHERE c.track_id = drawn_while.track_id AND c.valid_at > drawn_while.looked_at
               AND c.valid_at <= lower(drawn_while.valid)),
            '{}'::tstzmultirange)
        END
$$;

-- States of objects with the verdicts about them applied, bitemporally. The only definition: every view, function, tile
-- and report reads states from here.
--
-- A verdict applies from when it was given: earlier recorded time stays as it was known then. A rejected object has no
-- state while the rejection is in force. An edited geometry replaces the observed one from the reviewed observation on,
-- until the object changes. Three branches, so that a bounding box is looked up in the index of whichever geometry is in
-- force. `known` is the recorded range before verdicts: partial indexes are defined on it. `row_id` identifies a row: a verdict
-- splits a state in recorded time, and the part before it keeps the id of the state.
CREATE OR REPLACE VIEW segwatch.held_state AS
SELECT t.id AS state_id, t.track_id, t.observation_id, t.valid, t.recorded, t.recorded AS known, t.geom, t.area_m2,
       t.score, t.first_seen, t.last_seen, t.last_looked, t.visible_share, t.alive, t.merged_into, t.change,
       CAST(NULL AS text) AS verdict, CAST(NULL AS text) AS reviewer, CAST(NULL AS timestamptz) AS decided_at,
       t.confidence, t.status, t.observations_for, t.observations_against, t.id AS row_id
FROM segwatch.track_state t
WHERE NOT EXISTS (SELECT 1 FROM segwatch.review r WHERE r.track_id = t.track_id)
UNION ALL
SELECT t.id, t.track_id, t.observation_id, t.valid, piece.recorded, t.recorded, t.geom, t.area_m2,
       t.score, t.first_seen, t.last_seen, t.last_looked, t.visible_share, t.alive, t.merged_into, t.change,
       v.verdict, v.reviewer, v.decided_at,
       t.confidence, t.status, t.observations_for, t.observations_against,
       CASE WHEN lower(piece.recorded) = lower(t.recorded) THEN t.id
            ELSE CAST(md5(t.id::text || extract(epoch FROM lower(piece.recorded))) AS uuid) END
FROM segwatch.track_state t
JOIN segwatch.verdict_span v ON v.track_id = t.track_id AND v.recorded && t.recorded
CROSS JOIN LATERAL unnest(
    tstzmultirange(t.recorded * v.recorded)
    - segwatch.drawn_while(v.verdict, v.looked_at, t.track_id, t.valid, t.recorded * v.recorded)) AS piece(recorded)
WHERE v.verdict IS DISTINCT FROM 'rejected'
UNION ALL
SELECT t.id, t.track_id, t.observation_id, t.valid, piece.recorded, t.recorded, v.geom, v.area_m2,
       t.score, t.first_seen, t.last_seen, t.last_looked, t.visible_share, t.alive, t.merged_into, t.change,
       v.verdict, v.reviewer, v.decided_at,
       t.confidence, t.status, t.observations_for, t.observations_against,
       CASE WHEN lower(piece.recorded) = lower(t.recorded) THEN t.id
            ELSE CAST(md5(t.id::text || extract(epoch FROM lower(piece.recorded))) AS uuid) END
FROM segwatch.verdict_span v
JOIN segwatch.track_state t ON t.track_id = v.track_id AND t.recorded && v.recorded
CROSS JOIN LATERAL unnest(
    segwatch.drawn_while(v.verdict, v.looked_at, t.track_id, t.valid, t.recorded * v.recorded)) AS piece(recorded)
WHERE v.verdict = 'edited';
GRANT SELECT ON segwatch.held_state TO segwatch_worker;
