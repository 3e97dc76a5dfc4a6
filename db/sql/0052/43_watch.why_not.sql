CREATE OR REPLACE FUNCTION watch.why_not(lon float8, lat float8, at timestamptz, watch text)
RETURNS TABLE (observation_id uuid, acquired_at timestamptz, answer text, waits text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = segwatch, public, pg_temp AS $$
    WITH place AS (SELECT ST_SetSRID(ST_MakePoint(why_not.lon, why_not.lat), 4326) AS point),
    observed AS (
        SELECT o.id, o.acquired_at,
            CASE
                WHEN NOT ST_Intersects(a.geom, place.point) THEN 'not imaged'
                WHEN o.state IN ('pending', 'leased', 'inferred') THEN 'pending'
                WHEN o.state = 'failed' THEN 'failed'
                WHEN NOT ST_Intersects(s.footprint, place.point) THEN 'not imaged'
                WHEN o.state = 'skipped' AND o.reason LIKE 'not imaged%' THEN 'not imaged'
                WHEN o.state = 'skipped' THEN 'cloudy'
                -- failed tiles leave the footprint as clouds do; which of the two is not stored
                WHEN NOT ST_Intersects(o.footprint, place.point) AND o.tiles_failed > 0 THEN 'failed'
                WHEN NOT ST_Intersects(o.footprint, place.point) THEN 'cloudy'
                WHEN EXISTS (SELECT 1 FROM segwatch.change c
                             JOIN segwatch.alert e ON e.change_id = c.id
                             JOIN segwatch.held_change h ON h.id = c.id
                             WHERE c.observation_id = o.id AND c.retracted_at IS NULL
                               AND h.status IS DISTINCT FROM 'refuted'
                               AND ST_Intersects(c.geom, place.point)) THEN 'alerted'
                -- a disappearance is raised by a later miss than the one that it is dated to
                WHEN EXISTS (SELECT 1 FROM segwatch.change c
                             JOIN segwatch.alert e ON e.change_id = c.id
                             JOIN segwatch.held_change h ON h.id = c.id
                             JOIN segwatch.track k ON k.id = c.track_id
                             WHERE c.kind = 'disappeared' AND c.valid_at = o.acquired_at AND k.series_id = o.series_id
                               AND c.retracted_at IS NULL AND h.status IS DISTINCT FROM 'refuted'
                               AND ST_Intersects(c.geom, place.point)) THEN 'alerted'
                WHEN EXISTS (SELECT 1 FROM segwatch.verdict v
                             WHERE v.verdict = 'rejected' AND v.track_id IN (
                                 SELECT c.track_id FROM segwatch.change c
                                 WHERE c.observation_id = o.id AND c.retracted_at IS NULL
                                   AND ST_Intersects(c.geom, place.point)
                                 UNION ALL
                                 SELECT d.track_id FROM segwatch.detection d
                                 WHERE d.observation_id = o.id AND ST_Intersects(d.geom, place.point)))
                    THEN 'suppressed'
                WHEN b.status = 'refuted' THEN 'refuted'
                -- a disappearance has no detection
                WHEN b.waits IS NULL AND NOT EXISTS (SELECT 1 FROM segwatch.detection d
                                 WHERE d.observation_id = o.id AND ST_Intersects(d.geom, place.point))
                    THEN 'nothing found'
                ELSE 'below threshold'
            END AS answer,
            coalesce((SELECT t.waits FROM segwatch.waiting t WHERE t.observation_id = o.id), b.waits) AS waits
        FROM place, segwatch.observation o
        JOIN segwatch.watch w ON w.id = o.revision_id
        JOIN segwatch.area a ON a.id = w.area_id
        JOIN segwatch.scene s ON s.id = o.scene_id
        LEFT JOIN LATERAL (
            SELECT d.definition FROM segwatch.watch_head e JOIN segwatch.watch d ON d.id = e.revision_id
            WHERE e.name = w.name) h ON true
        LEFT JOIN LATERAL (
            SELECT c.status, CASE WHEN c.status = 'provisional' THEN
                       'its change is provisional (confidence ' || round(CAST(c.confidence AS numeric), 2) || ')' ||
                       CASE
                           WHEN n.evidence_id IS NULL AND jsonb_array_length(n.views) = 0
                               THEN ' and stays so: no observation can show by itself whether it happened'
                           WHEN n.evidence_id IS NULL
                               THEN ' and stays so: ' || jsonb_array_length(n.views)
                                    || ' observations judged it, and no more are taken into account'
                           WHEN o.series_id NOT IN (SELECT r.series_id FROM segwatch.current_series r)
                               THEN ' and stays so: another instruction revision or model observes the watch since then'
                           WHEN CAST(h.definition ->> 'end' AS timestamptz) <= clock_timestamp()
                               THEN ': the watch ended at '
                                    || to_char(CAST(h.definition ->> 'end' AS timestamptz) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')
                                    || ' UTC, so only late scenes from before then confirm or refute it'
                           ELSE ': further observations confirm or refute it'
                       END END AS waits
            FROM segwatch.held_change c
            -- the judgement in force says whether more are taken into account
            LEFT JOIN LATERAL (
                SELECT j.evidence_id, j.views FROM segwatch.change_judgement j
                WHERE j.change_id = c.id AND upper_inf(j.recorded)
                ORDER BY j.acquired_at DESC, j.scene_id DESC LIMIT 1) n ON c.status = 'provisional'
            WHERE (c.observation_id = o.id
                   OR (c.kind = 'disappeared' AND c.valid_at = o.acquired_at
                       AND c.track_id IN (SELECT k.id FROM segwatch.track k WHERE k.series_id = o.series_id)))
              AND c.retracted_at IS NULL AND NOT c.baseline AND ST_Intersects(c.geom, place.point)
            ORDER BY c.confidence DESC NULLS LAST, c.id LIMIT 1) b ON true
        WHERE w.name = why_not.watch AND o.acquired_at <= why_not.at AND o.superseded_at IS NULL
          AND ((SELECT segwatch.reads_all_watches()) OR w.name = ANY (CAST((SELECT segwatch.readable_watches()) AS text[])))
    ),
    unusable AS (
        -- an item without footprint or time may have covered the point
        SELECT r.id, r.acquired_at, 'rejected' AS answer
        FROM place, segwatch.rejection r
        JOIN segwatch.watch w ON w.id = r.revision_id
        JOIN segwatch.area a ON a.id = w.area_id
        WHERE r.watch_name = why_not.watch AND r.superseded_at IS NULL AND ST_Intersects(a.geom, place.point)
          AND (r.acquired_at IS NULL OR r.acquired_at <= why_not.at)
          AND (r.footprint IS NULL OR ST_Intersects(r.footprint, place.point))
    )
    SELECT t.id, t.acquired_at, t.answer, CASE WHEN t.answer IN ('pending', 'below threshold') THEN t.waits END
    FROM observed t
    UNION ALL
    SELECT u.id, u.acquired_at, u.answer, NULL FROM unusable u
    UNION ALL
    SELECT NULL, NULL, 'not imaged', NULL
    WHERE NOT EXISTS (SELECT 1 FROM observed) AND NOT EXISTS (SELECT 1 FROM unusable)
    UNION ALL
    -- what an orbit should have shown; whether it would have shown the point is not known
    SELECT NULL, m.expected_at, 'not published',
           r.platform || ' orbit ' || r.relative_orbit || ', expected every ' || r.repeat_days
           || ' days: the catalog never published it'
    FROM place, segwatch.revisit r CROSS JOIN unnest(r.missing) AS m(expected_at)
    WHERE r.watch_name = why_not.watch AND m.expected_at <= why_not.at
      AND EXISTS (SELECT 1 FROM segwatch.watch_area g JOIN segwatch.area a ON a.id = g.area_id
                  WHERE g.watch_name = r.watch_name AND g.until IS NULL AND ST_Intersects(a.geom, place.point))
      AND ((SELECT segwatch.reads_all_watches()) OR r.watch_name = ANY (CAST((SELECT segwatch.readable_watches()) AS text[])))
    UNION ALL
    -- scenes since then are not searched
    SELECT NULL, NULL, 'paused', 'since ' || to_char(b.paused_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC: no scene is searched or predicted'
    FROM segwatch.paused_watch b
    WHERE b.watch = why_not.watch AND b.paused_at <= why_not.at
      AND ((SELECT segwatch.reads_all_watches()) OR b.watch = ANY (CAST((SELECT segwatch.readable_watches()) AS text[])))
    ORDER BY 2 DESC NULLS LAST, 1
$$;

REVOKE ALL ON FUNCTION watch.why_not FROM PUBLIC;
GRANT EXECUTE ON FUNCTION watch.why_not TO segwatch_analyst, segwatch_worker;

COMMENT ON FUNCTION watch.why_not IS
    'Why there is no alert at a point (degrees, EPSG:4326), one row per observation and rejected item of the watch acquired up to a time: not imaged, cloudy, nothing found, below threshold (found, but no change that a rule asks for), refuted (further observations refuted the change), suppressed (a review rejected the object), failed, pending, rejected (the item cannot be used), paused (somebody paused the watch, and later scenes are not searched), not published (an acquisition that an orbit should have made then, which the catalog does not show), or alerted. The column waits says what a pending observation or a provisional change waits for, or why the change stays provisional, and which acquisition was expected.';
