-- The series in force for each watch and valid time, as known at a time: of the current instruction the newest model that
-- had published by then, and before the scene at which it took over, the series before it. So a new model neither shows an
-- object twice nor hides the past. A model that a watch was switched back to counts as new from then on.
CREATE OR REPLACE FUNCTION segwatch.series_in_force(known_at timestamptz)
RETURNS TABLE (series_id uuid, watch_name text, valid tstzrange)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 10 SET search_path = segwatch, public, pg_temp AS $$
    WITH RECURSIVE newest AS (
        SELECT DISTINCT ON (s.watch_name) s.id, s.watch_name, s.seeded_from, s.seed_valid_at
        FROM segwatch.series s
        JOIN segwatch.watch_head h ON h.name = s.watch_name
        JOIN segwatch.watch w ON w.id = h.revision_id
        JOIN LATERAL (
            SELECT min(o.discovered_at) AS began, max(o.discovered_at) AS latest FROM segwatch.observation o
            WHERE o.series_id = s.id AND o.state = 'observed' AND o.committed_at <= series_in_force.known_at
        ) f ON f.began IS NOT NULL
        LEFT JOIN LATERAL (
            SELECT e.at, e.model_version FROM segwatch.model_switch m
            CROSS JOIN LATERAL (VALUES (m.switched_at, m.model_version), (m.undone_at, m.from_version)) e(at, model_version)
            WHERE m.watch_name = s.watch_name AND e.at <= series_in_force.known_at
            ORDER BY e.at DESC, m.ordinal DESC LIMIT 1
        ) e ON e.model_version = s.model_version
        -- before the current instruction was applied, the one that was observed last was in force
        WHERE (series_in_force.known_at < h.applied_at OR w.instruction_id = s.instruction_id)
          AND ((SELECT segwatch.reads_all_watches()) OR s.watch_name = ANY (CAST((SELECT segwatch.readable_watches()) AS text[])))
        ORDER BY s.watch_name,
                 CASE WHEN series_in_force.known_at < h.applied_at THEN f.latest ELSE greatest(f.began, e.at) END DESC, s.id
    ), chain AS (
        SELECT n.id, n.watch_name, n.seeded_from, n.seed_valid_at, CAST(NULL AS timestamptz) AS until FROM newest n
        UNION ALL
        SELECT s.id, s.watch_name, s.seeded_from, s.seed_valid_at, least(c.seed_valid_at, c.until)
        FROM chain c JOIN segwatch.series s ON s.id = c.seeded_from
    )
    SELECT c.id, c.watch_name,
           tstzrange(CASE WHEN c.seeded_from IS NOT NULL THEN least(c.seed_valid_at, c.until) END, c.until)
    FROM chain c
$$;

-- Series in force now.
CREATE OR REPLACE VIEW segwatch.current_series AS
SELECT f.series_id FROM segwatch.series_in_force('infinity') f WHERE upper_inf(f.valid);
GRANT SELECT ON segwatch.current_series TO segwatch_worker;
