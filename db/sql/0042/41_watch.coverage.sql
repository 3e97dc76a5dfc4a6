CREATE OR REPLACE VIEW watch.coverage AS
SELECT o.id AS observation_id, p.watch, p.instruction, p.scene_key, o.acquired_at, o.state, o.reason, o.attempts,
       o.footprint AS geom, o.clear_share, o.tiles, o.tiles_failed, o.answer,
       (SELECT count(*) FROM segwatch.detection d WHERE d.observation_id = o.id) AS detections,
       p.item_hrefs, p.model, p.instruction_revision, o.discovered_at, o.leased_at, o.read_at, o.inferred_at,
       o.committed_at, o.compute_seconds, o.bytes_read, o.area_km2, o.version, o.superseded_at, p.catalog,
       (SELECT t.waits FROM segwatch.waiting t WHERE t.observation_id = o.id) AS waits,
       o.shift_east_m, o.shift_north_m, o.shift_quality, o.shift_source,
       CASE WHEN o.state <> 'observed' THEN NULL
            WHEN sqrt(o.shift_east_m ^ 2 + o.shift_north_m ^ 2) > 2 * (
                SELECT CAST(w.definition -> 'profile' ->> 'gsd_m' AS float8) FROM segwatch.watch w
                WHERE w.id = o.revision_id) THEN 'large'
            WHEN o.shift_quality = 0 AND EXISTS (
                SELECT 1 FROM segwatch.observation e
                WHERE e.series_id = o.series_id AND e.state = 'observed' AND e.superseded_at IS NULL
                  AND (e.acquired_at, e.scene_id) < (o.acquired_at, o.scene_id) AND e.footprint && o.footprint)
            THEN 'uncertain' END AS shift_problem,
       o.acquired_at AS valid_from, o.acquired_at + interval '1 microsecond' AS valid_to
FROM segwatch.observation o
JOIN segwatch.provenance p ON p.observation_id = o.id
UNION ALL
SELECT r.id, r.watch_name, i.text, NULL, r.acquired_at, 'rejected', r.reason, 0,
       CAST(NULL AS geometry(Geometry, 4326)), NULL, NULL, NULL, NULL,
       -- of the type above, or the planner keeps the two parts apart and counts detections where nobody asks for them
       CAST(0 AS bigint),
       ARRAY[r.href], NULL, w.instruction_id, r.recorded_at, NULL, NULL, NULL,
       r.recorded_at, NULL, NULL, NULL, 1, r.superseded_at,
       -- as catalogs are identified: name in the watch file, else public address
       coalesce(nullif(w.definition->>'catalog_name', ''), rtrim(w.catalog, '/')),
       NULL, NULL, NULL, NULL, NULL, NULL, r.acquired_at, r.acquired_at + interval '1 microsecond'
FROM segwatch.rejection r
JOIN segwatch.watch w ON w.id = r.revision_id
JOIN segwatch.instruction i ON i.id = w.instruction_id;

GRANT SELECT ON watch.coverage TO segwatch_analyst, segwatch_worker;

COMMENT ON VIEW watch.coverage IS
    'Every observation and every rejected STAC item: what was observed when, what was not, and why.';
COMMENT ON COLUMN watch.coverage.observation_id IS
    'Id of the observation, or of the rejected item.';
COMMENT ON COLUMN watch.coverage.watch IS
    'Name of the watch.';
COMMENT ON COLUMN watch.coverage.instruction IS
    'Text of the standing instruction.';
COMMENT ON COLUMN watch.coverage.scene_key IS
    'Catalog, collection, platform, relative orbit and solar day of the scene; null for a rejected item.';
COMMENT ON COLUMN watch.coverage.acquired_at IS
    'Acquisition time, UTC; null for a rejected item without one.';
COMMENT ON COLUMN watch.coverage.state IS
    'pending: queued; leased: a worker is reading the scene or running the model; inferred: predicted, waiting to be tracked; observed: tracked and published; skipped: nothing to observe, see reason; failed: given up, see reason; rejected: a STAC item that cannot be used.';
COMMENT ON COLUMN watch.coverage.reason IS
    'Why the observation was skipped or failed, or the item was rejected.';
COMMENT ON COLUMN watch.coverage.attempts IS
    'Number of attempts.';
COMMENT ON COLUMN watch.coverage.geom IS
    'Observed footprint: the AOI with valid data, without clouds, shadows and failed tiles; null until predicted. EPSG:4326.';
COMMENT ON COLUMN watch.coverage.clear_share IS
    'Share of the AOI that was observed, 0 to 1.';
COMMENT ON COLUMN watch.coverage.tiles IS
    'Number of tiles given to the model.';
COMMENT ON COLUMN watch.coverage.tiles_failed IS
    'Number of tiles that failed; they are not part of geom.';
COMMENT ON COLUMN watch.coverage.answer IS
    'Text of the model''s prediction.';
COMMENT ON COLUMN watch.coverage.detections IS
    'Number of polygons found.';
COMMENT ON COLUMN watch.coverage.item_hrefs IS
    'Links to the STAC items of the scene.';
COMMENT ON COLUMN watch.coverage.model IS
    'Name and version of the model.';
COMMENT ON COLUMN watch.coverage.instruction_revision IS
    'Id of the instruction revision.';
COMMENT ON COLUMN watch.coverage.discovered_at IS
    'When the scene was found in the catalog, UTC.';
COMMENT ON COLUMN watch.coverage.leased_at IS
    'When a worker last took the observation, UTC.';
COMMENT ON COLUMN watch.coverage.read_at IS
    'When the pixels had been read, UTC.';
COMMENT ON COLUMN watch.coverage.inferred_at IS
    'When the model had predicted, UTC.';
COMMENT ON COLUMN watch.coverage.committed_at IS
    'When the outcome was published, UTC.';
COMMENT ON COLUMN watch.coverage.compute_seconds IS
    'Compute time of the model, seconds.';
COMMENT ON COLUMN watch.coverage.bytes_read IS
    'Imagery read, bytes.';
COMMENT ON COLUMN watch.coverage.area_km2 IS
    'Geodesic area of the observed footprint, square kilometres.';
COMMENT ON COLUMN watch.coverage.version IS
    'Number of this observation among those of its scene, from 1 on; a reprocessed or added item makes another one.';
COMMENT ON COLUMN watch.coverage.superseded_at IS
    'When a newer observation of the scene replaced this one, or the rejection ended (see watch.rejected_items), UTC; null while it is current.';
COMMENT ON COLUMN watch.coverage.catalog IS
    'Catalog of the scene: its name in the watch file, else its address; empty if recorded before catalogs were kept.';
COMMENT ON COLUMN watch.coverage.waits IS
    'What an observation that is not final waits for; null if it is final or a worker is on it.';
COMMENT ON COLUMN watch.coverage.shift_east_m IS
    'How far tracking moved the observation to the east to match the series, metres; null before it was tracked.';
COMMENT ON COLUMN watch.coverage.shift_north_m IS
    'How far tracking moved the observation to the north to match the series, metres; null before it was tracked.';
COMMENT ON COLUMN watch.coverage.shift_quality IS
    'How certain this shift is, 0 to 1; null before it was tracked.';
COMMENT ON COLUMN watch.coverage.shift_source IS
    'What it was measured on: pixels or outlines, also where nothing was moved (shift_quality 0: the outlines contradict each other), or none where too little could be compared; null before it was tracked.';
COMMENT ON COLUMN watch.coverage.shift_problem IS
    'large: the scene was moved by more than two pixels; uncertain: earlier observations show the same ground, but neither pixels nor outlines tell the shift, so it was not moved; null: neither, or not tracked.';
COMMENT ON COLUMN watch.coverage.valid_from IS
    'acquired_at, as the start of the shortest range that holds it, UTC; for tools that ask for a start and an end.';
COMMENT ON COLUMN watch.coverage.valid_to IS
    'End of that range, exclusive, UTC: acquired_at and a microsecond.';
