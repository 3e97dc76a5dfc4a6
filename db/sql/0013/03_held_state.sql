-- What holds: the recorded states of objects with the verdicts about them applied, bitemporally. This is the one
-- definition; every view, function, tile and report reads states from here.
--
-- A verdict holds from when it was given: what was known before it stays as it was known then. A rejected object has no
-- state while the rejection is in force. An edited outline replaces the observed one from the observation on that it was
-- drawn for, until the object is seen to change. Three branches, so that a box is looked up in the index of whichever
-- outline holds; `known` is the recorded range before verdicts, which partial indexes are defined on.
CREATE VIEW segwatch.held_state AS
SELECT t.id AS state_id, t.track_id, t.observation_id, t.valid, t.recorded, t.recorded AS known, t.geom, t.area_m2,
       t.score, t.first_seen, t.last_seen, t.last_looked, t.visible_share, t.alive, t.merged_into, t.change,
       CAST(NULL AS text) AS verdict, CAST(NULL AS text) AS reviewer, CAST(NULL AS timestamptz) AS decided_at
FROM segwatch.track_state t
WHERE NOT EXISTS (SELECT 1 FROM segwatch.review r WHERE r.track_id = t.track_id)
UNION ALL
SELECT t.id, t.track_id, t.observation_id, t.valid, piece.recorded, t.recorded, t.geom, t.area_m2,
       t.score, t.first_seen, t.last_seen, t.last_looked, t.visible_share, t.alive, t.merged_into, t.change,
       v.verdict, v.reviewer, v.decided_at
FROM segwatch.track_state t
JOIN segwatch.verdict_span v ON v.track_id = t.track_id AND v.recorded && t.recorded
CROSS JOIN LATERAL unnest(
    tstzmultirange(t.recorded * v.recorded)
    - segwatch.drawn_while(v.verdict, v.looked_at, t.track_id, t.valid, t.recorded * v.recorded)) AS piece(recorded)
WHERE v.verdict IS DISTINCT FROM 'rejected'
UNION ALL
SELECT t.id, t.track_id, t.observation_id, t.valid, piece.recorded, t.recorded, v.geom, v.area_m2,
       t.score, t.first_seen, t.last_seen, t.last_looked, t.visible_share, t.alive, t.merged_into, t.change,
       v.verdict, v.reviewer, v.decided_at
FROM segwatch.verdict_span v
JOIN segwatch.track_state t ON t.track_id = v.track_id AND t.recorded && v.recorded
CROSS JOIN LATERAL unnest(
    segwatch.drawn_while(v.verdict, v.looked_at, t.track_id, t.valid, t.recorded * v.recorded)) AS piece(recorded)
WHERE v.verdict = 'edited';
GRANT SELECT ON segwatch.held_state TO segwatch_worker;
