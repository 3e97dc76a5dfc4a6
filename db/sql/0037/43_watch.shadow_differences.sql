CREATE OR REPLACE VIEW watch.shadow_differences AS
SELECT p.watch, o.acquired_at, r.version AS shadow, d.target, d.found_by, d.geom, d.area_m2, d.ordinal, p.observation_id,
       p.scene_id, p.model, p.item_hrefs, concat_ws('/', d.observation_id, d.ordinal) AS difference_id,
       o.acquired_at AS valid_from, o.acquired_at + interval '1 microsecond' AS valid_to
FROM segwatch.shadow_difference d
JOIN segwatch.shadow_result r ON r.observation_id = d.observation_id
JOIN segwatch.observation o ON o.id = d.observation_id
JOIN segwatch.provenance p ON p.observation_id = d.observation_id
WHERE o.state = 'observed' AND o.superseded_at IS NULL;

GRANT SELECT ON watch.shadow_differences TO segwatch_analyst, segwatch_worker;

COMMENT ON VIEW watch.shadow_differences IS
    'The largest places of each observation where only the main segmenter or only the shadow segmenter found a target; they are no objects.';
COMMENT ON COLUMN watch.shadow_differences.watch IS
    'Name of the watch.';
COMMENT ON COLUMN watch.shadow_differences.acquired_at IS
    'Acquisition time of the scene, UTC.';
COMMENT ON COLUMN watch.shadow_differences.shadow IS
    'Name and version of the shadow segmenter.';
COMMENT ON COLUMN watch.shadow_differences.target IS
    'Target that only one of them found.';
COMMENT ON COLUMN watch.shadow_differences.found_by IS
    'Which segmenter found it: primary (the main one) or shadow.';
COMMENT ON COLUMN watch.shadow_differences.geom IS
    'The place, EPSG:4326.';
COMMENT ON COLUMN watch.shadow_differences.area_m2 IS
    'Geodesic area, square metres.';
COMMENT ON COLUMN watch.shadow_differences.ordinal IS
    'Place in the order of area among those of the observation, from 0 on.';
COMMENT ON COLUMN watch.shadow_differences.observation_id IS
    'Id of the observation that the row comes from.';
COMMENT ON COLUMN watch.shadow_differences.scene_id IS
    'Id of the scene that the row comes from.';
COMMENT ON COLUMN watch.shadow_differences.model IS
    'Name and version of the main segmenter.';
COMMENT ON COLUMN watch.shadow_differences.item_hrefs IS
    'Links to the STAC items of the scene.';
COMMENT ON COLUMN watch.shadow_differences.difference_id IS
    'Key of the row.';
COMMENT ON COLUMN watch.shadow_differences.valid_from IS
    'acquired_at, as the start of the shortest range that holds it, UTC; for tools that ask for a start and an end.';
COMMENT ON COLUMN watch.shadow_differences.valid_to IS
    'End of that range, exclusive, UTC: acquired_at and a microsecond.';
