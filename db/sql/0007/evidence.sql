GRANT SELECT, INSERT, UPDATE ON segwatch.watermark TO segwatch_worker;

CREATE VIEW watch.evidence AS
SELECT p.observation_id, p.watch, p.scene_id, p.model, p.instruction_revision, o.acquired_at, o.evidence AS preview,
       p.item_hrefs
FROM segwatch.provenance p
JOIN segwatch.observation o ON o.id = p.observation_id
WHERE o.evidence IS NOT NULL;
COMMENT ON VIEW watch.evidence IS 'What the model saw: a small picture of each observation, with the outlines it gave.';
COMMENT ON COLUMN watch.evidence.observation_id IS 'The observation that it shows.';
COMMENT ON COLUMN watch.evidence.watch IS 'Name of the watch.';
COMMENT ON COLUMN watch.evidence.scene_id IS 'The acquisition.';
COMMENT ON COLUMN watch.evidence.model IS 'Name and version of the model.';
COMMENT ON COLUMN watch.evidence.instruction_revision IS 'The wording that was answered.';
COMMENT ON COLUMN watch.evidence.acquired_at IS 'When the scene was acquired, UTC.';
COMMENT ON COLUMN watch.evidence.preview IS 'Where the picture lies: a path below the folder or bucket of SEGWATCH_EVIDENCE.';
COMMENT ON COLUMN watch.evidence.item_hrefs IS 'STAC items whose pixels it shows.';
GRANT SELECT ON watch.evidence TO segwatch_analyst, segwatch_worker;
