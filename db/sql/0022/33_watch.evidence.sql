CREATE OR REPLACE VIEW watch.evidence AS
SELECT p.observation_id, p.watch, p.scene_id, p.model, p.instruction_revision, o.acquired_at, o.evidence AS preview,
       p.item_hrefs
FROM segwatch.provenance p
JOIN segwatch.observation o ON o.id = p.observation_id
WHERE o.evidence IS NOT NULL;

GRANT SELECT ON watch.evidence TO segwatch_analyst, segwatch_worker;

COMMENT ON VIEW watch.evidence IS
    'Quicklooks: a small picture of each observation as the model read it, with the polygons found.';
COMMENT ON COLUMN watch.evidence.observation_id IS
    'Id of the observation that the quicklook shows.';
COMMENT ON COLUMN watch.evidence.watch IS
    'Name of the watch.';
COMMENT ON COLUMN watch.evidence.scene_id IS
    'Id of the scene.';
COMMENT ON COLUMN watch.evidence.model IS
    'Name and version of the model.';
COMMENT ON COLUMN watch.evidence.instruction_revision IS
    'Id of the instruction revision.';
COMMENT ON COLUMN watch.evidence.acquired_at IS
    'Acquisition time of the scene, UTC.';
COMMENT ON COLUMN watch.evidence.preview IS
    'Path of the quicklook below the folder or bucket of SEGWATCH_EVIDENCE.';
COMMENT ON COLUMN watch.evidence.item_hrefs IS
    'Links to the STAC items that the quicklook shows.';
