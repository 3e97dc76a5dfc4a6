CREATE OR REPLACE VIEW watch.presence AS
SELECT p.watch, o.acquired_at, t.target, t.presence, t.tiles, t.tiles_present, p.observation_id, p.scene_id, p.model,
       p.item_hrefs, p.instruction_revision,
       concat_ws('/', t.observation_id, t.target) AS presence_id
FROM segwatch.target_presence t
JOIN segwatch.observation o ON o.id = t.observation_id
JOIN segwatch.provenance p ON p.observation_id = t.observation_id
WHERE o.state = 'observed' AND o.superseded_at IS NULL;

GRANT SELECT ON watch.presence TO segwatch_analyst, segwatch_worker;

COMMENT ON VIEW watch.presence IS
    'How probable it is that a target is in an observation at all, one row per observation and target; only of segmenters that state it.';
COMMENT ON COLUMN watch.presence.watch IS
    'Name of the watch.';
COMMENT ON COLUMN watch.presence.acquired_at IS
    'Acquisition time of the scene, UTC.';
COMMENT ON COLUMN watch.presence.target IS
    'Target of the instruction.';
COMMENT ON COLUMN watch.presence.presence IS
    'Probability that the target is there, the highest of all tiles, 0 to 1.';
COMMENT ON COLUMN watch.presence.tiles IS
    'Number of tiles for which the segmenter stated it.';
COMMENT ON COLUMN watch.presence.tiles_present IS
    'Number of tiles with a probability of at least 0.5; masks of the target in the other tiles were dropped.';
COMMENT ON COLUMN watch.presence.observation_id IS
    'Id of the observation that the row comes from.';
COMMENT ON COLUMN watch.presence.scene_id IS
    'Id of the scene that the row comes from.';
COMMENT ON COLUMN watch.presence.model IS
    'Name and version of the segmenter.';
COMMENT ON COLUMN watch.presence.item_hrefs IS
    'Links to the STAC items of the scene.';
COMMENT ON COLUMN watch.presence.instruction_revision IS
    'Id of the instruction revision.';
COMMENT ON COLUMN watch.presence.presence_id IS
    'Key of the row.';
